//! JSON lines, JSON, CSV and TSV.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Result, TrainError};

use super::cell::Cell;
use super::dataset::{LABEL_COLUMNS, Opened};
use super::names::listed;
use super::packed::open_text;

/// One object per line; empty lines are skipped.
pub(super) fn open_json_lines(path: &Path) -> Result<Opened> {
    let owned = path.to_owned();
    let mut objects = open_text(path)?.lines().enumerate().filter_map(move |(number, line)| {
        let object = |line: String| {
            serde_json::from_str::<Map<String, Value>>(&line)
                .map_err(|error| TrainError::format(&owned, format!("line {}: {error}", number + 1)))
        };
        match line {
            Ok(line) if line.trim().is_empty() => None,
            Ok(line) => Some(object(line).map(|object| (number + 1, object))),
            Err(source) => Some(Err(TrainError::reading(&owned)(source))),
        }
    });
    let Some(first) = objects.next() else {
        return Err(TrainError::format(path, "there is no line in it"));
    };
    let first = first?;
    let columns: Vec<String> = first.1.keys().cloned().collect();
    let (names, path) = (columns.clone(), path.to_owned());
    let rows = std::iter::once(Ok(first)).chain(objects);
    Ok((columns, Box::new(rows.map(move |object| object.and_then(|(line, object)| row(&path, line, &names, object))))))
}

/// An object's values in the order of the columns. What is missing is nothing; what is new is refused.
fn row(path: &Path, place: usize, columns: &[String], mut object: Map<String, Value>) -> Result<Vec<Cell>> {
    let cell = |name: &String| {
        Cell::from_json(object.remove(name).unwrap_or(Value::Null))
            .map_err(|kind| TrainError::format(path, format!("object {place}: '{name}' is {kind}")))
    };
    let row = columns.iter().map(cell).collect::<Result<Vec<_>>>()?;
    match object.keys().next() {
        None => Ok(row),
        Some(name) => {
            let message = format!("object {place} has '{name}'; the first object has {}", listed(columns));
            Err(TrainError::format(path, message))
        }
    }
}

/// A list of objects, or an object of lists.
pub(super) fn open_json(path: &Path) -> Result<Opened> {
    let mut text = String::new();
    open_text(path)?.read_to_string(&mut text).map_err(TrainError::reading(path))?;
    match serde_json::from_str(&text).map_err(TrainError::parse::<serde_json::Error>(path, "JSON"))? {
        Value::Array(objects) => {
            let Some(Value::Object(first)) = objects.first() else {
                return Err(TrainError::format(path, "a list without objects"));
            };
            let columns: Vec<String> = first.keys().cloned().collect();
            let (names, path) = (columns.clone(), path.to_owned());
            let rows = objects.into_iter().enumerate().map(move |(place, object)| match object {
                Value::Object(object) => row(&path, place + 1, &names, object),
                _ => Err(TrainError::format(&path, format!("entry {} of the list is no object", place + 1))),
            });
            Ok((columns, Box::new(rows)))
        }
        Value::Object(lists) => open_json_columns(path, lists),
        _ => Err(TrainError::format(path, "neither a list of objects nor an object of lists")),
    }
}

fn open_json_columns(path: &Path, lists: Map<String, Value>) -> Result<Opened> {
    let (mut names, mut columns) = (Vec::new(), Vec::new());
    for (name, list) in lists {
        let Value::Array(values) = list else {
            return Err(TrainError::format(path, format!("'{name}' is no list")));
        };
        let cells = values.into_iter().map(Cell::from_json).collect::<Result<Vec<_>, _>>();
        let cells = cells.map_err(|kind| TrainError::format(path, format!("'{name}' has {kind}")))?;
        names.push(name);
        columns.push(cells);
    }
    let rows = columns.first().map_or(0, Vec::len);
    if let Some(index) = columns.iter().position(|column| column.len() != rows) {
        let message = format!("'{}' has {} values, '{}' has {rows}", names[index], columns[index].len(), names[0]);
        return Err(TrainError::format(path, message));
    }
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let rows = (0..rows).map(move |_| Ok(columns.iter_mut().filter_map(Iterator::next).collect()));
    Ok((names, Box::new(rows)))
}

pub(super) fn open_csv(path: &Path) -> Result<Opened> {
    open_separated(path, b',', true)
}

pub(super) fn open_tsv(path: &Path) -> Result<Opened> {
    open_separated(path, b'\t', false)
}

fn open_separated(path: &Path, separator: u8, quotes: bool) -> Result<Opened> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(separator).quoting(quotes).flexible(false).from_reader(open_text(path)?);
    let header = reader.headers().map_err(TrainError::parse::<csv::Error>(path, "CSV"))?;
    let columns: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if columns.iter().all(String::is_empty) {
        return Err(TrainError::format(path, "there is no header"));
    }
    let labels: Vec<bool> = columns.iter().map(|name| LABEL_COLUMNS.contains(&name.as_str())).collect();
    let path: PathBuf = path.to_owned();
    let rows = reader.into_records().map(move |record| {
        let record = record.map_err(TrainError::parse::<csv::Error>(&path, "CSV"))?;
        Ok(record.iter().zip(&labels).map(|(text, &label)| if label { number(text) } else { text.into() }).collect())
    });
    Ok((columns, Box::new(rows)))
}

/// A label: a number where it reads as one.
fn number(text: &str) -> Cell {
    let trimmed = text.trim();
    let whole = trimmed.parse().ok().map(Cell::Integer);
    whole.or_else(|| trimmed.parse().ok().map(Cell::Number)).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::data::{Dataset, FileDataset, StreamedDataset, Table};

    fn read(name: &str, content: &[u8]) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        FileDataset::open(path)?.read()
    }

    fn expected() -> Table {
        let table = Table::new().column("a", ["x", "y, z"]).unwrap();
        table.column("score", vec![Cell::Integer(1), Cell::Number(0.5)]).unwrap()
    }

    #[test]
    fn all_text_formats_give_the_same_table() {
        let lines = b"{\"a\": \"x\", \"score\": 1}\n\n{\"score\": 0.5, \"a\": \"y, z\"}\n";
        assert_eq!(read("d.jsonl", lines).unwrap(), expected());
        assert_eq!(read("d.json", br#"[{"a": "x", "score": 1}, {"a": "y, z", "score": 0.5}]"#).unwrap(), expected());
        assert_eq!(read("d.json", br#"{"a": ["x", "y, z"], "score": [1, 0.5]}"#).unwrap(), expected());
        assert_eq!(read("d.csv", b"a,score\nx,1\n\"y, z\",0.5\n").unwrap(), expected());
        assert_eq!(read("d.tsv", b"a\tscore\nx\t1\ny, z\t0.5\n").unwrap(), expected());
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(lines).unwrap();
        assert_eq!(read("D.JSONL.GZ", &packed.finish().unwrap()).unwrap(), expected());
    }

    #[test]
    fn lists_are_labels_too() {
        let table = read("d.jsonl", b"{\"a\": \"x\", \"label\": [0.5, 1]}\n").unwrap();
        assert_eq!(table.row(0).unwrap()[1], Cell::List(vec![Cell::Number(0.5), Cell::Integer(1)]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |name: &str, content: &[u8]| read(name, content).unwrap_err().to_string();
        assert!(error("d.jsonl", b"{\"a\": 1}\n{\"a\": }\n").contains("line 2: "));
        assert!(
            error("d.jsonl", b"{\"a\": 1}\n{\"b\": 1}\n").ends_with("object 2 has 'b'; the first object has ['a']")
        );
        assert!(error("d.jsonl", b"{\"a\": {}}\n").contains("'a' is an object"));
        assert!(error("d.jsonl", b"\n").ends_with("there is no line in it"));
        assert!(error("d.json", b"3").contains("neither a list of objects"));
        assert!(error("d.json", b"{\"a\": [1], \"b\": []}").ends_with("'b' has 0 values, 'a' has 1"));
        assert!(error("d.json", b"[1]").ends_with("a list without objects"));
        assert!(error("d.xml", b"").contains("it should end in .parquet, .pq, .jsonl"));
        assert!(read("d.csv", b"a,b\n1\n").is_err());
    }

    #[test]
    fn a_stream_starts_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.csv");
        std::fs::write(&path, "a,label\nx,0\ny,1\n").unwrap();
        let file = FileDataset::open(path).unwrap();
        let rows = || file.rows().unwrap().collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(rows(), rows());
        assert_eq!(rows()[1], [Cell::from("y"), Cell::from(1)]);
    }
}
