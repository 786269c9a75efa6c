//! The trainer's flow: messages, logs, evaluations, checkpoints, callbacks, several datasets and losses, streams.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device};
use serde_json::{Map, Value};
use st_eval::EmbeddingSimilarityEvaluator;
use st_train::callbacks::{Callback, EarlyStopping, Event};
use st_train::data::{Datasets, FileDataset, Mapping, Table};
use st_train::losses::{CoSentLoss, MultipleNegativesRankingLoss, SoftmaxLoss};
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions};
use st_train::{Interval, Objective, Result, SaveInterval, Trainer, TrainingArguments};

use common::tiny_model;

fn pairs(rows: usize) -> Table {
    let words = ["cat", "dog", "sunny", "stadium", "weather", "drove", "mat", "lovely"];
    let text = |row: usize, shift: usize| format!("the {} {}", words[(row + shift) % 8], words[(row * 3 + shift) % 8]);
    let table = Table::new().column("anchor", (0..rows).map(|row| text(row, 0))).unwrap();
    table.column("positive", (0..rows).map(|row| text(row, row % 3))).unwrap()
}

fn scored(rows: usize) -> Table {
    pairs(rows).column("score", (0..rows).map(|row| (row % 5) as f64 / 4.0)).unwrap()
}

fn arguments(folder: &Path) -> TrainingArguments {
    TrainingArguments::new(folder).per_device_train_batch_size(4).learning_rate(1e-3).save_strategy(SaveInterval::No)
}

fn error(trainer: Trainer<TrainableModel>) -> String {
    let mut trainer = trainer;
    trainer.train().unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_together_is_said_in_the_originals_words() {
    let folder = tempfile::tempdir().unwrap();
    let new = |arguments: TrainingArguments| Trainer::new(tiny_model("tiny-bert", 0.1), arguments);
    let losses = |names: &[&str]| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), Box::new(CoSentLoss::new()) as Box<dyn Objective>))
            .collect::<Vec<_>>()
    };
    let plain = || arguments(folder.path());
    assert_eq!(error(new(plain())), "Training requires specifying a train_dataset to the SentenceTransformerTrainer.");
    let error_of = error;
    assert!(error_of(new(plain().eval_strategy(Interval::Steps)).train_dataset(scored(8))).starts_with(
        "You have set `args.eval_strategy` to steps, but you didn't provide an `eval_dataset` or an `evaluator`."
    ));
    assert_eq!(
        error_of(new(plain()).train_dataset(scored(8)).losses(losses(&["a"]))),
        "If the provided `loss` is a dict, then the `train_dataset` must be a `DatasetDict`."
    );
    let several: Datasets = vec![("b", scored(8)), ("a", scored(8)), ("c", scored(8))].into();
    assert_eq!(
        error_of(new(plain()).train_dataset(several.clone()).losses(losses(&["b", "c"]))),
        "If the provided `loss` is a dict, then all keys from the `train_dataset` dictionary must occur in `loss` also. \
         Currently, ['a'] occurs in `train_dataset` but not in `loss`."
    );
    assert!(
        error_of(new(plain()).train_dataset(several).losses(losses(&["b"])))
            .ends_with("Currently, ['a', 'c'] occur in `train_dataset` but not in `loss`.")
    );
    let rates = plain().learning_rate_mapping(Mapping::from([("decoder", 1.0)]));
    assert!(
        error_of(new(rates).train_dataset(scored(8))).starts_with("No parameters found matching the pattern 'decoder'")
    );
    let three = scored(8).column("negative", ["x"; 8]).unwrap();
    let message = error_of(new(plain()).train_dataset(three));
    assert!(message.contains("has 3 text columns, but CoSENTLoss takes"), "{message}");
    let best = plain().eval_strategy(Interval::Steps).eval_steps(Some(1.0)).metric_for_best_model(Some("map".into()));
    let message = error_of(new(best).train_dataset(scored(8)).eval_dataset(scored(8)));
    assert!(
        message.starts_with("The `metric_for_best_model` training argument is set to 'eval_map', which is not found"),
        "{message}"
    );
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Story(Arc<Mutex<Vec<String>>>);

impl Callback for Story {
    fn name(&self) -> &'static str {
        "Story"
    }
    fn on_train_begin(&mut self, event: &mut Event<'_>) -> Result<()> {
        self.tell(format!("begin {}", event.state.max_steps))
    }
    fn on_epoch_begin(&mut self, _: &mut Event<'_>) -> Result<()> {
        self.tell("epoch".into())
    }
    fn on_step_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        self.tell(format!("step {}", event.state.global_step))
    }
    fn on_log(&mut self, _: &mut Event<'_>, logs: &Map<String, Value>) -> Result<()> {
        self.tell(format!("log {}", logs.keys().next().unwrap()))
    }
    fn on_evaluate(&mut self, _: &mut Event<'_>, metrics: &Map<String, Value>) -> Result<()> {
        self.tell(format!("evaluate {}", metrics.contains_key("eval_loss")))
    }
    fn on_save(&mut self, _: &mut Event<'_>, folder: &Path) -> Result<()> {
        self.tell(format!("save {}", folder.file_name().unwrap().to_string_lossy()))
    }
    fn on_train_end(&mut self, _: &mut Event<'_>) -> Result<()> {
        self.tell("end".into())
    }
}

impl Story {
    fn tell(&self, what: String) -> Result<()> {
        self.0.lock().unwrap().push(what);
        Ok(())
    }
}

#[test]
fn things_happen_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let story = Story::default();
    let told = Arc::clone(&story.0);
    let arguments = arguments(folder.path())
        .num_train_epochs(1.5)
        .logging_steps(2.0)
        .eval_strategy(Interval::Epoch)
        .save_strategy(SaveInterval::Steps)
        .save_steps(2.0);
    let mut trainer = Trainer::new(tiny_model("tiny-bert", 0.1), arguments)
        .train_dataset(scored(8))
        .eval_dataset(scored(6))
        .callback(story);
    let outcome = trainer.train().unwrap();
    assert_eq!(outcome.global_step, 3);
    assert!(outcome.training_loss.is_finite() && outcome.training_loss > 0.0);
    let wanted = "begin 3|epoch|step 1|step 2|log loss|save checkpoint-2|log eval_loss|evaluate true|epoch|step 3|\
                  save checkpoint-3|log eval_loss|evaluate true|log train_runtime|end";
    assert_eq!(told.lock().unwrap().join("|"), wanted);
}

#[test]
fn a_checkpoint_is_a_model_and_tells_its_training() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path())
        .max_steps(4)
        .logging_steps(1.0)
        .save_strategy(SaveInterval::Steps)
        .save_steps(1.0)
        .save_total_limit(Some(2));
    let mut trainer =
        Trainer::new(tiny_model("tiny-bert", 0.1), arguments).train_dataset(scored(16)).loss(CoSentLoss::new());
    trainer.train().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["checkpoint-3", "checkpoint-4"]);
    let last = folder.path().join("checkpoint-4");
    let loaded = sentence_transformers::SentenceTransformer::load(last.to_str().unwrap()).unwrap();
    let trained = trainer.model().sentence_transformer().unwrap();
    let texts = ["the cat", "a sunny stadium"];
    let (a, b) = (loaded.encode(&texts).unwrap(), trained.encode(&texts).unwrap());
    assert_eq!(a.as_slice(), b.as_slice());
    let card = std::fs::read_to_string(last.join("README.md")).unwrap();
    for part in [
        "generated_from_trainer",
        "dataset_size:16",
        "loss:CoSENTLoss",
        "`max_steps`: 4",
        "| Epoch | Step | Training Loss |",
    ] {
        assert!(card.contains(part), "{part} in {card}");
    }
    let state: Value = serde_json::from_slice(&std::fs::read(last.join("trainer_state.json")).unwrap()).unwrap();
    let log = &state["log_history"][0];
    assert_eq!(
        log.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["loss", "grad_norm", "learning_rate", "epoch", "step"]
    );
    assert_eq!((&state["global_step"], &state["max_steps"], &log["step"]), (&4.into(), &4.into(), &1.into()));
}

fn evaluator() -> EmbeddingSimilarityEvaluator {
    let texts =
        |shift: usize| (0..8).map(|row| format!("the {} cat", ["lovely", "sunny"][(row + shift) % 2])).collect();
    EmbeddingSimilarityEvaluator::new(texts(0), texts(1), (0..8).map(f64::from).collect()).unwrap().named("dev")
}

#[test]
fn the_best_model_is_found_kept_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path())
        .max_steps(6)
        .learning_rate(0.05)
        .eval_strategy(Interval::Steps)
        .eval_steps(Some(1.0))
        .save_strategy(SaveInterval::Steps)
        .save_steps(1.0)
        .save_total_limit(Some(1))
        .load_best_model_at_end(true);
    let mut trainer = Trainer::new(tiny_model("tiny-bert", 0.1), arguments)
        .train_dataset(scored(16))
        .eval_dataset(scored(8))
        .evaluator(evaluator());
    trainer.train().unwrap();
    let state = trainer.state().clone();
    let losses: Vec<(f64, usize)> = state
        .log_history
        .iter()
        .filter_map(|log| Some((log.get("eval_loss")?.as_f64()?, log["step"].as_u64()? as usize)))
        .collect();
    assert_eq!(losses.len(), 6);
    let best = losses.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert_eq!((state.best_metric, state.best_global_step), (Some(best.0), Some(best.1)));
    let kept = state.best_model_checkpoint.unwrap();
    assert!(kept.ends_with(&format!("checkpoint-{}", best.1)) && Path::new(&kept).is_dir());
    assert!(state.log_history.iter().any(|log| log.contains_key("eval_dev_spearman_cosine")));
    assert!(folder.path().join("eval/similarity_evaluation_dev_results.csv").is_file());
    let again = trainer.evaluate().unwrap();
    assert_eq!(again["eval_loss"].as_f64(), Some(best.0));
}

#[test]
fn training_stops_early() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path())
        .num_train_epochs(50.0)
        .learning_rate(0.0)
        .eval_strategy(Interval::Steps)
        .eval_steps(Some(1.0))
        .metric_for_best_model(Some("loss".into()));
    let mut trainer = Trainer::new(tiny_model("tiny-bert", 0.0), arguments)
        .train_dataset(scored(8))
        .eval_dataset(scored(8))
        .callback(EarlyStopping::new(2));
    assert_eq!(trainer.train().unwrap().global_step, 3); // the first is the best, two are no better
}

#[test]
fn each_dataset_has_its_loss_and_a_classifier_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model("tiny-bert", 0.1);
    let classified = pairs(12).column("label", (0..12).map(|row| i64::from(row % 3))).unwrap();
    let data: Datasets = vec![("ranked", pairs(12)), ("classified", classified)].into();
    let softmax = SoftmaxLoss::new(model.dimension(), 3, 42, DType::F32, &Device::Cpu).unwrap();
    let classifier = st_train::Described::parameters(&softmax);
    let before: Vec<Vec<f32>> =
        classifier.iter().map(|p| p.variable().flatten_all().unwrap().to_vec1().unwrap()).collect();
    let ranking: Box<dyn Objective> = Box::new(MultipleNegativesRankingLoss::new());
    let losses = [("ranked", ranking), ("classified", Box::new(softmax) as Box<dyn Objective>)];
    let mut trainer = Trainer::new(model, arguments(folder.path()).num_train_epochs(1.0))
        .train_dataset(data.clone())
        .eval_dataset(data)
        .losses(losses);
    assert_eq!(trainer.train().unwrap().global_step, 6);
    let after: Vec<Vec<f32>> =
        classifier.iter().map(|p| p.variable().flatten_all().unwrap().to_vec1().unwrap()).collect();
    assert_ne!(before, after);
    let metrics = trainer.evaluate().unwrap();
    assert!(metrics.contains_key("eval_ranked_loss") && metrics.contains_key("eval_classified_loss"), "{metrics:?}");
}

#[test]
fn a_stream_needs_a_number_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.csv");
    let rows: String = (0..10).map(|row| format!("the cat {row},a dog {row}\n")).collect();
    std::fs::write(&path, format!("anchor,positive\n{rows}")).unwrap();
    let trainer = |arguments: TrainingArguments| {
        Trainer::new(tiny_model("tiny-bert", 0.1), arguments)
            .train_dataset(FileDataset::open(&path).unwrap().streamed())
            .loss(MultipleNegativesRankingLoss::new())
    };
    let message = error(trainer(arguments(folder.path())));
    assert!(
        message.starts_with("args.max_steps must be set to a positive value if dataloader does not have"),
        "{message}"
    );
    // Three batches a pass: it starts anew as often as it must.
    assert_eq!(trainer(arguments(folder.path()).max_steps(7)).train().unwrap().global_step, 7);
}

#[test]
fn frozen_parameters_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = tiny_model("tiny-bert", 0.1);
    let numbers = |model: &TrainableModel, name: &str| {
        model.parameters().get(name).unwrap().variable().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (frozen, free) =
        ("0.auto_model.embeddings.word_embeddings.weight", "0.auto_model.encoder.layer.1.output.dense.weight");
    model.parameters_mut().freeze("0.auto_model.embeddings");
    let before = [numbers(&model, frozen), numbers(&model, free)];
    let mut trainer = Trainer::new(model, arguments(folder.path()).max_steps(2)).train_dataset(scored(8));
    trainer.train().unwrap();
    let model = trainer.into_model();
    assert_eq!(before[0], numbers(&model, frozen));
    assert_ne!(before[1], numbers(&model, free));
}

/// `SAVE_CHECKPOINT_TO=FOLDER cargo test -p st-train --test trainer -- --ignored`, then
/// `python fixtures/training_curves.py --check FOLDER`: the original loads the checkpoint and gives the same vectors.
#[test]
#[ignore = "writes a checkpoint for the original to load"]
fn a_checkpoint_for_the_original() {
    let folder = std::path::PathBuf::from(std::env::var_os("SAVE_CHECKPOINT_TO").unwrap());
    let arguments = arguments(&folder).max_steps(5).save_strategy(SaveInterval::Steps).save_steps(5.0);
    let mut trainer = Trainer::new(tiny_model("tiny-bert", 0.1), arguments).train_dataset(scored(16));
    trainer.train().unwrap();
    let texts = ["the cat sat on the mat", "a sunny stadium", ""];
    let embeddings = trainer.model().sentence_transformer().unwrap().encode(&texts).unwrap();
    let rows: Vec<&[f32]> = (0..texts.len()).map(|row| embeddings.row(row)).collect();
    let answers = serde_json::json!({"texts": texts, "embeddings": rows});
    std::fs::write(folder.join("embeddings.json"), answers.to_string()).unwrap();
}

/// A loss that keeps how it was run.
#[derive(Debug)]
struct Watched(CoSentLoss, Arc<Mutex<Vec<bool>>>);

impl st_train::Described for Watched {
    fn card(&self) -> &'static st_train::LossCard {
        self.0.card()
    }
}

impl Objective for Watched {
    fn bind<'a>(
        &'a self,
        batch: &st_train::ObjectiveBatch<'a>,
        pass: &mut st_train::model::TrainingPass,
    ) -> Result<Option<st_train::Bound<'a>>> {
        self.0.bind(batch, pass)
    }

    fn forward(
        &self,
        batch: &st_train::ObjectiveBatch<'_>,
        pass: &mut st_train::model::TrainingPass,
    ) -> Result<st_train::LossValue> {
        self.1.lock().unwrap().push(pass.gradient_checkpointing());
        self.0.forward(batch, pass)
    }
}

#[test]
fn gradient_checkpointing_is_an_argument_and_changes_rounding_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = |again: bool| {
        let passes = Arc::new(Mutex::new(Vec::new()));
        let arguments = arguments(folder.path()).max_steps(3).gradient_checkpointing(again);
        let mut trainer = Trainer::new(tiny_model("tiny-bert", 0.1), arguments)
            .train_dataset(scored(12))
            .loss(Watched(CoSentLoss::new(), Arc::clone(&passes)));
        trainer.train().unwrap();
        let model = trainer.sentence_transformer().unwrap();
        (model.encode(&["the cat"]).unwrap(), passes.lock().unwrap().clone())
    };
    let (kept, again) = (run(false), run(true));
    // Gradients of several columns are added in another order.
    let furthest = kept.0.as_slice().iter().zip(again.0.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-4, "{furthest}");
    assert_eq!((kept.1, again.1), (vec![false; 3], vec![true; 3]));
}

#[test]
fn mixed_precision_is_of_32_bit_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let library = tiny_model("tiny-bert", 0.0).sentence_transformer().unwrap();
    for (data_type, named) in [(DType::F64, "F64"), (DType::BF16, "BF16")] {
        let model = TrainableModel::new(&library, TrainingOptions::new().data_type(data_type)).unwrap();
        let trainer = Trainer::new(model, arguments(folder.path()).bf16(true)).train_dataset(scored(8));
        let message = error(trainer.loss(CoSentLoss::new()));
        assert!(message.contains(&format!("for 32-bit parameters, and these are {named}")), "{message}");
    }
}

#[test]
fn gradient_checkpointing_needs_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let library = sentence_transformers::SentenceTransformer::load(
        st_testing::fixture_path("models-modules/word-embeddings").to_string_lossy(),
    );
    let model = TrainableModel::new(&library.unwrap(), st_train::model::TrainingOptions::new()).unwrap();
    let trainer = Trainer::new(model, arguments(folder.path()).gradient_checkpointing(true)).train_dataset(scored(8));
    let message = error(trainer);
    assert!(message.starts_with("`gradient_checkpointing` is set, but the model has no transformer"), "{message}");
}
