//! Texts from files and standard input, as streams: one row in memory at a time, whatever the format.

mod checked;
mod csv;
mod json_lines;
mod lines;
mod parquet;
mod source;
mod table;
mod vectors;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::failure::{Failure, Result};

pub(crate) use checked::{OnError, Text, Texts};
use source::Source;
pub(crate) use table::Table;
pub(crate) use vectors::VectorFile;

/// A format of inputs.
#[derive(Debug)]
pub(crate) struct InputFormat {
    /// What `--input-format` calls it.
    pub(crate) name: &'static str,
    extensions: &'static [&'static str],
    open: fn(Source, Option<&str>) -> Result<Rows>,
}

/// Every format; the first also serves files whose extension no format claims.
pub(crate) const FORMATS: &[InputFormat] = &[
    InputFormat { name: "lines", extensions: &["txt", "text"], open: lines::open },
    InputFormat { name: "jsonl", extensions: &["jsonl", "ndjson"], open: json_lines::open },
    InputFormat { name: "csv", extensions: &["csv"], open: csv::open_commas },
    InputFormat { name: "tsv", extensions: &["tsv", "tab"], open: csv::open_tabs },
    InputFormat { name: "parquet", extensions: &["parquet", "pq"], open: parquet::open },
];

/// What to read, and how.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// `-` is standard input.
    pub(crate) path: &'a Path,
    /// By the extension when not given.
    pub(crate) format: Option<&'static InputFormat>,
    /// `text`, or the only column, when not given.
    pub(crate) column: Option<&'a str>,
}

/// One row of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its line in the file, or its row in a Parquet file, from 1.
    pub(crate) number: u64,
    pub(crate) text: Result<String, Damage>,
}

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) reason: String,
    /// What could be read of it.
    pub(crate) salvage: String,
}

impl Damage {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), salvage: String::new() }
    }
}

/// The rows of an input, and how many there are to come.
pub(crate) struct Rows {
    /// The file, for messages.
    pub(crate) name: String,
    /// What a number counts: `line` or `row`.
    pub(crate) unit: &'static str,
    pub(crate) extent: Extent,
    pub(crate) rows: Box<dyn Iterator<Item = Result<Row>>>,
}

/// How much there is to read, for a progress bar.
#[derive(Debug, Clone)]
pub(crate) enum Extent {
    /// A stream that may end any time.
    Unknown,
    /// So many texts.
    Texts(u64),
    /// So many bytes, and a count of those that were read.
    Bytes(u64, Arc<AtomicU64>),
}

impl Rows {
    /// Opens an input.
    ///
    /// # Errors
    /// When it is not there, not of its format, or has no such column.
    pub(crate) fn open(request: &Request<'_>) -> Result<Self> {
        let format = match request.format {
            Some(format) => format,
            None => by_extension(request.path),
        };
        if request.column.is_some() && format.name == "lines" {
            return Err(Failure::usage("lines of text have no columns")
                .with_hint("leave --column out, or say what the file is with --input-format"));
        }
        (format.open)(Source::open(request.path)?, request.column)
    }

    /// Texts from the command line.
    pub(crate) fn of_arguments(texts: Vec<String>) -> Self {
        let extent = Extent::Texts(texts.len() as u64);
        let rows = texts.into_iter().zip(1..).map(|(text, number)| Ok(Row { number, text: Ok(text) }));
        Self { name: "command line".to_owned(), unit: "text", extent, rows: Box::new(rows) }
    }
}

/// The format of that name.
pub(crate) fn format_named(name: &str) -> Option<&'static InputFormat> {
    FORMATS.iter().find(|format| format.name == name)
}

/// The format that claims a path's extension, `.gz` not counted; lines when none does.
fn by_extension(path: &Path) -> &'static InputFormat {
    let inner = if source::is_compressed(path) { path.with_extension("") } else { PathBuf::from(path) };
    let extension = inner.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
    FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str())).unwrap_or(&FORMATS[0])
}

/// Bytes that should be a text.
fn decode(bytes: Vec<u8>) -> Result<String, Damage> {
    String::from_utf8(bytes).map_err(|error| Damage {
        reason: format!("invalid UTF-8 at byte {} of the text", error.utf8_error().valid_up_to() + 1),
        salvage: String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Which of the columns holds the texts: the one asked for, else `text`, else the only one.
fn choose_column(name: &str, wanted: Option<&str>, columns: &[String]) -> Result<usize> {
    let found = match wanted {
        Some(wanted) => columns.iter().position(|column| column == wanted),
        None if columns.len() == 1 => Some(0),
        None => columns.iter().position(|column| column == "text"),
    };
    found.ok_or_else(|| {
        let message = match wanted {
            Some(wanted) => format!("{name} has no column {wanted:?}"),
            None => format!("which column of {name} holds the texts?"),
        };
        Failure::usage(message).with_hint(format!("--column takes one of: {}", columns.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_choose_the_format() {
        for (path, name) in [
            ("a.txt", "lines"),
            ("a", "lines"),
            ("a.log.gz", "lines"),
            ("a.JSONL", "jsonl"),
            ("a.ndjson.gz", "jsonl"),
            ("x/a.csv", "csv"),
            ("a.tsv", "tsv"),
            ("a.parquet", "parquet"),
            ("-", "lines"),
        ] {
            assert_eq!(by_extension(Path::new(path)).name, name, "{path}");
        }
    }

    #[test]
    fn no_two_formats_share_a_name_or_an_extension() {
        let mut names: Vec<&str> =
            FORMATS.iter().flat_map(|format| format.extensions.iter().chain([&format.name]).copied()).collect();
        names.sort_unstable();
        names.dedup();
        let own: usize =
            FORMATS.iter().map(|f| f.extensions.len() + usize::from(!f.extensions.contains(&f.name))).sum();
        assert_eq!(names.len(), own);
    }

    #[test]
    fn columns_are_found_or_listed() {
        let columns = ["id".to_owned(), "text".to_owned()];
        assert_eq!(choose_column("f", None, &columns).unwrap(), 1);
        assert_eq!(choose_column("f", Some("id"), &columns).unwrap(), 0);
        assert_eq!(choose_column("f", None, &columns[..1]).unwrap(), 0);
        let error = choose_column("f.csv", Some("body"), &columns).unwrap_err().to_string();
        assert!(error.contains("f.csv has no column \"body\"") && error.contains("id, text"), "{error}");
    }
}
