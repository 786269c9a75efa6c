//! [`ModuleWriter`]: what a module writes into its folder.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

use super::python_json;

/// The folder of one module while a model is saved.
#[derive(Debug)]
pub struct ModuleWriter {
    folder: PathBuf,
}

/// A tensor of a module: its name, its shape and its numbers, row-major.
///
/// ```
/// use sentence_transformers::save::SavedTensor;
///
/// let tensor = SavedTensor::new("linear.weight", [1, 2], &[1.0, -1.0][..]);
/// assert_eq!((tensor.name.as_ref(), tensor.shape.as_slice()), ("linear.weight", &[1, 2][..]));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SavedTensor<'a> {
    /// Name in the file.
    pub name: Cow<'a, str>,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub data: Cow<'a, [f32]>,
}

impl<'a> SavedTensor<'a> {
    /// A tensor; names and numbers may be owned or borrowed.
    pub fn new(name: impl Into<Cow<'a, str>>, shape: impl Into<Vec<usize>>, data: impl Into<Cow<'a, [f32]>>) -> Self {
        Self { name: name.into(), shape: shape.into(), data: data.into() }
    }
}

impl ModuleWriter {
    pub(crate) fn new(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(|source| write_error(&folder, source))?;
        Ok(Self { folder })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a module inside this one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn inside(&self, name: &str) -> Result<Self> {
        Self::new(self.folder.join(name))
    }

    /// Writes a module's configuration as the original does (indentation 4).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn config(&self, name: &str, keys: Map<String, Value>) -> Result<()> {
        self.json(name, &Value::Object(keys), 4)
    }

    /// Writes a JSON file with an indentation of the caller's choice.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn json(&self, name: &str, value: &Value, indent: usize) -> Result<()> {
        self.bytes(name, python_json::dump(value, indent).as_bytes())
    }

    /// Writes a JSON file in one line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn json_line(&self, name: &str, value: &Value) -> Result<()> {
        self.bytes(name, python_json::dump_line(value).as_bytes())
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        let path = self.folder.join(name);
        let write = || {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|source| write_error(&path, source))
    }

    /// Writes `model.safetensors`.
    ///
    /// # Errors
    /// When numbers and shape do not fit, or the file cannot be written.
    pub fn tensors(&self, tensors: &[SavedTensor<'_>]) -> Result<()> {
        let path = self.folder.join("model.safetensors");
        let failed = |error: safetensors::SafeTensorError| {
            Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).with_path(&path).with_source(error)
        };
        let bytes: Vec<Vec<u8>> =
            tensors.iter().map(|tensor| tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let mut views = Vec::with_capacity(tensors.len());
        for (tensor, bytes) in tensors.iter().zip(&bytes) {
            let view = TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes).map_err(failed)?;
            views.push((tensor.name.as_ref(), view));
        }
        let file = safetensors::serialize(views, None).map_err(failed)?;
        self.bytes("model.safetensors", &file)
    }

    /// Copies a file under its own name. A missing one is left out.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy(&self, from: &Path) -> Result<bool> {
        let Some(name) = from.file_name().filter(|_| from.is_file()) else { return Ok(false) };
        let to = self.folder.join(name);
        let copy = || {
            std::fs::copy(from, &to)?;
            std::fs::File::open(&to)?.sync_all()
        };
        copy().map_err(|source| write_error(&to, source))?;
        Ok(true)
    }
}

pub(crate) fn write_error(path: &Path, source: std::io::Error) -> Error {
    let hint = match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "the disk is full; nothing was changed",
        std::io::ErrorKind::PermissionDenied => "choose a folder that you may write to; nothing was changed",
        _ => "nothing was changed",
    };
    Error::new(ErrorKind::Io, format!("cannot write {}", path.display()))
        .with_path(path)
        .with_hint(hint)
        .with_source(source)
}
