//! What several test files need.

use std::path::Path;

use sentence_transformers::SentenceTransformer;
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

fn copy(from: &Path, to: &Path) {
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
