//! [`StsDataReader`] and [`StsBenchmarkDataReader`].

use std::path::PathBuf;

use crate::{Result, TrainError};

use super::{InputExample, field, limit, separated};

/// Reads pairs of sentences with a score, one per line.
///
/// Scores are brought from 0 … 5 to 0 … 1 unless that is switched off. Columns are counted from 0; there is no header.
///
/// ```
/// use st_train::data::Cell;
/// use st_train::readers::StsDataReader;
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("train.tsv"), "A cat.\tA \"dog\".\t2.5\nx\ty\t5\n")?;
/// let examples = StsDataReader::new(folder.path()).examples("train.tsv", 0)?;
/// assert_eq!((examples[0].texts[1].as_str(), &examples[0].label), ("A \"dog\".", &Cell::Number(0.5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StsDataReader {
    folder: PathBuf,
    columns: [usize; 3],
    delimiter: u8,
    quotes: bool,
    normalize_scores: bool,
    range: (f64, f64),
}

impl StsDataReader {
    /// Reads files of a folder: sentences in columns 0 and 1, scores in column 2, tabs between them.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            columns: [0, 1, 2],
            delimiter: b'\t',
            quotes: false,
            normalize_scores: true,
            range: (0.0, 5.0),
        }
    }

    /// Sets the columns of the first sentence, the second, and the score.
    #[must_use]
    pub fn columns(mut self, first: usize, second: usize, score: usize) -> Self {
        self.columns = [first, second, score];
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

    /// Sets whether scores are brought to 0 … 1.
    #[must_use]
    pub fn normalize_scores(mut self, normalize: bool) -> Self {
        self.normalize_scores = normalize;
        self
    }

    /// Sets the lowest and the highest score.
    #[must_use]
    pub fn score_range(mut self, lowest: f64, highest: f64) -> Self {
        self.range = (lowest, highest);
        self
    }

    /// The examples of a file, at most `max_examples` unless that is 0. A name that ends in `.gz` is unpacked.
    ///
    /// # Errors
    /// When the file cannot be read, or a line lacks a column or has a score that is no number.
    pub fn examples(&self, filename: &str, max_examples: usize) -> Result<Vec<InputExample>> {
        let path = self.folder.join(filename);
        let example = |(line, fields): (usize, Result<Vec<String>>)| {
            let fields = fields?;
            let [first, second, score] = self.columns.map(|index| field(&path, line, &fields, index));
            let score = score?;
            let score: f64 = score.trim().parse().map_err(|_| {
                TrainError::format(&path, format!("line {}: the score '{score}' is no number", line + 1))
            })?;
            let (lowest, highest) = self.range;
            let score = if self.normalize_scores { (score - lowest) / (highest - lowest) } else { score };
            Ok(InputExample::new([first?, second?]).label(score).guid(format!("{filename}{line}")))
        };
        separated(&path, self.delimiter, self.quotes)?.enumerate().take(limit(max_examples)).map(example).collect()
    }
}

/// Reads the files of the STS benchmark: sentences in columns 5 and 6, scores in column 4.
///
/// ```
/// use st_train::readers::StsBenchmarkDataReader;
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("sts-dev.csv"), "main\tfiles\t2015\t0001\t5.000\tA\tB\n")?;
/// let examples = StsBenchmarkDataReader::new(folder.path()).examples("sts-dev.csv", 0)?;
/// assert_eq!(examples[0].to_string(), "<InputExample> label: 1.0, texts: A; B");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StsBenchmarkDataReader;

impl StsBenchmarkDataReader {
    /// A reader of files of a folder.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "it is the general reader with other columns")]
    pub fn new(folder: impl Into<PathBuf>) -> StsDataReader {
        StsDataReader::new(folder).columns(5, 6, 4)
    }
}
