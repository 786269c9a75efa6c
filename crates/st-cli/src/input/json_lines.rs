//! JSON lines: an object or a string on every line.

use serde_json::Value;

use super::lines::Lines;
use super::{Damage, Row, Rows, Source, choose_column};
use crate::failure::{Failure, Result};

pub(super) fn open(source: Source, column: Option<&str>) -> Result<Rows> {
    let (name, extent) = (source.name.clone(), source.extent.clone());
    let lines = Lines { name: name.clone(), reader: source.into_text()?, number: 0 };
    let rows = Objects { lines, column: column.map(str::to_owned), settled: false };
    Ok(Rows { name, unit: "line", extent, rows: Box::new(rows) })
}

struct Objects {
    lines: Lines,
    column: Option<String>,
    /// Whether an object was seen that has the column.
    settled: bool,
}

impl Iterator for Objects {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, bytes) = match self.lines.next()? {
                Ok(line) => line,
                Err(failure) => return Some(Err(failure)),
            };
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Some(self.text(&bytes).map(|text| Row { number, text }));
            }
        }
    }
}

impl Objects {
    /// The first object decides which column it is; one that lacks it later is a damaged row.
    fn text(&mut self, bytes: &[u8]) -> Result<Result<String, Damage>> {
        let value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => {
                let reason = format!("malformed JSON at column {}: {}", error.column(), cause(&error));
                return Ok(Err(Damage::new(reason)));
            }
        };
        let mut object = match value {
            Value::String(text) => return Ok(Ok(text)),
            Value::Object(object) => object,
            other => return Ok(Err(Damage::new(format!("{} instead of an object or a string", kind(&other))))),
        };
        if !self.settled {
            let columns: Vec<String> = object.keys().cloned().collect();
            let index = choose_column(&self.lines.name, self.column.as_deref(), &columns)?;
            self.column = columns.into_iter().nth(index);
            self.settled = true;
        }
        let column = self.column.as_deref().ok_or_else(|| Failure::new("an object without columns"))?;
        Ok(match object.remove(column) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(Damage::new(format!("{column:?} is {} instead of a string", kind(&other)))),
            None => {
                let columns: Vec<&str> = object.keys().map(String::as_str).collect();
                Err(Damage::new(format!("no {column:?} among its columns {}", columns.join(", "))))
            }
        })
    }
}

/// The message without serde's own line number, which counts inside our line.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(cause, _)| cause.to_owned())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(content: &str, column: Option<&str>) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, content).unwrap();
        open(Source::open(&path)?, column)?.rows.collect()
    }

    #[test]
    fn objects_and_strings_are_read_and_damaged_rows_named() {
        let content =
            "{\"id\": 1, \"text\": \"a\"}\n\n\"b\"\n{\"text\": \n{\"id\": 2}\n{\"text\": 3}\n[]\n{\"text\":\"c\"}";
        let rows = read(content, None).unwrap();
        let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
        assert_eq!(numbers, [1, 3, 4, 5, 6, 7, 8]);
        let reasons: Vec<&str> =
            rows.iter().map(|row| row.text.as_ref().map_or_else(|d| d.reason.as_str(), String::as_str)).collect();
        assert_eq!(
            reasons,
            [
                "a",
                "b",
                "malformed JSON at column 9: EOF while parsing a value",
                "no \"text\" among its columns id",
                "\"text\" is a number instead of a string",
                "an array instead of an object or a string",
                "c",
            ]
        );
    }

    #[test]
    fn a_column_that_the_first_object_lacks_is_the_callers_error() {
        let error = read("{\"id\": 1, \"text\": \"a\"}", Some("body")).unwrap_err().to_string();
        assert!(error.contains("id, text"), "{error}");
    }
}
