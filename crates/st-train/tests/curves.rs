//! The losses of 200 steps are the original's, step by step: the same weights, data order and seed, dropout off.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Mutex};

use serde_json::Value;
use st_train::callbacks::{Callback, Event};
use st_train::data::Table;
use st_train::losses::{CoSentLoss, CosineSimilarityLoss, MultipleNegativesRankingLoss};
use st_train::{Objective, Result, SaveInterval, Trainer, TrainingArguments};

use common::tiny_model;

/// Keeps the loss of every step.
#[derive(Debug, Default)]
struct Recorder {
    losses: Arc<Mutex<Vec<f64>>>,
}

impl Recorder {
    fn losses(&self) -> Arc<Mutex<Vec<f64>>> {
        Arc::clone(&self.losses)
    }
}

impl Callback for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn on_step_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        self.losses.lock().unwrap().push(event.loss.unwrap());
        Ok(())
    }
}

/// Relative difference allowed at every step.
const TOLERANCE: f64 = 1e-3;

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/curves.json")).unwrap()
}

fn dataset(golden: &Value, columns: usize) -> Table {
    let rows = golden["rows"].as_array().unwrap();
    let text = |index: usize| rows.iter().map(move |row| row[index].as_str().unwrap().to_owned());
    let table = Table::new().column("sentence1", text(0)).unwrap().column("sentence2", text(1)).unwrap();
    match columns {
        2 => table,
        _ => table.column("score", rows.iter().map(|row| row[2].as_f64().unwrap())).unwrap(),
    }
}

/// The losses and gradient norms of a run like the original's.
fn run(golden: &Value, loss: impl Objective + 'static, columns: usize, bf16: bool) -> (Vec<f64>, Vec<f64>) {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = golden["arguments"].clone();
    arguments["output_dir"] = folder.path().join("out").to_str().unwrap().into();
    arguments["logging_steps"] = 1.into();
    arguments["bf16"] = bf16.into();
    let arguments = TrainingArguments::from_json(&arguments.to_string()).unwrap().save_strategy(SaveInterval::No);
    let recorder = Recorder::default();
    let losses = recorder.losses();
    let mut trainer = Trainer::new(tiny_model("tiny-bert", 0.0), arguments)
        .train_dataset(dataset(golden, columns))
        .loss(loss)
        .callback(recorder);
    trainer.train().unwrap();
    let norms = trainer.state().log_history.iter().filter_map(|log| log.get("grad_norm")?.as_f64()).collect();
    (losses.lock().unwrap().clone(), norms)
}

fn curve(golden: &Value, kind: &str, name: &str, what: &str) -> Vec<f64> {
    serde_json::from_value(golden[kind][name][what].clone()).unwrap()
}

fn check(name: &str, loss: impl Objective + 'static, columns: usize) {
    let golden = golden();
    let (found, logged) = run(&golden, loss, columns, false);
    let [wanted, norms] = ["losses", "grad_norms"].map(|what| curve(&golden, "curves", name, what));
    assert_eq!((found.len(), wanted.len()), (200, 200));
    let difference = |found: f64, wanted: f64| ((found - wanted) / wanted).abs();
    let largest = found.iter().zip(&wanted).map(|(&found, &wanted)| difference(found, wanted)).fold(0.0, f64::max);
    println!("{name}: largest relative difference of the loss {largest:.2e}");
    for (step, (&found, &wanted)) in found.iter().zip(&wanted).enumerate() {
        assert!(difference(found, wanted) < TOLERANCE, "step {step}: {found} instead of {wanted}");
    }
    for (step, (found, wanted)) in logged.into_iter().zip(norms).enumerate() {
        assert!(difference(found, wanted) < 5e-3, "gradient norm of step {step}: {found} instead of {wanted}");
    }
}

/// In mixed precision the losses stay nearer to those of full precision than the original's in mixed precision do.
fn check_mixed(name: &str, found: &[f64]) {
    let golden = golden();
    let [full, mixed] = ["curves", "mixed"].map(|kind| curve(&golden, kind, name, "losses"));
    let mean = |curve: &[f64]| {
        let off = curve.iter().zip(&full).map(|(found, full)| ((found - full) / full).abs());
        off.sum::<f64>() / curve.len() as f64
    };
    println!("{name}: mean relative difference {:.1e}, the original's {:.1e}", mean(found), mean(&mixed));
    assert_eq!(found.len(), full.len());
    // Full precision is within 3e-5 of the original's.
    assert!(mean(found) > 1e-4, "nothing was rounded: {}", mean(found));
    assert!(mean(found) < mean(&mixed), "{} against {}", mean(found), mean(&mixed));
}

/// By the engine's kernels, and by candle's operations as other devices run them.
#[test]
fn mixed_precision() {
    let golden = golden();
    let ranking = || run(&golden, MultipleNegativesRankingLoss::new(), 2, true).0;
    let similarity = || run(&golden, CosineSimilarityLoss::new(), 3, true).0;
    check_mixed("MultipleNegativesRankingLoss", &ranking());
    check_mixed("CosineSimilarityLoss", &similarity());
    check_mixed("MultipleNegativesRankingLoss", &st_candle::ops::composed(ranking));
    check_mixed("CosineSimilarityLoss", &st_candle::ops::composed(similarity));
}

#[test]
fn multiple_negatives_ranking() {
    check("MultipleNegativesRankingLoss", MultipleNegativesRankingLoss::new(), 2);
}

#[test]
fn cosent() {
    check("CoSENTLoss", CoSentLoss::new(), 3);
}

#[test]
fn cosine_similarity() {
    check("CosineSimilarityLoss", CosineSimilarityLoss::new(), 3);
}
