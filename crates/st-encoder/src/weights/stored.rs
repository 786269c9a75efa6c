//! What every kind of weights file offers: names, and for each its kind, shape and bytes.

use std::path::Path;

use super::pytorch::PyTorchFile;
use super::safetensors_file::SafetensorsFile;
use crate::{DataType, EncoderError};

/// What a stored tensor's elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floating-point numbers that can be read.
    Float(DataType),
    /// Anything else, by its name in the file. Buffers such as `position_ids` are; they are never needed.
    Other(String),
}

/// A tensor as it lies in its file.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) kind: &'a Kind,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
}

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
