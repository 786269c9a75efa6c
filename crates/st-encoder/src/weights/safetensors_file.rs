//! One memory-mapped safetensors file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::{DataType, Tensor};
use crate::EncoderError;

#[derive(Debug)]
pub(super) struct SafetensorsFile {
    path: PathBuf,
    map: memmap2::Mmap,
    entries: BTreeMap<String, (DataType, Vec<usize>, std::ops::Range<usize>)>,
}

impl SafetensorsFile {
    #[expect(unsafe_code, reason = "memory mapping a file")]
    pub(super) fn open(path: &Path) -> Result<Self, EncoderError> {
        let io = |source| EncoderError::Io { path: path.into(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        // SAFETY: the map is only read; a file that another process shortens meanwhile ends this process with SIGBUS,
        // which is the accepted price of memory mapping everywhere.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        let mut entries = BTreeMap::new();
        let parsed = SafeTensors::deserialize(&map).map_err(|error| EncoderError::Weights {
            path: path.into(),
            message: "not a valid safetensors file".into(),
            source: Some(Box::new(error)),
        })?;
        for (name, view) in parsed.iter() {
            let data_type = match view.dtype() {
                Dtype::F32 => DataType::F32,
                Dtype::F64 => DataType::F64,
                Dtype::F16 => DataType::F16,
                Dtype::BF16 => DataType::BF16,
                _ => continue,
            };
            let start = view.data().as_ptr() as usize - map.as_ptr() as usize;
            entries.insert(name.to_owned(), (data_type, view.shape().to_vec(), start..start + view.data().len()));
        }
        drop(parsed);
        Ok(Self { path: path.into(), map, entries })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Tensor<'_>, EncoderError> {
        let (data_type, shape, range) = self
            .entries
            .get(name)
            .ok_or_else(|| EncoderError::MissingTensor { path: self.path.clone(), name: name.to_owned() })?;
        Ok(Tensor {
            path: &self.path,
            name: name.to_owned(),
            data_type: *data_type,
            shape: shape.clone(),
            bytes: &self.map[range.clone()],
        })
    }
}
