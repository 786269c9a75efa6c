//! What several test files need.
#![expect(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use sentence_transformers::SentenceTransformer;
use st_train::Result;
use st_train::callbacks::{Callback, Event};
use st_train::model::{TrainableModel, TrainingOptions};

/// A committed tiny model with another probability of dropout.
pub(crate) fn tiny_model(name: &str, dropout: f64) -> TrainableModel {
    let folder = tempfile::tempdir().unwrap();
    copy(&st_testing::tiny_model(name), folder.path());
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for key in ["hidden_dropout_prob", "attention_probs_dropout_prob"] {
        config[key] = dropout.into();
    }
    std::fs::write(&path, config.to_string()).unwrap();
    let library = SentenceTransformer::load(folder.path().to_str().unwrap()).unwrap();
    let model = TrainableModel::new(&library, TrainingOptions::new()).unwrap();
    // The model reads its files when it is saved.
    std::mem::forget(folder);
    model
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Keeps the loss of every step.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    losses: Arc<Mutex<Vec<f64>>>,
}

impl Recorder {
    pub(crate) fn losses(&self) -> Arc<Mutex<Vec<f64>>> {
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

/// Ends the run at a step, as if it had been killed there.
#[derive(Debug)]
pub(crate) struct StopAt(pub(crate) usize);

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
