//! The index of a checkpoint that is spread over several files.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::read_json;
use crate::EncoderError;

/// More files than any published checkpoint has.
const MOST_SHARDS: usize = 4096;

/// What `*.index.json` says.
#[derive(Debug)]
pub(super) struct Shards {
    /// The files, in order of their names.
    pub(super) files: Vec<PathBuf>,
    /// Which file holds which tensor.
    pub(super) tensors: BTreeMap<String, usize>,
}

/// Reads an index and checks that no shard's name leads out of its folder.
pub(super) fn read_index(path: &Path) -> Result<Shards, EncoderError> {
    let error = |message: String| EncoderError::Config { path: path.into(), message };
    let folder = path.parent().unwrap_or(Path::new(""));
    let value = read_json(path)?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| error("'weight_map' should be an object that names the file of each tensor".into()))?;
    let mut names = BTreeMap::new();
    for (tensor, file) in map {
        let file =
            file.as_str().ok_or_else(|| error(format!("'weight_map' should name a file for tensor '{tensor}'")))?;
        if !is_plain_name(file) {
            return Err(error(format!("file name '{file}' of tensor '{tensor}' leads out of the folder")));
        }
        names.entry(file).or_insert_with(Vec::new).push(tensor.clone());
    }
    if names.len() > MOST_SHARDS {
        return Err(error(format!("'weight_map' names {} files; at most {MOST_SHARDS} are read", names.len())));
    }
    let mut shards = Shards { files: Vec::with_capacity(names.len()), tensors: BTreeMap::new() };
    for (number, (file, tensors)) in names.into_iter().enumerate() {
        shards.files.push(folder.join(file));
        shards.tensors.extend(tensors.into_iter().map(|tensor| (tensor, number)));
    }
    Ok(shards)
}

/// One component that is an ordinary name.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.contains(['/', '\\', ':', '\0'])
}
