//! Reading checkpoints: safetensors (also sharded) and PyTorch's `.bin`, without running anything they contain.

mod safetensors_file;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{EncoderError, TensorSource};

/// Data types of stored tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    BF16,
}

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
        let path = folder.join("model.safetensors");
        let file = safetensors_file::SafetensorsFile::open(&path)?;
        let index = file.names().map(|name| (name.to_owned(), 0)).collect();
        Ok(Self { path, files: vec![file], index, prefix: String::new() })
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

/// A tensor's numbers in the checkpoint, row-major.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    path: &'a Path,
    name: String,
    data_type: DataType,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// Stored data type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Shape, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The stored bytes, little-endian, row-major; not necessarily aligned.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The numbers as 32-bit floats, borrowed when they are stored so and aligned.
    ///
    /// # Errors
    /// [`EncoderError::NotFinite`] at the first NaN or infinity.
    pub fn to_f32(&self) -> Result<Cow<'a, [f32]>, EncoderError> {
        let numbers: Vec<f32> =
            self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        match numbers.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(EncoderError::NotFinite { path: self.path.into(), name: self.name.clone(), index }),
            None => Ok(Cow::Owned(numbers)),
        }
    }

    fn rows(self, rows: std::ops::Range<usize>) -> Option<Self> {
        let (&count, inner) = self.shape.split_first()?;
        if rows.start > rows.end || rows.end > count {
            return None;
        }
        let row = self.bytes.len().checked_div(count)?;
        let mut shape = vec![rows.len()];
        shape.extend_from_slice(inner);
        Some(Self { bytes: &self.bytes[rows.start * row..rows.end * row], shape, ..self })
    }
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, EncoderError> {
    let text = std::fs::read(path).map_err(|source| EncoderError::Io { path: path.into(), source })?;
    serde_json::from_slice(&text)
        .map_err(|error| EncoderError::Config { path: path.into(), message: error.to_string() })
}
