//! [`Records`]: rows of named columns, as a table file or as JSON lines.

use std::path::Path;

use clap::ValueEnum;
use csv::{Terminator, WriterBuilder};
use serde_json::{Map, Value};

use super::{JsonLines, Target};
use crate::failure::{Failure, Result};

/// A format of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordFormat {
    /// Tab-separated, with a header
    Tsv,
    /// Comma-separated, with a header
    Csv,
    /// An object on every line
    Jsonl,
}

impl RecordFormat {
    /// The one asked for, else what the path's extension says, else tabs.
    pub(crate) fn settle(asked: Option<Self>, output: Option<&Path>) -> Result<Self> {
        let Some(path) = output.filter(|path| path.as_os_str() != "-") else { return Ok(asked.unwrap_or(Self::Tsv)) };
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        match (asked, extension.as_str()) {
            (Some(asked), _) => Ok(asked),
            (None, "tsv" | "tab" | "txt") => Ok(Self::Tsv),
            (None, "csv") => Ok(Self::Csv),
            (None, "jsonl" | "ndjson") => Ok(Self::Jsonl),
            _ => Err(Failure::usage(format!("{} does not say its format", path.display()))
                .with_hint("end the name in .tsv, .csv or .jsonl, or give --format")),
        }
    }
}

/// Rows on their way into a file or down a pipe. A file appears whole or not at all.
pub(crate) struct Records {
    columns: Vec<String>,
    way: Way,
    name: String,
}

enum Way {
    Table(Box<csv::Writer<Target>>),
    Lines(JsonLines),
}

impl Records {
    pub(crate) fn create(output: Option<&Path>, format: Option<RecordFormat>, columns: &[&str]) -> Result<Self> {
        let format = RecordFormat::settle(format, output)?;
        let target = match output.filter(|path| path.as_os_str() != "-") {
            Some(path) => Target::file(path, true)?,
            None => Target::stdout(true)?,
        };
        let name = target.name.clone();
        let names = columns.iter().map(|name| (*name).to_owned()).collect();
        let delimiter = match format {
            RecordFormat::Jsonl => return Ok(Self { columns: names, way: Way::Lines(JsonLines::new(target)), name }),
            RecordFormat::Tsv => b'\t',
            RecordFormat::Csv => b',',
        };
        let mut table =
            WriterBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).from_writer(target);
        table.write_record(columns).map_err(|error| failed(&name, error))?;
        Ok(Self { columns: names, way: Way::Table(Box::new(table)), name })
    }

    /// Adds a row: a value per column. Lists stand in a table with spaces between.
    pub(crate) fn write(&mut self, values: Vec<Value>) -> Result<()> {
        match &mut self.way {
            Way::Lines(lines) => {
                let names = self.columns.iter().cloned();
                lines.write_value(&Value::Object(names.zip(values).collect::<Map<_, _>>()))
            }
            Way::Table(table) => table.write_record(values.iter().map(cell)).map_err(|error| failed(&self.name, error)),
        }
    }

    /// Puts the file in its place.
    pub(crate) fn finish(self) -> Result<()> {
        match self.way {
            Way::Lines(lines) => lines.commit(),
            Way::Table(table) => {
                let target = table.into_inner().map_err(|error| Failure::io("write", &self.name, error.error()))?;
                target.commit()
            }
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn failed(name: &str, error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Failure::io("write", name, &error),
        other => Failure::new(format!("cannot write {name}: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    fn written(name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let mut records = Records::create(Some(&path), None, &["score", "text", "ids"]).unwrap();
        records.write(vec![json!(0.5), json!("a\tb, \"c\""), json!([1, 2])]).unwrap();
        assert!(!path.exists());
        records.finish().unwrap();
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn the_extension_chooses_the_format() {
        assert_eq!(written("a.tsv"), "score\ttext\tids\n0.5\t\"a\tb, \"\"c\"\"\"\t1 2\n");
        assert_eq!(written("a.csv"), "score,text,ids\n0.5,\"a\tb, \"\"c\"\"\",1 2\n");
        assert_eq!(written("a.jsonl"), "{\"score\":0.5,\"text\":\"a\\tb, \\\"c\\\"\",\"ids\":[1,2]}\n");
        assert!(RecordFormat::settle(None, Some("a.x".as_ref())).unwrap_err().to_string().contains(".jsonl"));
        assert_eq!(RecordFormat::settle(None, None).unwrap(), RecordFormat::Tsv);
    }
}
