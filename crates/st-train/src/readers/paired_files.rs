//! [`PairedFilesReader`].

use std::path::PathBuf;

use crate::Result;
use crate::data::open_text;

use super::nli::lines_with_ends;
use super::{InputExample, limit};

/// Reads files side by side: the n-th lines of all files are an example, with label 1. The shortest file ends it.
///
/// ```
/// use st_train::readers::PairedFilesReader;
///
/// let folder = tempfile::tempdir()?;
/// let [english, german] = ["en.txt", "de.txt"].map(|name| folder.path().join(name));
/// std::fs::write(&english, "a cat\na dog\n")?;
/// std::fs::write(&german, "eine Katze\n")?;
/// let examples = PairedFilesReader::new([english, german]).examples(0)?;
/// assert_eq!((examples.len(), examples[0].texts[1].as_str()), (1, "eine Katze\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PairedFilesReader {
    paths: Vec<PathBuf>,
}

impl PairedFilesReader {
    /// Reads these files; a name that ends in `.gz` is unpacked.
    #[must_use]
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect() }
    }

    /// The examples, at most `max_examples` unless that is 0.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn examples(&self, max_examples: usize) -> Result<Vec<InputExample>> {
        let open = |path: &PathBuf| Ok(lines_with_ends(open_text(path)?, path.clone()));
        let mut files = self.paths.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut examples = Vec::new();
        while examples.len() < limit(max_examples) && !files.is_empty() {
            let Some(lines) = files.iter_mut().map(Iterator::next).collect::<Option<Result<Vec<String>>>>() else {
                break;
            };
            examples.push(InputExample::new(lines?).label(1).guid(examples.len().to_string()));
        }
        Ok(examples)
    }
}
