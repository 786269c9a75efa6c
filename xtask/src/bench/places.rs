//! Where everything is that the benchmark keeps and builds.

use super::workloads::{MODELS, Model};
use std::path::PathBuf;

/// The folders and programs of a run.
#[derive(Debug)]
pub(crate) struct Places {
    /// The folder that holds the rest, kept between runs.
    pub(crate) folder: PathBuf,
    pub(crate) texts: PathBuf,
    pub(crate) models: PathBuf,
    pub(crate) rust_opponents: PathBuf,
    pub(crate) ours: PathBuf,
    /// libonnxruntime.so of the Python package, which the crate `ort` loads.
    pub(crate) onnx_library: PathBuf,
    /// benchmarks/opponents.
    pub(crate) scripts: PathBuf,
}

impl Places {
    /// The opponents' Python.
    pub(crate) fn interpreter(&self) -> PathBuf {
        self.folder.join("venv/bin/python")
    }

    /// The command line of a script of ours in the opponents' Python.
    pub(crate) fn python(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let mut words = vec![self.interpreter().display().to_string(), self.scripts.join(script).display().to_string()];
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        words
    }

    /// The folder that the original loads: with the exports beside the weights.
    pub(crate) fn model_folder(&self, model: &Model) -> PathBuf {
        let folder = self.models.join(model.name);
        if model.table { folder.join("sentence-transformers") } else { folder }
    }

    /// The static table as model2vec keeps it.
    pub(crate) fn model2vec_folder(&self) -> PathBuf {
        let table = MODELS.iter().find(|model| model.table);
        self.models.join(table.map_or("", |model| model.name)).join("model2vec")
    }
}
