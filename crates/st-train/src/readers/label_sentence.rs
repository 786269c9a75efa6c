//! [`LabelSentenceReader`].

use std::io::BufRead;
use std::path::PathBuf;

use crate::data::open_text;
use crate::{Result, TrainError};

use super::{InputExample, field, limit};

/// Reads a label and a sentence per line; labels become classes, numbered as they first occur, over all files read.
///
/// ```
/// use st_train::data::Cell;
/// use st_train::readers::LabelSentenceReader;
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("t.tsv"), "animal\ta cat\nplant\ta tree\nanimal\ta dog\n")?;
/// let mut reader = LabelSentenceReader::new(folder.path());
/// let labels: Vec<_> = reader.examples("t.tsv", 0)?.into_iter().map(|example| example.label).collect();
/// assert_eq!(labels, [Cell::Integer(0), Cell::Integer(1), Cell::Integer(0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LabelSentenceReader {
    folder: PathBuf,
    label_column: usize,
    sentence_column: usize,
    separator: String,
    labels: Vec<String>,
}

impl LabelSentenceReader {
    /// Reads files of a folder: labels in column 0, sentences in column 1, tabs between them.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), label_column: 0, sentence_column: 1, separator: "\t".into(), labels: Vec::new() }
    }

    /// Sets the columns of labels and sentences.
    #[must_use]
    pub fn columns(mut self, label: usize, sentence: usize) -> Self {
        (self.label_column, self.sentence_column) = (label, sentence);
        self
    }

    /// Sets what stands between columns.
    #[must_use]
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = separator.into();
        self
    }

    /// The labels so far; their places are their classes.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The examples of a file, at most `max_examples` unless that is 0.
    ///
    /// # Errors
    /// When the file cannot be read or a line lacks a column.
    pub fn examples(&mut self, filename: &str, max_examples: usize) -> Result<Vec<InputExample>> {
        let path = self.folder.join(filename);
        let mut examples = Vec::new();
        for (number, line) in open_text(&path)?.lines().enumerate().take(limit(max_examples)) {
            let line = line.map_err(TrainError::reading(&path))?;
            let fields: Vec<String> = line.trim().split(&self.separator).map(str::to_owned).collect();
            let label = field(&path, number, &fields, self.label_column)?;
            let sentence = field(&path, number, &fields, self.sentence_column)?;
            let class = match self.labels.iter().position(|own| *own == label) {
                Some(class) => class,
                None => {
                    self.labels.push(label);
                    self.labels.len() - 1
                }
            };
            let class = i64::try_from(class).unwrap_or(i64::MAX);
            examples.push(InputExample::new([sentence]).label(class).guid(format!("{filename}-{number}")));
        }
        Ok(examples)
    }
}
