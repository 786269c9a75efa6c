//! [`NliDataReader`].

use std::io::BufRead;
use std::path::PathBuf;

use crate::data::open_text;
use crate::{Result, TrainError};

use super::{InputExample, limit};

/// The labels of natural language inference and their classes.
pub const NLI_LABELS: [(&str, i64); 3] = [("contradiction", 0), ("entailment", 1), ("neutral", 2)];

/// Reads natural language inference data from three files of a split: `s1.X`, `s2.X` and `labels.X`, packed with gzip where
/// the name ends in `.gz`.
///
/// Texts keep their line ends, as in the original; tokenizers drop them.
///
/// ```
/// use st_train::data::Cell;
/// use st_train::readers::NliDataReader;
///
/// let folder = tempfile::tempdir()?;
/// for (name, line) in [("s1.dev", "A\n"), ("s2.dev", "B\n"), ("labels.dev", "neutral\n")] {
///     std::fs::write(folder.path().join(name), line)?;
/// }
/// let examples = NliDataReader::new(folder.path()).examples("dev", 0)?;
/// assert_eq!((&examples[0].label, examples[0].guid.as_str()), (&Cell::Integer(2), "dev-0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct NliDataReader {
    folder: PathBuf,
}

impl NliDataReader {
    /// Reads files of a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The examples of a split such as `train.gz`, at most `max_examples` unless that is 0.
    ///
    /// # Errors
    /// When a file cannot be read or a label is unknown.
    pub fn examples(&self, filename: &str, max_examples: usize) -> Result<Vec<InputExample>> {
        let lines = |kind: &str| {
            let path = self.folder.join(format!("{kind}.{filename}"));
            let lines = lines_with_ends(open_text(&path)?, path.clone());
            Ok::<_, TrainError>((path, lines))
        };
        let ((_, first), (_, second), (path, labels)) = (lines("s1")?, lines("s2")?, lines("labels")?);
        let rows = first.zip(second).zip(labels).enumerate().take(limit(max_examples));
        rows.map(|(number, ((first, second), label))| {
            let label = label?;
            let name = label.trim().to_lowercase();
            let class = NLI_LABELS.iter().find(|(own, _)| *own == name).map(|(_, class)| *class).ok_or_else(|| {
                TrainError::format(&path, format!("line {}: '{name}' is no label of inference", number + 1))
            })?;
            Ok(InputExample::new([first?, second?]).label(class).guid(format!("{filename}-{number}")))
        })
        .collect()
    }
}

/// Lines with what ends them.
pub(super) fn lines_with_ends(
    mut reader: Box<dyn BufRead + Send>,
    path: PathBuf,
) -> impl Iterator<Item = Result<String>> {
    std::iter::from_fn(move || {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line.strip_suffix("\r\n").map_or(line.clone(), |text| format!("{text}\n")))),
            Err(error) => Some(Err(TrainError::reading(&path)(error))),
        }
    })
}
