//! One weights file of either kind, and which kind it is.

use std::path::Path;

use super::pytorch::PyTorchFile;
use super::safetensors_file::SafetensorsFile;
use super::stored::{Kind, Stored};
use crate::EncoderError;

/// One weights file.
#[derive(Debug)]
pub(super) enum WeightsFile {
    Safetensors(SafetensorsFile),
    PyTorch(PyTorchFile),
}

impl WeightsFile {
    /// Opens a file; its name's ending says of which kind it is.
    pub(super) fn open(path: &Path) -> Result<Self, EncoderError> {
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            SafetensorsFile::open(path).map(Self::Safetensors)
        } else {
            PyTorchFile::open(path).map(Self::PyTorch)
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::PyTorch(file) => file.path(),
        }
    }

    /// Names of all tensors, whatever they hold.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Safetensors(file) => file.names().collect(),
            Self::PyTorch(file) => file.names().collect(),
        }
    }

    /// Kind and shape of a tensor.
    pub(super) fn describe(&self, name: &str) -> Option<(&Kind, &[usize])> {
        match self {
            Self::Safetensors(file) => file.get(name).map(|stored| (stored.kind, stored.shape)),
            Self::PyTorch(file) => file.describe(name),
        }
    }

    /// A tensor, row-major.
    pub(super) fn get(&self, name: &str) -> Option<Stored<'_>> {
        match self {
            Self::Safetensors(file) => file.get(name),
            Self::PyTorch(file) => file.get(name),
        }
    }
}
