//! One `pytorch_model.bin`, in the zip format (since PyTorch 1.6) or the one before, read without running its pickle.

mod legacy;
mod pickle;
mod tensors;
mod writer;
mod zipped;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memmap2::Mmap;

use super::mapped;
use super::stored::{Kind, Stored};
use crate::EncoderError;
use tensors::Layout;
pub use writer::write_pytorch;

/// What is wrong with a file's content, and what to do about it.
type Message = String;

#[derive(Debug)]
pub(super) struct PyTorchFile {
    path: PathBuf,
    map: Mmap,
    storages: Vec<Storage>,
    entries: BTreeMap<String, Entry>,
}

/// Where the bytes of a storage are.
#[derive(Debug)]
enum Storage {
    /// In the file.
    Mapped(Range<usize>),
    /// Unpacked from a compressed archive.
    Unpacked(Vec<u8>),
}

/// The tensors of a file and the storages that they lie in.
#[derive(Debug, Default)]
struct Content {
    storages: Vec<Storage>,
    tensors: Vec<(String, Layout)>,
}

#[derive(Debug)]
struct Entry {
    layout: Layout,
    /// The elements in row-major order, where they are not stored so.
    gathered: OnceLock<Vec<u8>>,
}

impl PyTorchFile {
    pub(super) fn open(path: &Path) -> Result<Self, EncoderError> {
        let map = mapped::map(path)?;
        let content = read(&map).map_err(|message| mapped::damaged(path, message))?;
        let entries = content
            .tensors
            .into_iter()
            .map(|(name, layout)| (name, Entry { layout, gathered: OnceLock::new() }))
            .collect();
        Ok(Self { path: path.into(), map, storages: content.storages, entries })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn describe(&self, name: &str) -> Option<(&Kind, &[usize])> {
        self.entries.get(name).map(|entry| (&entry.layout.kind, entry.layout.shape.as_slice()))
    }

    pub(super) fn get(&self, name: &str) -> Option<Stored<'_>> {
        let Entry { layout, gathered } = self.entries.get(name)?;
        let storage = match self.storages.get(layout.storage)? {
            Storage::Mapped(range) => self.map.get(range.clone())?,
            Storage::Unpacked(bytes) => bytes,
        };
        let bytes = match layout.contiguous() {
            Some(range) => storage.get(range)?,
            None => gathered.get_or_init(|| layout.gather(storage)),
        };
        Some(Stored { kind: &layout.kind, shape: &layout.shape, bytes })
    }
}

/// Finds out which format the bytes are in and reads where its tensors are.
fn read(bytes: &[u8]) -> Result<Content, Message> {
    if bytes.starts_with(b"PK") {
        zipped::read(bytes)
    } else if bytes.starts_with(&[0x80]) {
        legacy::read(bytes)
    } else {
        Err("not a checkpoint of PyTorch: it is neither a zip archive nor a pickle".into())
    }
}

#[cfg(test)]
mod tests;
