use candle_core::{DType, Device, Tensor};
use st_train::losses::*;
use st_train::model::{EmbeddingModel, InputKind, TrainingPass};
use st_train::{Loss, Objective, ObjectiveBatch, Targets};

use crate::stub_model::{StubModel, shared};

fn ones(rows: usize, dimension: usize) -> Tensor {
    Tensor::ones((rows, dimension), DType::F32, &Device::Cpu).unwrap()
}

fn stub(kind: InputKind) -> StubModel {
    StubModel::new(&[ones(4, 8), ones(4, 8)], kind)
}

fn message<T: std::fmt::Debug>(result: st_train::Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn columns_and_labels_that_do_not_fit_are_named() {
    let columns = [ones(2, 3), ones(2, 3)];
    let found = message(CosineSimilarityLoss::new().compute(&columns[..1], &Targets::Scores(vec![0.0; 2])));
    assert_eq!(found, "CosineSimilarityLoss: got 1 columns, expected 2: (sentence a, sentence b)");
    let found = message(CoSentLoss::new().compute(&columns, &Targets::Scores(vec![0.0; 3])));
    assert_eq!(found, "CoSENTLoss: got 3 scores, expected a similarity per pair for 2 rows");
    let found = message(CoSentLoss::new().compute(&columns, &Targets::None));
    assert_eq!(found, "CoSENTLoss: got no labels, expected a similarity per pair for 2 rows");
    let found = message(MultipleNegativesRankingLoss::new().compute(&[ones(2, 3), ones(3, 3)], &Targets::None));
    assert!(found.ends_with("expected embeddings of one shape [rows, dimension], got [[2, 3], [3, 3]]"), "{found}");
    let softmax = SoftmaxLoss::new(3, 2, 0, DType::F32, &Device::Cpu).unwrap();
    let found = message(softmax.compute(&columns, &Targets::Classes(vec![0, 2])));
    assert_eq!(found, "SoftmaxLoss: classes are 0 to 1, got [0, 2]; set num_labels");
    assert!(softmax.compute(&columns, &Targets::Classes(vec![0, -1])).is_err());
    assert!(SoftmaxLoss::new(3, 0, 0, DType::F32, &Device::Cpu).is_err());
}

#[test]
fn margins_of_the_wrong_shape_are_refused_in_the_originals_words() {
    let columns = vec![ones(4, 3); 4];
    let hint = "Ensure that your dataset labels/scores are 1) lists of differences between positive scores and \
                negatives scores (length `num_negatives`), or 2) lists of positive and negative scores (length \
                `num_negatives + 1`).";
    let found = message(MarginMseLoss::new().compute(&columns, &Targets::Matrix(ones(4, 4))));
    assert_eq!(found, format!("Labels shape torch.Size([4, 4]) does not match expected shape (4, 2). {hint}"));
    let found = message(MarginMseLoss::new().compute(&columns, &Targets::Scores(vec![0.0; 4])));
    assert_eq!(found, format!("Labels shape torch.Size([4, 1]) does not match expected shape (4, 2). {hint}"));
}

#[test]
fn dimensions_are_checked_in_the_originals_words() {
    let new = |dims: &[usize]| MatryoshkaLoss::new(CoSentLoss::new(), dims);
    assert_eq!(message(new(&[])), "You must provide at least one dimension in matryoshka_dims.");
    assert_eq!(message(new(&[4, 0])), "All dimensions passed to a matryoshka loss must be > 0.");
    let found = message(new(&[4, 2]).unwrap().weights(&[1.0]));
    assert_eq!(found, "matryoshka_weights must be the same length as matryoshka_dims.");
    let model = stub(InputKind::Transformer);
    let found = message(new(&[9, 2]).unwrap().check(&model));
    assert_eq!(found, "Dimensions in matryoshka_dims cannot exceed the model's embedding dimension of 8.");
    new(&[4, 2]).unwrap().check(&model).unwrap(); // warns
}

#[test]
fn models_that_cannot_be_trained_with_a_loss_are_refused() {
    let table = stub(InputKind::StaticEmbedding);
    let ranking = CachedMultipleNegativesRankingLoss::new(MultipleNegativesRankingLoss::new(), 2).unwrap();
    assert_eq!(
        message(ranking.check(&table)),
        "CachedMultipleNegativesRankingLoss is not compatible with a SentenceTransformer model based on a \
         StaticEmbedding. Consider using MultipleNegativesRankingLoss instead."
    );
    let gist = CachedGistEmbedLoss::new(shared(stub(InputKind::Transformer)), 2).unwrap();
    assert!(message(gist.check(&table)).ends_with("Consider using GISTEmbedLoss instead."));
    let gist = GistEmbedLoss::new(shared(stub(InputKind::BoW)));
    assert_eq!(
        message(gist.check(&stub(InputKind::Transformer))),
        "Both the training model and the guiding model must use a PreTrainedTokenizer from transformers."
    );
    let adaptive = AdaptiveLayerLoss::new(CoSentLoss::new());
    assert!(message(adaptive.check(&table)).contains("needs the layers of a transformer"));
    adaptive.check(&stub(InputKind::Transformer)).unwrap();
    assert_eq!(message(GistMargin::named("other", 0.0)), "margin_strategy must be 'absolute' or 'relative'.");
    assert!(GradientCache::new(CoSentLoss::new(), 0).is_err());
    assert!(MegaBatchMarginLoss::new().mini_batches(Some(0)).is_err());
    assert!(DistillKlDivLoss::new().temperature(f64::NAN).is_err());
}

#[test]
fn what_is_no_function_of_embeddings_cannot_be_cached() {
    let model = stub(InputKind::Transformer);
    let loss = GradientCache::new(AdaptiveLayerLoss::new(MultipleNegativesRankingLoss::new()), 2).unwrap();
    let columns = [StubModel::column(0..2), StubModel::column(2..4)];
    let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
    let found = message(loss.backward(&batch, &mut TrainingPass::evaluation(), 1.0));
    assert!(found.starts_with("AdaptiveLayerLoss: looks at more of the model"), "{found}");
}

#[test]
fn guided_losses_take_two_or_three_columns() {
    let settings = GistSettings::default();
    let columns = vec![ones(2, 3); 4];
    assert_eq!(message(settings.compute(&columns, &columns)), "Expected 2 or 3 embeddings, got 4");
    let found = message(settings.compute(&columns[..2], &columns[..3]));
    assert_eq!(found, "reps and reps_guided must have the same length");
}

#[test]
fn copies_are_trained_apart_from_the_model() {
    let model = stub(InputKind::Transformer);
    let loss = ContrastiveTensionLossInBatchNegatives::new(&model, 20.0).unwrap();
    let names: Vec<String> = st_train::Described::parameters(&loss).iter().map(|p| p.name().to_owned()).collect();
    assert_eq!(names, ["logit_scale", "model1.layer.0", "model1.layer.1"]);
    assert!(ContrastiveTensionLossInBatchNegatives::new(&model, 0.0).is_err());
    let own = model.parameters().get("layer.0").unwrap().variable();
    let copy = st_train::Described::parameters(&loss);
    own.set(&own.zeros_like().unwrap()).unwrap();
    let copied = copy.get("model1.layer.0").unwrap().variable().sum_all().unwrap();
    assert_eq!(copied.to_scalar::<f32>().unwrap(), 32.0);
}

#[test]
fn batches_without_pairs_cost_nothing_and_are_finite() {
    let columns = [Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap()];
    let classes = Targets::Classes(vec![0, 1]);
    let value = BatchSemiHardTripletLoss::new().compute(&columns, &classes).unwrap();
    assert_eq!(value.to_scalar::<f32>().unwrap(), 0.0);
    let value = BatchAllTripletLoss::new().compute(&columns, &classes).unwrap();
    assert_eq!(value.to_scalar::<f32>().unwrap(), 0.0);
    let pair = [columns[0].clone(), columns[0].clone()];
    let value = CoSentLoss::new().compute(&pair, &Targets::Scores(vec![0.5, 0.5])).unwrap();
    assert_eq!(value.to_scalar::<f32>().unwrap(), 0.0);
    let value = OnlineContrastiveLoss::new().compute(&pair, &Targets::Classes(vec![1, 1])).unwrap();
    assert!(value.to_scalar::<f32>().unwrap().is_finite());
    value.backward().unwrap();
}
