//! Folders in the layout of the BEIR benchmark.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::{EvalError, Result};

/// Queries, documents and which of them belong together.
///
/// ```
/// use st_eval::RetrievalData;
/// let folder = tempfile::tempdir()?;
/// std::fs::create_dir(folder.path().join("qrels"))?;
/// std::fs::write(folder.path().join("corpus.jsonl"), r#"{"_id": "d1", "title": "Paris", "text": "A city."}"#)?;
/// std::fs::write(folder.path().join("queries.jsonl"), r#"{"_id": "q1", "text": "capital of France"}"#)?;
/// std::fs::write(folder.path().join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nq1\td1\t1\n")?;
/// let data = RetrievalData::read_beir(folder.path(), "test")?;
/// assert_eq!(data.corpus, [("d1".to_owned(), "Paris A city.".to_owned())]);
/// assert!(data.relevant["q1"].contains("d1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetrievalData {
    /// (id, text) of the queries.
    pub queries: Vec<(String, String)>,
    /// (id, text) of the documents; a title stands before the text.
    pub corpus: Vec<(String, String)>,
    /// Per query id the ids of its relevant documents.
    pub relevant: HashMap<String, HashSet<String>>,
}

impl RetrievalData {
    /// Reads `corpus.jsonl` (`_id`, `text`, optional `title`), `queries.jsonl` (`_id`, `text`) and `qrels/{split}.tsv`
    /// (`query-id`, `corpus-id`, optional `score`, with a header). Empty texts are left out, and so are judgements with
    /// a score of 0 or less.
    ///
    /// # Errors
    /// [`EvalError::File`] and [`EvalError::Line`], which name the file and the line.
    pub fn read_beir(folder: &Path, split: &str) -> Result<Self> {
        Ok(Self {
            queries: read_texts(&folder.join("queries.jsonl"))?,
            corpus: read_texts(&folder.join("corpus.jsonl"))?,
            relevant: read_judgements(&folder.join("qrels").join(format!("{split}.tsv")))?,
        })
    }
}

fn read_texts(path: &Path) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for (index, line) in open(path)?.lines().enumerate() {
        let line = line.map_err(EvalError::file("reading", path))?;
        if line.trim().is_empty() {
            continue;
        }
        let error = |message: String| EvalError::Line { path: path.to_owned(), line: index + 1, message };
        let row: Value = serde_json::from_str(&line).map_err(|source| error(source.to_string()))?;
        let text = |key: &str| match &row[key] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let id = text("_id").ok_or_else(|| error("no `_id`".to_owned()))?;
        let body = text("text").ok_or_else(|| error("no `text`".to_owned()))?;
        let whole = format!("{} {body}", text("title").unwrap_or_default()).trim().to_owned();
        if !whole.is_empty() {
            texts.push((id, whole));
        }
    }
    Ok(texts)
}

fn read_judgements(path: &Path) -> Result<HashMap<String, HashSet<String>>> {
    let mut relevant: HashMap<String, HashSet<String>> = HashMap::new();
    // A header is the rule; a file that starts with a judgement has a number in its third column.
    for (index, line) in open(path)?.lines().enumerate() {
        let line = line.map_err(EvalError::file("reading", path))?;
        let error = |message: String| EvalError::Line { path: path.to_owned(), line: index + 1, message };
        let cells: Vec<&str> = line.trim_end_matches('\r').split('\t').collect();
        match cells.as_slice() {
            [""] => continue,
            ["query-id", ..] if index == 0 => continue,
            [query, document] => {
                relevant.entry((*query).to_owned()).or_default().insert((*document).to_owned());
            }
            [query, document, score] => match score.trim().parse::<f64>() {
                Ok(score) if score > 0.0 => {
                    relevant.entry((*query).to_owned()).or_default().insert((*document).to_owned());
                }
                Ok(_) => {}
                Err(_) if index == 0 => {}
                Err(_) => return Err(error(format!("the score '{score}' is not a number"))),
            },
            cells => return Err(error(format!("{} columns, not query-id, corpus-id and score", cells.len()))),
        }
    }
    Ok(relevant)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(EvalError::file("reading", path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(qrels: &str, corpus: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        fs::write(folder.path().join("qrels/dev.tsv"), qrels).unwrap();
        fs::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
        fs::write(folder.path().join("queries.jsonl"), "{\"_id\": 7, \"text\": \"seven\"}\n\n").unwrap();
        folder
    }

    #[test]
    fn empty_texts_and_scores_of_zero_are_left_out() {
        let corpus = "{\"_id\": \"a\", \"text\": \"A\"}\n{\"_id\": \"b\", \"title\": \"\", \"text\": \" \"}\n";
        let folder = folder("query-id\tcorpus-id\tscore\r\n7\ta\t2\r\n7\tb\t0\r\n", corpus);
        let data = RetrievalData::read_beir(folder.path(), "dev").unwrap();
        assert_eq!(data.queries, [("7".to_owned(), "seven".to_owned())]);
        assert_eq!(data.corpus, [("a".to_owned(), "A".to_owned())]);
        assert_eq!(data.relevant["7"], HashSet::from(["a".to_owned()]));
    }

    #[test]
    fn errors_name_file_and_line() {
        let message =
            |folder: tempfile::TempDir| RetrievalData::read_beir(folder.path(), "dev").unwrap_err().to_string();
        assert!(message(folder("", "{\"text\": \"A\"}")).ends_with("corpus.jsonl, line 1: no `_id`"));
        let broken = message(folder("query-id\tcorpus-id\tscore\n7\ta\thigh\n", ""));
        assert!(broken.ends_with("dev.tsv, line 2: the score 'high' is not a number"), "{broken}");
        assert!(message(folder("one\n", "")).ends_with("line 1: 1 columns, not query-id, corpus-id and score"));
    }
}
