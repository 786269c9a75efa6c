//! One column of a Parquet file, read as bytes so that a damaged text costs its row only.

use std::collections::VecDeque;

use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::{Damage, Extent, Row, Rows, Source, choose_column, decode};
use crate::failure::{Failure, Result};

/// Rows read at once.
const BLOCK: usize = 1024;

pub(super) fn open(source: Source, column: Option<&str>) -> Result<Rows> {
    let name = source.name.clone();
    let file = SerializedFileReader::new(source.into_file()?).map_err(|error| cannot_read(&name, &error))?;
    let metadata = file.metadata();
    let schema = metadata.file_metadata().schema_descr();
    // Texts are byte arrays at the top level that are not repeated.
    let texts: Vec<(usize, String)> = (0..schema.num_columns())
        .filter(|&index| {
            let column = schema.column(index);
            let flat = column.path().parts().len() == 1 && column.max_rep_level() == 0;
            flat && column.physical_type() == Type::BYTE_ARRAY
        })
        .map(|index| (index, schema.column(index).name().to_owned()))
        .collect();
    let names: Vec<String> = texts.iter().map(|(_, name)| name.clone()).collect();
    if names.is_empty() {
        return Err(Failure::new(format!("{name} has no column of texts")));
    }
    let (column, _) = texts[choose_column(&name, column, &names)?];
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let column = Column { name: name.clone(), file, column, group: 0, reader: None, ready: VecDeque::new(), number: 0 };
    Ok(Rows { name, unit: "row", extent: Extent::Texts(rows), rows: Box::new(column) })
}

struct Column {
    name: String,
    file: SerializedFileReader<std::fs::File>,
    column: usize,
    /// Number of the row group to open next.
    group: usize,
    reader: Option<ColumnReader>,
    ready: VecDeque<Result<String, Damage>>,
    number: u64,
}

impl Iterator for Column {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    // What follows cannot be read either.
                    self.group = usize::MAX;
                    self.reader = None;
                    let place = format!("{} after row {}", self.name, self.number);
                    return Some(Err(cannot_read(&place, &error)));
                }
            }
        }
        let text = self.ready.pop_front()?;
        self.number += 1;
        Some(Ok(Row { number: self.number, text }))
    }
}

impl Column {
    /// Reads the next block; `false` at the end.
    fn fill(&mut self) -> Result<bool, ParquetError> {
        let Some(reader) = &mut self.reader else {
            if self.group >= self.file.num_row_groups() {
                return Ok(false);
            }
            let group = self.file.get_row_group(self.group)?;
            self.reader = Some(group.get_column_reader(self.column)?);
            self.group += 1;
            return Ok(true);
        };
        let ColumnReader::ByteArrayColumnReader(reader) = reader else {
            return Err(ParquetError::General("the column is not one of texts".to_owned()));
        };
        let (mut levels, mut values): (Vec<i16>, Vec<ByteArray>) = (Vec::new(), Vec::new());
        let (records, ..) = reader.read_records(BLOCK, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            self.reader = None;
            return Ok(true);
        }
        let mut values = values.into_iter();
        for record in 0..records {
            // A column that may hold nulls says for each record, by level 1 or 0, whether it has a value.
            let present = levels.get(record).is_none_or(|&level| level > 0);
            let value = if present { values.next() } else { None };
            self.ready.push_back(match value {
                Some(bytes) => decode(bytes.data().to_vec()),
                None => Err(Damage::new("null instead of a text")),
            });
        }
        Ok(true)
    }
}

fn cannot_read(name: &str, error: &ParquetError) -> Failure {
    Failure::new(format!("cannot read {name} as Parquet")).with_cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, BinaryArray, Int32Array, LargeStringArray, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn written(folder: &tempfile::TempDir, batch: &RecordBatch) -> PathBuf {
        let path = folder.path().join("a.parquet");
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        path
    }

    #[test]
    fn texts_of_every_row_group_nulls_and_damaged_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef),
            ("body", Arc::new(StringArray::from(vec![Some("a"), None, Some("é")]))),
            ("raw", Arc::new(BinaryArray::from(vec![&b"x"[..], b"y\xff", b"z"]))),
            ("large", Arc::new(LargeStringArray::from(vec!["l", "m", "n"]))),
        ])
        .unwrap();
        let path = written(&folder, &batch);
        let read = |column| -> Vec<Result<String, String>> {
            let rows = open(Source::open(&path).unwrap(), Some(column)).unwrap().rows;
            rows.map(|row| row.unwrap().text.map_err(|damage| damage.reason)).collect()
        };
        assert_eq!(read("body"), [Ok("a".into()), Err("null instead of a text".into()), Ok("é".into())]);
        let raw = read("raw");
        assert_eq!((raw[0].as_deref(), raw[2].as_deref()), (Ok("x"), Ok("z")));
        assert!(raw[1].as_ref().unwrap_err().starts_with("invalid UTF-8 at byte 2"));
        assert_eq!(read("large"), ["l", "m", "n"].map(|text| Ok(text.to_owned())));
        let error = open(Source::open(&path).unwrap(), Some("id")).err().unwrap().to_string();
        assert!(error.contains("body, raw, large"), "{error}");
    }

    #[test]
    fn what_is_not_parquet_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, "hello").unwrap();
        let error = open(Source::open(&path).unwrap(), None).err().unwrap().to_string();
        assert!(error.contains("as Parquet"), "{error}");
    }
}
