//! Data sets of NanoBEIR in the layout of their repository: `corpus/`, `queries/` and `qrels/` with a Parquet file (or
//! several) per split.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use super::RetrievalData;
use crate::{EvalError, Result};

impl RetrievalData {
    /// Reads the Parquet files of a split: `corpus/{split}-….parquet` and `queries/{split}-….parquet` with `_id` and
    /// `text`, `qrels/{split}-….parquet` with `query-id` and `corpus-id` (an id or a list of ids). Empty texts are left
    /// out.
    ///
    /// # Errors
    /// [`EvalError::Option`] when a subset has no such split or lacks a column, [`EvalError::File`] and
    /// [`EvalError::Parquet`] for files that cannot be read.
    pub fn read_parquet(folder: &Path, split: &str) -> Result<Self> {
        let mut relevant: HashMap<String, HashSet<String>> = HashMap::new();
        read(folder, "qrels", split, ["query-id", "corpus-id"], |[query, documents]| {
            if let Some(query) = text(query) {
                let all = relevant.entry(query).or_default();
                match documents {
                    Field::ListInternal(list) => all.extend(list.elements().iter().filter_map(text)),
                    one => all.extend(text(one)),
                }
            }
        })?;
        Ok(Self { queries: texts(folder, "queries", split)?, corpus: texts(folder, "corpus", split)?, relevant })
    }
}

fn texts(folder: &Path, subset: &str, split: &str) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    read(folder, subset, split, ["_id", "text"], |[id, body]| {
        if let (Some(id), Some(body)) = (text(id), text(body).filter(|body| !body.is_empty())) {
            texts.push((id, body));
        }
    })?;
    Ok(texts)
}

fn text(field: &Field) -> Option<String> {
    match field {
        Field::Str(text) => Some(text.clone()),
        Field::Int(number) => Some(number.to_string()),
        Field::Long(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Calls `take` with two columns of every row of a split.
fn read(
    folder: &Path,
    subset: &str,
    split: &str,
    columns: [&'static str; 2],
    mut take: impl FnMut([&Field; 2]),
) -> Result<()> {
    let files = files(&folder.join(subset), split)?;
    if files.is_empty() {
        let message = format!("Could not load subset '{subset}' split '{split}' from '{}'.", folder.display());
        return Err(EvalError::Option { message });
    }
    for path in files {
        let damaged = |source: ParquetError| EvalError::Parquet { path: path.clone(), source };
        let file = File::open(&path).map_err(EvalError::file("reading", &path))?;
        let reader = SerializedFileReader::new(file).map_err(damaged)?;
        for row in reader.get_row_iter(None).map_err(damaged)? {
            let row = row.map_err(damaged)?;
            let [Some(first), Some(second)] = columns.map(|name| column(&row, name)) else {
                let missing = columns.into_iter().filter(|name| column(&row, name).is_none());
                let missing: Vec<String> = missing.map(|name| format!("'{name}'")).collect();
                let message = format!(
                    "Subset '{subset}' split '{split}' of '{}' is missing required columns: [{}].",
                    folder.display(),
                    missing.join(", ")
                );
                return Err(EvalError::Option { message });
            };
            take([first, second]);
        }
    }
    Ok(())
}

fn column<'a>(row: &'a Row, name: &str) -> Option<&'a Field> {
    row.get_column_iter().find(|(known, _)| known.as_str() == name).map(|(_, field)| field)
}

/// `{split}.parquet` or `{split}-00000-of-00002.parquet`, …, in the order of their numbers.
fn files(folder: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = folder.read_dir() else { return Ok(found) };
    for entry in entries {
        let path = entry.map_err(EvalError::file("reading", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_suffix(".parquet").and_then(|stem| stem.strip_prefix(split));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
