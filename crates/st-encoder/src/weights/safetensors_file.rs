//! One safetensors file, memory-mapped or in memory.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::mapped;
use super::stored::{Kind, Stored};
use crate::{DataType, EncoderError};

#[derive(Debug)]
pub(super) struct SafetensorsFile {
    path: PathBuf,
    content: Content,
    entries: Entries,
}

/// Where a file's bytes are.
#[derive(Debug)]
enum Content {
    Mapped(Mmap),
    Held(Arc<Vec<u8>>),
}

impl std::ops::Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

/// Kind, shape and place in the file of every tensor.
type Entries = BTreeMap<String, (Kind, Vec<usize>, Range<usize>)>;

impl SafetensorsFile {
    pub(super) fn open(path: &Path) -> Result<Self, EncoderError> {
        Self::new(path, Content::Mapped(mapped::map(path)?))
    }

    /// A file that is only in memory; `path` stands in messages.
    pub(super) fn held(path: &Path, bytes: Arc<Vec<u8>>) -> Result<Self, EncoderError> {
        Self::new(path, Content::Held(bytes))
    }

    fn new(path: &Path, content: Content) -> Result<Self, EncoderError> {
        let entries = read_header(path, &content)?;
        Ok(Self { path: path.into(), content, entries })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<Stored<'_>> {
        let (kind, shape, range) = self.entries.get(name)?;
        Some(Stored { kind, shape, bytes: &self.content[range.clone()] })
    }
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<Entries, EncoderError> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|error| explain(path, bytes.len(), error))?;
    // The crate has checked that the header lies inside the file.
    let length = bytes.first_chunk().map_or(0, |&length| u64::from_le_bytes(length)) as usize;
    if let Some(header) = bytes.get(8..8 + length) {
        serde_json::from_slice::<DistinctKeys>(header).map_err(|error| EncoderError::Weights {
            path: path.into(),
            message: format!("the header is damaged: {error}"),
            source: Some(Box::new(error)),
        })?;
    }
    let start = bytes.as_ptr() as usize;
    Ok(parsed
        .iter()
        .map(|(name, view)| {
            let kind = match view.dtype() {
                Dtype::F32 => Kind::Float(DataType::F32),
                Dtype::F64 => Kind::Float(DataType::F64),
                Dtype::F16 => Kind::Float(DataType::F16),
                Dtype::BF16 => Kind::Float(DataType::BF16),
                other => Kind::Other(other.to_string()),
            };
            let offset = view.data().as_ptr() as usize - start;
            (name.to_owned(), (kind, view.shape().to_vec(), offset..offset + view.data().len()))
        })
        .collect())
}

/// What the crate found, in words that say what to do.
fn explain(path: &Path, length: usize, error: SafeTensorError) -> EncoderError {
    let message = match &error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            format!("the file is truncated or damaged ({length} bytes are there): download the file again")
        }
        SafeTensorError::HeaderTooLarge => "not a valid safetensors file: the header is too large".to_owned(),
        other => format!("not a valid safetensors file: {other}"),
    };
    EncoderError::Weights { path: path.into(), message, source: Some(Box::new(error)) }
}

/// A JSON object none of whose keys occurs twice; which of two values holds would be up to the reader.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = DistinctKeys;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctKeys, A::Error> {
                let mut seen = HashSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.contains(&key) {
                        return Err(serde::de::Error::custom(format_args!("tensor '{key}' occurs twice")));
                    }
                    seen.insert(key);
                }
                Ok(DistinctKeys)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
