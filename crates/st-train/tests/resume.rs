//! A run that is killed anywhere and resumed ends with the same bits as one that was not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value};
use st_train::callbacks::{Callback, Event};
use st_train::data::{Datasets, Table};
use st_train::losses::{CoSentLoss, MultipleNegativesRankingLoss};
use st_train::model::EmbeddingModel;
use st_train::{Interval, Result, Resume, Trainer, TrainingArguments};

use common::tiny_model;

/// Ends the run at a step, as if it had been killed there.
#[derive(Debug)]
struct StopAt(usize);

impl Callback for StopAt {
    fn name(&self) -> &'static str {
        "StopAt"
    }

    fn on_step_begin(&mut self, event: &mut Event<'_>) -> Result<()> {
        if event.state.global_step == self.0 {
            return Err(st_train::TrainError::custom("the test", "killed here"));
        }
        Ok(())
    }
}

/// Set in the child process that trains and is killed.
const CHILD: &str = "ST_TRAIN_RESUME_CHILD";

fn rows(count: usize, seed: usize) -> Table {
    let words = ["the", "weather", "is", "lovely", "cat", "dog", "sat", "on", "mat", "drove", "outside", "sunny"];
    let text = |row: usize, shift: usize| {
        (0..4 + row % 3).map(|place| words[(row * 7 + place * 5 + shift) % words.len()]).collect::<Vec<_>>().join(" ")
    };
    Table::new()
        .column("sentence1", (0..count).map(|row| text(row + seed, 0)))
        .unwrap()
        .column("sentence2", (0..count).map(|row| text(row + seed, row % 4)))
        .unwrap()
        .column("score", (0..count).map(|row| f64::from((row * 37 % 101) as u32) / 100.0))
        .unwrap()
}

fn arguments(folder: &Path) -> TrainingArguments {
    TrainingArguments::new(folder)
        .num_train_epochs(2.0)
        .per_device_train_batch_size(4)
        .gradient_accumulation_steps(2)
        .learning_rate(1e-3)
        .weight_decay(0.01)
        .warmup_ratio(0.1)
        .logging_steps(2.0)
        .save_steps(3.0)
        .eval_strategy(Interval::Epoch)
}

/// Two datasets drawn at random, dropout, accumulation that does not divide the epoch.
fn trainer(arguments: TrainingArguments) -> Trainer<impl EmbeddingModel> {
    let data: Datasets = vec![("first", rows(23, 0)), ("second", rows(17, 5))].into();
    let eval: Datasets = vec![("first", rows(6, 11))].into();
    Trainer::new(tiny_model("tiny-bert", 0.2), arguments).train_dataset(data).eval_dataset(eval).loss(CoSentLoss::new())
}

/// Everything that must be equal: weights, optimizer, and what was logged, apart from times.
fn outcome(folder: &Path) -> (Vec<u8>, Vec<u8>, Vec<Map<String, Value>>) {
    let last = st_train::last_checkpoint(folder).unwrap().unwrap();
    let read = |name: &str| std::fs::read(last.join(name)).unwrap();
    let state: Value = serde_json::from_slice(&read("trainer_state.json")).unwrap();
    let timed = |name: &String| name.ends_with("_runtime") || name.ends_with("_per_second");
    let logs = state["log_history"].as_array().unwrap().iter().map(|log| {
        log.as_object().unwrap().iter().filter(|(name, _)| !timed(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    });
    (read("parameters.safetensors"), read("optimizer.safetensors"), logs.collect())
}

fn uninterrupted() -> (tempfile::TempDir, usize) {
    let folder = tempfile::tempdir().unwrap();
    let outcome = trainer(arguments(folder.path())).train().unwrap();
    (folder, outcome.global_step)
}

#[test]
fn a_run_that_stops_at_any_step_is_taken_up_to_the_bit() {
    let (whole, steps) = uninterrupted();
    assert_eq!(steps, 12); // 11 batches an epoch, two a step, the last of an epoch alone
    for stop in [4, 6, 7, 11] {
        let folder = tempfile::tempdir().unwrap();
        let error = trainer(arguments(folder.path())).callback(StopAt(stop)).train().unwrap_err();
        assert_eq!(error.to_string(), "the test failed");
        let again = arguments(folder.path()).resume_from_checkpoint(Some(Resume::Last(true)));
        trainer(again).train().unwrap();
        let (wanted, found) = (outcome(whole.path()), outcome(folder.path()));
        assert_eq!(found.2, wanted.2, "stopped at {stop}");
        assert!(found.0 == wanted.0 && found.1 == wanted.1, "stopped at {stop}");
    }
}

#[test]
fn learning_rates_that_evaluations_lowered_are_taken_up_too() {
    let plateau = |folder: &Path| {
        let options = serde_json::json!({"patience": 0, "threshold": 0.5, "factor": 0.7});
        arguments(folder)
            .lr_scheduler_type("reduce_lr_on_plateau".into())
            .lr_scheduler_kwargs(options.as_object().unwrap().clone())
            .metric_for_best_model(Some("first_loss".into()))
            .eval_strategy(Interval::Steps)
            .eval_steps(Some(2.0))
            .logging_steps(1.0)
    };
    let whole = tempfile::tempdir().unwrap();
    trainer(plateau(whole.path())).train().unwrap();
    let wanted = outcome(whole.path());
    let rates: Vec<f64> = wanted.2.iter().filter_map(|log| log.get("learning_rate")?.as_f64()).collect();
    // The first evaluation, of step 2, is the best; those of steps 4, 6, 8 and 10 are no better by half.
    assert_eq!(rates.len(), 12);
    for (step, rate) in rates.iter().enumerate() {
        let lowered = i32::try_from(step / 2).unwrap().saturating_sub(1).max(0);
        assert!((rate / (1e-3 * 0.7f64.powi(lowered)) - 1.0).abs() < 1e-12, "step {}: {rates:?}", step + 1);
    }
    for stop in [5, 8] {
        let folder = tempfile::tempdir().unwrap();
        trainer(plateau(folder.path())).callback(StopAt(stop)).train().unwrap_err();
        trainer(plateau(folder.path()).resume_from_checkpoint(Some(Resume::Last(true)))).train().unwrap();
        assert!(outcome(folder.path()) == wanted, "stopped at {stop}");
    }
}

/// Trains in the child process; nothing in others.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    trainer(arguments(Path::new(&folder))).train().unwrap();
}

#[test]
fn a_process_that_is_killed_is_taken_up_to_the_bit() {
    let (whole, _) = uninterrupted();
    for wait in [3, 9] {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed somewhere after that checkpoint: perhaps in a step, perhaps while the next one is written.
        let mark = folder.path().join(format!("checkpoint-{wait}"));
        while !mark.exists() && process.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let again = arguments(folder.path()).resume_from_checkpoint(Some(Resume::Last(true)));
        trainer(again).train().unwrap();
        assert!(outcome(folder.path()) == outcome(whole.path()), "killed after {}", mark.display());
        let leftovers = std::fs::read_dir(folder.path()).unwrap().flatten();
        let hidden = leftovers.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count();
        assert_eq!(hidden, 0);
    }
}

#[test]
fn other_data_and_other_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    trainer(arguments(folder.path()).max_steps(4)).train().unwrap();
    let again = || arguments(folder.path()).max_steps(9).resume_from_checkpoint(Some(Resume::Last(true)));
    let other = Trainer::new(tiny_model("tiny-bert", 0.2), again().eval_strategy(Interval::No))
        .train_dataset(rows(20, 0))
        .loss(CoSentLoss::new())
        .train();
    let error = other.unwrap_err().to_string();
    assert!(error.contains("the data cannot be taken up where it was left"), "{error}");
    let other = Trainer::new(tiny_model("tiny-distilbert", 0.2), again().eval_strategy(Interval::No))
        .train_dataset(rows(20, 0).select_columns(&["sentence1", "sentence2"]).unwrap())
        .loss(MultipleNegativesRankingLoss::new())
        .train();
    let error = other.unwrap_err().to_string();
    assert!(error.contains("there is no parameter"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let nothing = trainer(arguments(empty.path()).resume_from_checkpoint(Some(Resume::Last(true)))).train();
    assert!(nothing.unwrap_err().to_string().starts_with("No valid checkpoint found in output directory ("));
}
