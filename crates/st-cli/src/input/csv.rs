//! Comma- and tab-separated values with a header.

use csv::{ByteRecord, Reader, ReaderBuilder};
use std::io::BufRead;

use super::{Damage, Row, Rows, Source, choose_column, decode};
use crate::failure::{Failure, Result};

pub(super) fn open_commas(source: Source, column: Option<&str>) -> Result<Rows> {
    open(source, column, b',')
}

pub(super) fn open_tabs(source: Source, column: Option<&str>) -> Result<Rows> {
    open(source, column, b'\t')
}

fn open(source: Source, column: Option<&str>, delimiter: u8) -> Result<Rows> {
    let (name, extent) = (source.name.clone(), source.extent.clone());
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(source.into_text()?);
    let header = reader.byte_headers().map_err(|error| cannot_read(&name, &error))?;
    let columns: Vec<String> = header.iter().map(|column| String::from_utf8_lossy(column).into_owned()).collect();
    if columns.is_empty() {
        return Err(Failure::new(format!("{name} has no header")).with_hint("its first line must name the columns"));
    }
    let index = choose_column(&name, column, &columns)?;
    let rows = Records { name: name.clone(), reader, column: columns[index].clone(), index, record: ByteRecord::new() };
    Ok(Rows { name, unit: "line", extent, rows: Box::new(rows) })
}

struct Records {
    name: String,
    reader: Reader<Box<dyn BufRead>>,
    column: String,
    index: usize,
    record: ByteRecord,
}

impl Iterator for Records {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(cannot_read(&self.name, &error))),
        }
        let number = self.record.position().map_or(0, csv::Position::line);
        let text = match self.record.get(self.index) {
            Some(field) => decode(field.to_vec()),
            None => {
                let found = self.record.len();
                Err(Damage::new(format!("only {found} fields, so that {:?} is missing", self.column)))
            }
        };
        Some(Ok(Row { number, text }))
    }
}

fn cannot_read(name: &str, error: &csv::Error) -> Failure {
    Failure::new(format!("cannot read {name}")).with_cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn fields_are_read_by_column_and_lines_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, b"id,text\n1,\"two\nlines\"\n2\n3,b\xff\n4,\"c, d\"\n").unwrap();
        let rows: Vec<Row> =
            open_commas(Source::open(&path).unwrap(), None).unwrap().rows.map(Result::unwrap).collect();
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [2, 4, 5, 6]);
        assert_eq!(rows[0].text.as_deref(), Ok("two\nlines"));
        assert_eq!(rows[1].text.as_ref().unwrap_err().reason, "only 1 fields, so that \"text\" is missing");
        assert_eq!(rows[2].text.as_ref().unwrap_err().salvage, "b\u{fffd}");
        assert_eq!(rows[3].text.as_deref(), Ok("c, d"));
    }

    #[test]
    fn tabs_and_named_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tsv");
        fs::write(&path, "text\tbody\nx\ty, z\n").unwrap();
        let mut rows = open_tabs(Source::open(&path).unwrap(), Some("body")).unwrap().rows;
        assert_eq!(rows.next().unwrap().unwrap().text.as_deref(), Ok("y, z"));
    }
}
