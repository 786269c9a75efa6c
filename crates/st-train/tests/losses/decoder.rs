use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use sentence_transformers::SentenceTransformer;
use serde::Deserialize;
use st_encoder::EncoderFiles;
use st_train::losses::DenoisingAutoEncoderLoss;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
use st_train::{Described, Objective, ObjectiveBatch, Targets};

use crate::cases::{numbers, total};

/// `fixtures/losses_decoder.json`.
#[derive(Deserialize)]
struct Golden {
    damaged: Vec<String>,
    original: Vec<String>,
    value: f64,
    own: BTreeMap<String, Vec<usize>>,
    gradients: BTreeMap<String, Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    shape: Vec<usize>,
    figures: Vec<f64>,
}

fn tiny(name: &str, data_type: DType) -> (TrainableModel, EncoderFiles) {
    let folder = st_testing::tiny_model(name);
    let library = SentenceTransformer::load(folder.to_string_lossy()).unwrap();
    let model = TrainableModel::new(&library, TrainingOptions::new().data_type(data_type)).unwrap();
    (model, EncoderFiles::open(folder).unwrap())
}

/// The numbers of the generator's `wave`.
fn wave(name: &str, shape: &[usize]) -> Tensor {
    let start = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
    let number = |place: usize| (place as f64 * 0.7 + name.len() as f64).sin() / 10.0 + start;
    Tensor::from_vec((0..shape.iter().product()).map(number).collect::<Vec<f64>>(), shape, &Device::Cpu).unwrap()
}

#[test]
fn a_decoder_that_shares_the_encoders_weights_learns_as_the_originals() {
    let text = std::fs::read_to_string(st_testing::fixture_path("losses_decoder.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let (model, files) = tiny("tiny-bert", DType::F64);
    let loss = DenoisingAutoEncoderLoss::tied(&model, &files, 7).unwrap();
    let own = loss.parameters();
    for (name, shape) in &golden.own {
        // Queries and keys of an attention over one vector have no part in it.
        if name.contains("crossattention.self.query") || name.contains("crossattention.self.key") {
            let gradient = &golden.gradients[&format!("decoder.{name}")];
            assert!(gradient.figures.iter().all(|figure| figure.abs() < 1e-15));
            assert!(own.get(&format!("decoder.{name}")).is_none());
            continue;
        }
        own.get(&format!("decoder.{name}"))
            .unwrap_or_else(|| panic!("no {name}"))
            .variable()
            .set(&wave(name, shape))
            .unwrap();
    }
    let columns = [&golden.damaged, &golden.original].map(|texts| model.tokenize(texts, None, None).unwrap());
    let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
    let (value, gradients) = loss.backward(&batch, &mut TrainingPass::evaluation(), 1.0).unwrap();
    let value = total(&value);
    // The encoder's pooling and norms agree with the original's to float64; so does everything behind them.
    assert!((value - golden.value).abs() < 1e-9, "{value} instead of {}", golden.value);
    let mut all = model.parameters().clone();
    all.extend("", &own).unwrap();
    let mut compared = 0;
    for parameter in all.iter() {
        let expected = &golden.gradients[parameter.name()];
        let gradient =
            gradients.get(parameter.variable()).unwrap_or_else(|| panic!("no gradient of {}", parameter.name()));
        assert_eq!(gradient.dims(), expected.shape, "{}", parameter.name());
        let flat = numbers(gradient);
        let alternating = flat.iter().enumerate().map(|(place, x)| if place % 2 == 0 { *x } else { -x });
        let found = [flat.iter().sum(), alternating.sum()].into_iter().chain(flat.iter().copied().take(4));
        for (found, expected) in found.zip(&expected.figures) {
            // The description's scale of attention, 1/√8, is single precision.
            assert!((found - expected).abs() < 1e-7, "{}: {found} instead of {expected}", parameter.name());
        }
        compared += 1;
    }
    assert_eq!(compared + 8, golden.gradients.len()); // queries and keys of two layers
}

#[test]
fn a_decoder_of_its_own_weights_leaves_the_encoders_alone() {
    let (model, files) = tiny("tiny-bert", DType::F32);
    let tied = DenoisingAutoEncoderLoss::tied(&model, &files, 7).unwrap();
    let untied = DenoisingAutoEncoderLoss::untied(&model, &files, 7).unwrap();
    let columns = [["the weather"], ["the weather is lovely"]]
        .map(|texts| model.tokenize(&texts.map(str::to_owned), None, None).unwrap());
    let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
    let run = |loss: &DenoisingAutoEncoderLoss| loss.backward(&batch, &mut TrainingPass::evaluation(), 1.0).unwrap();
    let ((first, tied_gradients), (second, untied_gradients)) = (run(&tied), run(&untied));
    // The same numbers, and the same parameters drawn for what both add.
    assert!((total(&first) - total(&second)).abs() < 1e-6);
    assert_eq!(untied.parameters().len(), tied.parameters().len() + model.parameters().len());
    let name = "encoder.layer.1.output.dense.weight";
    let encoder = model.parameters().get(&format!("0.auto_model.{name}")).unwrap().variable().clone();
    let decoder = untied.parameters().get(&format!("decoder.bert.{name}")).unwrap().variable().clone();
    let sum = untied_gradients.get(&encoder).unwrap().add(untied_gradients.get(&decoder).unwrap()).unwrap();
    let difference = (sum - tied_gradients.get(&encoder).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
}

#[test]
fn encoders_without_a_decoder_are_refused_with_a_reason() {
    let (model, files) = tiny("tiny-mpnet", DType::F32);
    let error = DenoisingAutoEncoderLoss::tied(&model, &files, 0).unwrap_err().to_string();
    assert!(error.starts_with("DenoisingAutoEncoderLoss: there is no decoder for mpnet models"), "{error}");
    let (model, _) = tiny("tiny-bert-cls-dense", DType::F32);
    let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert-cls-dense")).unwrap();
    let error = DenoisingAutoEncoderLoss::tied(&model, &files, 0).unwrap_err().to_string();
    assert_eq!(error, "Hidden sizes do not match!");
}
