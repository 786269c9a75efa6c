//! [`VectorFile`]: embeddings from a file, block after block.

mod parquet;
mod raw;

use std::path::Path;

use sentence_transformers::Embeddings;

use crate::failure::{Failure, Result};

/// Rows of a block.
const BLOCK: usize = 4096;

/// Some rows, with their texts where the file has them.
#[derive(Debug)]
pub(crate) struct VectorBlock {
    pub(crate) texts: Vec<String>,
    pub(crate) embeddings: Embeddings,
}

/// Blocks of rows to come.
pub(crate) type Blocks = Box<dyn Iterator<Item = Result<VectorBlock>>>;

/// A format that embeddings are read from.
struct VectorFormat {
    extensions: &'static [&'static str],
    open: fn(&Path, Option<&str>) -> Result<VectorFile>,
}

/// Every format.
const FORMATS: &[VectorFormat] = &[
    VectorFormat { extensions: &["npy"], open: raw::open_npy },
    VectorFormat { extensions: &["safetensors"], open: raw::open_safetensors },
    VectorFormat { extensions: &["parquet", "pq"], open: parquet::open },
];

/// A file of float embeddings.
pub(crate) struct VectorFile {
    pub(crate) rows: u64,
    pub(crate) dimension: usize,
    blocks: Box<dyn Fn() -> Result<Blocks>>,
}

impl VectorFile {
    /// Opens a file; `column` names a column or a tensor where there are several.
    pub(crate) fn open(path: &Path, column: Option<&str>) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        let format = FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str()));
        let format = format.ok_or_else(|| {
            let known: Vec<String> =
                FORMATS.iter().flat_map(|format| format.extensions).map(|name| format!(".{name}")).collect();
            Failure::usage(format!("{} does not say how it holds embeddings", path.display()))
                .with_hint(format!("embeddings are read from {}", known.join(", ")))
        })?;
        (format.open)(path, column)
    }

    /// The rows from the first one on; may be called again.
    pub(crate) fn blocks(&self) -> Result<Blocks> {
        (self.blocks)()
    }

    /// All rows at once.
    pub(crate) fn read(&self) -> Result<Embeddings> {
        let mut rows = Vec::new();
        for block in self.blocks()? {
            rows.extend_from_slice(block?.embeddings.as_slice());
        }
        let count = rows.len() / self.dimension.max(1);
        Ok(Embeddings::new(rows, count, self.dimension)?)
    }
}

/// Which of several columns or tensors: the one asked for, else `usual`, else the only one.
fn choose(name: &str, wanted: Option<&str>, usual: &str, found: &[String]) -> Result<usize> {
    let place = match wanted {
        Some(wanted) => found.iter().position(|known| known == wanted),
        None if found.len() == 1 => Some(0),
        None => found.iter().position(|known| known == usual),
    };
    place.ok_or_else(|| match (wanted, found) {
        (_, []) => Failure::new(format!("{name} holds no embeddings"))
            .with_hint("embeddings are a matrix of floating point numbers: a row per text"),
        (Some(wanted), _) => Failure::usage(format!("{name} has no embeddings {wanted:?}"))
            .with_hint(format!("--column takes one of: {}", found.join(", "))),
        (None, _) => Failure::usage(format!("which part of {name} holds the embeddings?"))
            .with_hint(format!("--column takes one of: {}", found.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_must_be_named() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(choose("f", Some("b"), "embedding", &names).unwrap(), 1);
        assert_eq!(choose("f", None, "b", &names).unwrap(), 1);
        assert_eq!(choose("f", None, "embedding", &names[..1]).unwrap(), 0);
        let error = choose("f", None, "embedding", &names).unwrap_err().to_string();
        assert!(error.contains("which part of f") && error.contains("one of: a, b"), "{error}");
        assert!(choose("f", None, "embedding", &[]).unwrap_err().to_string().contains("f holds no embeddings"));
    }
}
