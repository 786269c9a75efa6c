//! The STS benchmark's tab-separated files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{EvalError, Result};

/// Pairs of sentences with a score each.
///
/// ```
/// use st_eval::SimilarityPairs;
/// let file = tempfile::Builder::new().suffix(".tsv").tempfile()?;
/// std::fs::write(file.path(), "split\tscore\tsentence1\tsentence2\ndev\t2.5\tA \"cat\"\tA dog\ntest\t1\tx\ty\n")?;
/// let pairs = SimilarityPairs::read_tsv(file.path(), Some("dev"))?;
/// assert_eq!((pairs.sentences1, pairs.scores), (vec!["A \"cat\"".to_owned()], vec![2.5]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimilarityPairs {
    /// The first sentences.
    pub sentences1: Vec<String>,
    /// The second sentences.
    pub sentences2: Vec<String>,
    /// The scores as they are in the file (0 to 5 in the STS benchmark).
    pub scores: Vec<f64>,
}

impl SimilarityPairs {
    /// Reads a file whose header names the columns `score`, `sentence1`, `sentence2` and, to choose a split, `split`.
    /// Quotes have no meaning; a name that ends in `.gz` is unpacked.
    ///
    /// # Errors
    /// [`EvalError::File`] and [`EvalError::Line`], which name the file and the line.
    pub fn read_tsv(path: &Path, split: Option<&str>) -> Result<Self> {
        let file = File::open(path).map_err(EvalError::file("reading", path))?;
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let error = |line: usize, message: String| EvalError::Line { path: path.to_owned(), line, message };
        let mut lines = BufReader::new(reader).lines();
        let header = lines.next().transpose().map_err(EvalError::file("reading", path))?.unwrap_or_default();
        let header: Vec<&str> = header.trim_end_matches('\r').split('\t').collect();
        let column = |name: &str| {
            let place = header.iter().position(|column| *column == name);
            place.ok_or_else(|| error(1, format!("the header has no column `{name}`")))
        };
        let (score, sentence1, sentence2) = (column("score")?, column("sentence1")?, column("sentence2")?);
        let split = split.map(|split| Ok::<_, EvalError>((column("split")?, split))).transpose()?;
        let mut pairs = Self::default();
        for (index, line) in lines.enumerate() {
            let line = line.map_err(EvalError::file("reading", path))?;
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                continue;
            }
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |place: usize| {
                let message = || format!("{} columns where the header has {}", cells.len(), header.len());
                cells.get(place).copied().ok_or_else(|| error(index + 2, message()))
            };
            if let Some((place, split)) = split
                && cell(place)? != split
            {
                continue;
            }
            let text = cell(score)?;
            let value = text.parse().map_err(|_| error(index + 2, format!("the score '{text}' is not a number")))?;
            pairs.scores.push(value);
            pairs.sentences1.push(cell(sentence1)?.to_owned());
            pairs.sentences2.push(cell(sentence2)?.to_owned());
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn packed_files_are_unpacked() {
        let file = tempfile::Builder::new().suffix(".tsv.gz").tempfile().unwrap();
        let mut packer = flate2::write::GzEncoder::new(File::create(file.path()).unwrap(), flate2::Compression::fast());
        packer.write_all("score\tsentence1\tsentence2\r\n0.5\tä\tb\r\n".as_bytes()).unwrap();
        packer.finish().unwrap();
        let pairs = SimilarityPairs::read_tsv(file.path(), None).unwrap();
        assert_eq!(
            pairs,
            SimilarityPairs { sentences1: vec!["ä".into()], sentences2: vec!["b".into()], scores: vec![0.5] }
        );
    }

    #[test]
    fn errors_name_the_line() {
        let message = |text: &str, split| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            SimilarityPairs::read_tsv(file.path(), split).unwrap_err().to_string()
        };
        assert!(message("", None).ends_with("line 1: the header has no column `score`"));
        let header = "score\tsentence1\tsentence2\n";
        assert!(message(header, Some("dev")).ends_with("line 1: the header has no column `split`"));
        assert!(message(&format!("{header}1\tone\n"), None).ends_with("line 2: 2 columns where the header has 3"));
        assert!(message(&format!("{header}x\ta\tb\n"), None).ends_with("line 2: the score 'x' is not a number"));
    }
}
