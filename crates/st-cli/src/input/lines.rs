//! A text on every line.

use std::io::{BufRead, Read};

use super::{Row, Rows, Source, decode};
use crate::failure::{Failure, Result};

/// Longer lines are taken for a sign that the file is something else.
const LONGEST: u64 = 64 << 20;

pub(super) fn open(source: Source, _column: Option<&str>) -> Result<Rows> {
    let (name, extent) = (source.name.clone(), source.extent.clone());
    let lines = Lines { name: name.clone(), reader: source.into_text()?, number: 0 };
    let rows = lines.map(|line| line.map(|(number, bytes)| Row { number, text: decode(bytes) }));
    Ok(Rows { name, unit: "line", extent, rows: Box::new(rows) })
}

/// The lines of a file with their numbers, without their ends.
pub(super) struct Lines {
    pub(super) name: String,
    pub(super) reader: Box<dyn BufRead>,
    pub(super) number: u64,
}

impl Iterator for Lines {
    type Item = Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        self.number += 1;
        let place = format_args!("{}, line {}", self.name, self.number).to_string();
        match (&mut self.reader).take(LONGEST + 1).read_until(b'\n', &mut bytes) {
            Err(error) => return Some(Err(Failure::io("read", place, &error))),
            Ok(0) => return None,
            Ok(_) => {}
        }
        if bytes.len() as u64 > LONGEST {
            return Some(Err(Failure::new(format!("{place} is longer than {} MiB", LONGEST >> 20))
                .with_hint("texts are read one a line; if the file is something else, name it with --input-format")));
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        Some(Ok((self.number, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(content: &[u8]) -> Vec<Row> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, content).unwrap();
        open(Source::open(&path).unwrap(), None).unwrap().rows.map(Result::unwrap).collect()
    }

    #[test]
    fn every_line_is_a_text_also_an_empty_one() {
        let texts: Vec<String> = read(b"\xef\xbb\xbfone\r\n\ntwo\r").into_iter().map(|row| row.text.unwrap()).collect();
        assert_eq!(texts, ["one", "", "two\r"]);
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_damaged_line_says_where_and_the_rest_goes_on() {
        let rows = read(b"a\nb\xffc\nd\n");
        let damage = rows[1].text.as_ref().unwrap_err();
        assert_eq!((rows[1].number, damage.salvage.as_str()), (2, "b\u{fffd}c"));
        assert_eq!(damage.reason, "invalid UTF-8 at byte 2 of the text");
        assert_eq!(rows[2].text.as_deref(), Ok("d"));
    }
}
