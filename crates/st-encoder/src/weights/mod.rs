//! Reading checkpoints: safetensors (also sharded) and PyTorch's `.bin`, without running anything they contain.

mod safetensors_file;
mod shards;
mod tensor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{EncoderError, TensorSource};
pub use tensor::{DataType, Tensor};

/// The tensors of a model folder, memory-mapped until they are asked for.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<safetensors_file::SafetensorsFile>,
    index: BTreeMap<String, usize>,
    prefix: String,
}

impl Weights {
    /// Opens the weights of a folder.
    ///
    /// # Errors
    /// [`EncoderError::NoWeights`] and [`EncoderError::Weights`].
    pub fn open(folder: &Path) -> Result<Self, EncoderError> {
        let single = folder.join("model.safetensors");
        if single.is_file() {
            return Self::from_files(single.clone(), vec![single], None);
        }
        let index = folder.join("model.safetensors.index.json");
        if index.is_file() {
            let shards = shards::read_index(&index)?;
            return Self::from_files(index, shards.files, Some(shards.tensors));
        }
        Err(EncoderError::NoWeights {
            path: folder.into(),
            expected: "model.safetensors or model.safetensors.index.json".into(),
        })
    }

    fn from_files(
        path: PathBuf,
        paths: Vec<PathBuf>,
        expected: Option<BTreeMap<String, usize>>,
    ) -> Result<Self, EncoderError> {
        let files =
            paths.iter().map(|path| safetensors_file::SafetensorsFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let index = match expected {
            Some(index) => index,
            None => {
                files.iter().enumerate().flat_map(|(n, f)| f.names().map(move |name| (name.to_owned(), n))).collect()
            }
        };
        Ok(Self { path, files, index, prefix: String::new() })
    }

    /// The file or folder, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the first of `prefixes` under which `name` exists as the prefix of all later names.
    #[must_use]
    pub fn with_prefix_of(mut self, prefixes: &[&str], name: &str) -> Self {
        if let Some(prefix) = prefixes.iter().find(|prefix| self.index.contains_key(&format!("{prefix}{name}"))) {
            self.prefix = (*prefix).to_owned();
        }
        self
    }

    /// Names of all tensors, as stored, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// A tensor, or some rows of it, checked to have `shape`.
    ///
    /// # Errors
    /// [`EncoderError::MissingTensor`] and [`EncoderError::Shape`].
    pub fn tensor(&self, source: &TensorSource, shape: &[usize]) -> Result<Tensor<'_>, EncoderError> {
        let name = format!("{}{}", self.prefix, source.name);
        let missing = || EncoderError::MissingTensor { path: self.path.clone(), name: name.clone() };
        let file = *self.index.get(&name).ok_or_else(missing)?;
        let mut tensor = self.files[file].tensor(&name)?;
        let wrong = |found: Vec<usize>| EncoderError::Shape {
            path: self.path.clone(),
            name: name.clone(),
            found,
            expected: shape.to_vec(),
        };
        if let Some(rows) = &source.rows {
            let whole = tensor.shape.clone();
            tensor = tensor.rows(rows.clone()).ok_or_else(|| wrong(whole))?;
        }
        if tensor.shape != shape {
            return Err(wrong(tensor.shape));
        }
        Ok(tensor)
    }
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, EncoderError> {
    let text = std::fs::read(path).map_err(|source| EncoderError::Io { path: path.into(), source })?;
    serde_json::from_slice(&text)
        .map_err(|error| EncoderError::Config { path: path.into(), message: error.to_string() })
}
