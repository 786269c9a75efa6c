//! The trainer as one side of `benchmarks/training/compare_trainer.py`: before every step it says `ready` with the last
//! step's loss and waits for a line.
//!
//!     cargo run --release -p st-train --example trainer_contestant -- MODEL ROWS.jsonl mnrl|cosine BATCH STEPS

use std::error::Error;
use std::io::{BufRead, Write};

use sentence_transformers::SentenceTransformer;
use st_train::callbacks::{Callback, Event};
use st_train::data::FileDataset;
use st_train::losses::{CosineSimilarityLoss, MultipleNegativesRankingLoss};
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions};
use st_train::{Objective, SaveInterval, TrainError, Trainer, TrainingArguments};

/// Waits for the other side's turn.
#[derive(Debug)]
struct Turns;

impl Turns {
    fn wait(loss: Option<f64>) -> st_train::Result<()> {
        let failed = |error| TrainError::custom("the other side", error);
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready {}", loss.unwrap_or(f64::NAN)).and_then(|()| out.flush()).map_err(failed)?;
        std::io::stdin().lock().read_line(&mut String::new()).map_err(failed)?;
        Ok(())
    }
}

impl Callback for Turns {
    fn name(&self) -> &'static str {
        "Turns"
    }

    fn on_step_begin(&mut self, event: &mut Event<'_>) -> st_train::Result<()> {
        Self::wait(event.loss)
    }

    fn on_train_end(&mut self, event: &mut Event<'_>) -> st_train::Result<()> {
        Self::wait(event.loss)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, rows, loss, batch, steps] = arguments.as_slice() else {
        return Err("usage: trainer_contestant MODEL ROWS.jsonl mnrl|cosine BATCH STEPS".into());
    };
    let loss: Box<dyn Objective> = match loss.as_str() {
        "mnrl" => Box::new(MultipleNegativesRankingLoss::new()),
        "cosine" => Box::new(CosineSimilarityLoss::new()),
        other => return Err(format!("the loss is mnrl or cosine, not {other}").into()),
    };
    let folder = tempfile::tempdir()?;
    let settings = TrainingArguments::new(folder.path())
        .per_device_train_batch_size(batch.parse()?)
        .max_steps(steps.parse()?)
        .learning_rate(2e-5)
        .logging_steps(1.0)
        .save_strategy(SaveInterval::No);
    let start = std::time::Instant::now();
    let library = SentenceTransformer::load(model)?;
    eprintln!("loaded in {} ms", start.elapsed().as_millis());
    let start = std::time::Instant::now();
    let model = TrainableModel::new(&library, TrainingOptions::new())?;
    eprintln!("made trainable in {} ms", start.elapsed().as_millis());
    let mut trainer =
        Trainer::new(model, settings).train_dataset(FileDataset::open(rows)?.read()?).boxed_loss(loss).callback(Turns);
    trainer.train()?;
    let start = std::time::Instant::now();
    trainer.model().sentence_transformer()?;
    eprintln!("back to the library in {} ms", start.elapsed().as_millis());
    let start = std::time::Instant::now();
    trainer.save_model(&folder.path().join("final"))?;
    eprintln!("saved in {} ms", start.elapsed().as_millis());
    Ok(())
}
