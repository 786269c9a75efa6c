//! [`Table`]: a whole file of rows with several columns, for data that is small enough.

use std::io::BufRead;
use std::path::Path;

use csv::ReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

use super::{InputFormat, Source, by_extension};
use crate::failure::{Failure, Result};

/// Rows and columns of a file.
#[derive(Debug)]
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    /// With the line or row of each, from 1.
    rows: Vec<(u64, Vec<Value>)>,
}

impl Table {
    /// Reads CSV and TSV with a header, JSON lines of objects, or Parquet; the extension says which.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let format: &InputFormat = by_extension(path);
        let source = Source::open(path)?;
        match format.name {
            "jsonl" => json_lines(source),
            "csv" => separated(source, b','),
            "tsv" => separated(source, b'\t'),
            "parquet" => from_parquet(source),
            _ => Err(Failure::usage(format!("{} does not say what its columns are", path.display()))
                .with_hint("end the name in .csv, .tsv, .jsonl or .parquet")),
        }
    }

    /// The place of one of several names, the first that there is.
    pub(crate) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.columns.iter().position(|column| column == name))
    }

    /// The columns that play some roles: by one of each role's names or, when the table has just as many columns, by
    /// their order.
    pub(crate) fn roles<const N: usize>(&self, roles: [&[&str]; N]) -> Result<[usize; N]> {
        let found = roles.map(|names| self.find(names));
        if found.iter().all(Option::is_some) {
            return Ok(found.map(|place| place.unwrap_or(0)));
        }
        if self.columns.len() == N {
            return Ok(std::array::from_fn(|place| place));
        }
        let missing = roles.iter().zip(found).filter(|(_, found)| found.is_none());
        let missing: Vec<&str> = missing.filter_map(|(names, _)| names.first().copied()).collect();
        Err(Failure::new(format!("{} has no column {}", self.name, missing.join(", ")))
            .with_hint(format!("its columns are {}", self.columns.join(", "))))
    }

    /// A column of texts.
    pub(crate) fn texts(&self, column: usize) -> Result<Vec<String>> {
        self.map(column, "a text", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// A column of numbers.
    pub(crate) fn numbers(&self, column: usize) -> Result<Vec<f64>> {
        self.map(column, "a number", |value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        })
    }

    /// A column of lists of texts; a text alone is a list of one.
    pub(crate) fn lists(&self, column: usize) -> Result<Vec<Vec<String>>> {
        self.map(column, "a list of texts", |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(all) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
            Value::Null => Some(Vec::new()),
            _ => None,
        })
    }

    fn map<T>(&self, column: usize, what: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        let cell = |(number, row): &(u64, Vec<Value>)| {
            let value = row.get(column).unwrap_or(&Value::Null);
            read(value).ok_or_else(|| {
                let (name, column) = (&self.name, &self.columns[column]);
                Failure::new(format!("{name}, line {number}: {column:?} is {value} instead of {what}"))
            })
        };
        self.rows.iter().map(cell).collect()
    }
}

fn separated(source: Source, delimiter: u8) -> Result<Table> {
    let name = source.name.clone();
    let failed = |error: &csv::Error| Failure::new(format!("cannot read {name}")).with_cause(error);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(source.into_text()?);
    let columns = reader.headers().map_err(|error| failed(&error))?.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| failed(&error))?;
        let number = record.position().map_or(0, csv::Position::line);
        rows.push((number, record.iter().map(Value::from).collect()));
    }
    Ok(Table { name, columns, rows })
}

fn json_lines(source: Source) -> Result<Table> {
    let name = source.name.clone();
    let (mut columns, mut rows): (Vec<String>, _) = (Vec::new(), Vec::new());
    for (line, number) in source.into_text()?.lines().zip(1..) {
        let line = line.map_err(|error| Failure::io("read", &name, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("{name}, line {number}: malformed JSON")).with_cause(&error))?;
        let Value::Object(mut object) = value else {
            return Err(Failure::new(format!("{name}, line {number}: not an object")));
        };
        if columns.is_empty() {
            columns = object.keys().cloned().collect();
        }
        rows.push((number, columns.iter().map(|column| object.remove(column).unwrap_or(Value::Null)).collect()));
    }
    Ok(Table { name, columns, rows })
}

fn from_parquet(source: Source) -> Result<Table> {
    let name = source.name.clone();
    let failed = |error: &parquet::errors::ParquetError| {
        Failure::new(format!("cannot read {name} as Parquet")).with_cause(error)
    };
    let file = SerializedFileReader::new(source.into_file()?).map_err(|error| failed(&error))?;
    let schema = file.metadata().file_metadata().schema().get_fields();
    let columns = schema.iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Vec::new();
    for (row, number) in file.get_row_iter(None).map_err(|error| failed(&error))?.zip(1..) {
        let row = row.map_err(|error| failed(&error))?;
        rows.push((number, row.get_column_iter().map(|(_, field)| json(field)).collect()));
    }
    Ok(Table { name, columns, rows })
}

/// A cell as JSON; what has no JSON is null.
fn json(field: &Field) -> Value {
    match field {
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => f64::from(*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.as_str().into(),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn table(name: &str, content: &str) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        Table::read(&path)
    }

    #[test]
    fn columns_are_found_by_name_or_by_order() {
        let by_name = table("a.csv", "score,sentence2,id,sentence1\n1.5,b,7,a\n").unwrap();
        let [first, second, score] = by_name.roles([&["sentence1"], &["sentence2"], &["label", "score"]]).unwrap();
        assert_eq!(by_name.texts(first).unwrap(), ["a"]);
        assert_eq!((by_name.texts(second).unwrap(), by_name.numbers(score).unwrap()), (vec!["b".into()], vec![1.5]));
        let by_order = table("a.tsv", "x\ty\na \"b\tc\n").unwrap();
        assert_eq!(by_order.roles([&["sentence1"], &["sentence2"]]).unwrap(), [0, 1]);
        assert_eq!(by_order.texts(0).unwrap(), ["a \"b"]);
        let error = by_name.roles([&["anchor"], &["sentence1"]]).unwrap_err().to_string();
        assert!(error.ends_with("has no column anchor\nhint: its columns are score, sentence2, id, sentence1\n"));
    }

    #[test]
    fn json_lines_have_lists_and_errors_name_their_line() {
        let good = table("a.jsonl", "{\"q\": \"x\", \"p\": [\"a\", \"b\"]}\n\n{\"q\": \"y\"}\n").unwrap();
        assert_eq!(good.lists(1).unwrap(), [vec!["a".to_owned(), "b".to_owned()], vec![]]);
        assert_eq!(good.rows.len(), 2);
        let error = good.numbers(0).unwrap_err().to_string();
        assert!(error.contains(", line 1: \"q\" is \"x\" instead of a number"), "{error}");
        let error = table("a.jsonl", "{}\n[1]\n").unwrap_err().to_string();
        assert!(error.contains(", line 2: not an object"), "{error}");
        assert!(table("a.txt", "x\n").unwrap_err().to_string().contains("end the name in"));
    }
}
