//! The zip format: `NAME/data.pkl`, `NAME/byteorder` and one stored file per storage, `NAME/data/KEY`.

use std::collections::HashMap;
use std::io::{Cursor, Read as _};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::{Content, Message, Storage, pickle, tensors};

/// Largest pickle unpacked, in bytes.
const MOST_PICKLE: usize = 1 << 26;

struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Number of each file by its name.
    names: HashMap<String, usize>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Content, Message> {
    let zip = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| format!("the zip archive is truncated or damaged ({error}): download the file again"))?;
    let names: HashMap<_, _> =
        (0..zip.len()).filter_map(|number| Some((zip.name_for_index(number)?.ok()?.into_owned(), number))).collect();
    let root = names
        .keys()
        .filter_map(|name| name.strip_suffix("/data.pkl"))
        .min_by_key(|root| (root.len(), (*root).to_owned()))
        .ok_or("not a checkpoint of PyTorch: the zip archive has no data.pkl")?
        .to_owned();
    let mut archive = Archive { bytes, zip, names };
    if let Some(order) = archive.file(&format!("{root}/byteorder"), 16)? {
        let order = archive.bytes_of(&order);
        if order != b"little" {
            return Err("the checkpoint was written on a big-endian machine; save it again on another".into());
        }
    }
    let stored = archive.file(&format!("{root}/data.pkl"), MOST_PICKLE)?.ok_or("data.pkl is missing")?;
    let (parsed, _) = pickle::read(archive.bytes_of(&stored))?;
    let dictionary = tensors::state_dictionary(&parsed)?;
    let mut storages = Vec::with_capacity(dictionary.storages.len());
    for need in &dictionary.storages {
        let expected = need.bytes()?;
        let storage = archive
            .file(&format!("{root}/data/{}", need.key), expected)?
            .ok_or_else(|| format!("storage '{}' is missing from the archive", need.key.escape_debug()))?;
        let found = archive.bytes_of(&storage).len();
        if found < expected {
            return Err(format!("storage '{}' has {found} of {expected} bytes", need.key.escape_debug()));
        }
        storages.push(storage);
    }
    Ok(Content { storages, tensors: dictionary.tensors })
}

impl Archive<'_> {
    /// A file of the archive: where it is stored, or unpacked when it is compressed and at most `limit` bytes long.
    fn file(&mut self, name: &str, limit: usize) -> Result<Option<Storage>, Message> {
        let damaged = |error: &dyn std::fmt::Display| {
            format!("'{}' in the zip archive is damaged ({error}): download the file again", name.escape_debug())
        };
        let Some(&number) = self.names.get(name) else { return Ok(None) };
        let file = self.zip.by_index(number).map_err(|error| damaged(&error))?;
        if file.compression() != CompressionMethod::Stored {
            let mut unpacked = Vec::new();
            file.take(limit as u64).read_to_end(&mut unpacked).map_err(|error| damaged(&error))?;
            return Ok(Some(Storage::Unpacked(unpacked)));
        }
        let range = file.data_start().and_then(|start| range(start, file.size()));
        let range = range.filter(|range| self.bytes.get(range.clone()).is_some());
        range.map(|range| Some(Storage::Mapped(range))).ok_or_else(|| damaged(&"it leaves the archive"))
    }

    fn bytes_of<'b>(&'b self, storage: &'b Storage) -> &'b [u8] {
        match storage {
            Storage::Mapped(range) => &self.bytes[range.clone()],
            Storage::Unpacked(bytes) => bytes,
        }
    }
}

fn range(start: u64, length: u64) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    Some(start..start.checked_add(usize::try_from(length).ok()?)?)
}
