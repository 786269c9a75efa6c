//! [`TripletReader`].

use std::path::PathBuf;

use crate::Result;

use super::{InputExample, field, limit, separated};

/// Reads triplets, one per line: anchor, positive, negative.
///
/// ```
/// use st_train::readers::TripletReader;
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("t.tsv"), "a\tp\tn\nb\tq\to\n")?;
/// let examples = TripletReader::new(folder.path()).header(true).examples("t.tsv", 0)?;
/// assert_eq!(examples[0].texts, ["b", "q", "o"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TripletReader {
    folder: PathBuf,
    columns: [usize; 3],
    header: bool,
    delimiter: u8,
    quotes: bool,
}

impl TripletReader {
    /// Reads files of a folder: columns 0, 1 and 2, tabs between them, no header.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), columns: [0, 1, 2], header: false, delimiter: b'\t', quotes: false }
    }

    /// Sets the columns of anchor, positive and negative.
    #[must_use]
    pub fn columns(mut self, anchor: usize, positive: usize, negative: usize) -> Self {
        self.columns = [anchor, positive, negative];
        self
    }

    /// Sets whether the first line is a header.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// Sets what stands between columns.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Sets whether double quotes hold fields together.
    #[must_use]
    pub fn quotes(mut self, quotes: bool) -> Self {
        self.quotes = quotes;
        self
    }

    /// The examples of a file, at most `max_examples` unless that is 0.
    ///
    /// # Errors
    /// When the file cannot be read or a line lacks a column.
    pub fn examples(&self, filename: &str, max_examples: usize) -> Result<Vec<InputExample>> {
        let path = self.folder.join(filename);
        let lines = separated(&path, self.delimiter, self.quotes)?.enumerate().skip(usize::from(self.header));
        let example = |(line, fields): (usize, Result<Vec<String>>)| {
            let fields = fields?;
            let texts = self.columns.map(|index| field(&path, line, &fields, index));
            Ok(InputExample::new(texts.into_iter().collect::<Result<Vec<_>>>()?))
        };
        lines.take(limit(max_examples)).map(example).collect()
    }
}
