//! CSV files and predictions, in the letters of the original.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::{EvalError, Occasion, Result};

/// A file of results: a header, and a row per run.
pub(crate) struct Report<'a> {
    /// Its name in the output folder.
    pub(crate) file: String,
    /// The columns after `epoch,steps`.
    pub(crate) columns: Vec<String>,
    /// What ends a line: Python's csv module writes `\r\n`, plain writes `\n`.
    pub(crate) line_end: &'a str,
}

impl Report<'_> {
    /// Appends a row, after a header where the file is new. Makes the folder.
    pub(crate) fn append(&self, folder: &Path, occasion: &Occasion, cells: &[String]) -> Result<()> {
        fs::create_dir_all(folder).map_err(EvalError::file("writing", folder))?;
        let path = folder.join(&self.file);
        let mut text = String::new();
        if !path.is_file() {
            self.push_line(&mut text, ["epoch", "steps"].into_iter().chain(self.columns.iter().map(String::as_str)));
        }
        let (epoch, steps) = (occasion.epoch_text(), occasion.steps.to_string());
        self.push_line(&mut text, [&*epoch, &*steps].into_iter().chain(cells.iter().map(String::as_str)));
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(EvalError::file("writing", &path))?;
        file.write_all(text.as_bytes()).map_err(EvalError::file("writing", &path))
    }

    fn push_line<'c>(&self, text: &mut String, cells: impl Iterator<Item = &'c str>) {
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(cell);
        }
        text.push_str(self.line_end);
    }
}

/// A number as Python prints it: the shortest digits that read back as the same `f64`.
pub(crate) fn python_float(value: f64) -> String {
    python_digits(value, &format!("{value:e}"), &value.to_string())
}

/// A number as numpy prints a `float32`.
pub(crate) fn python_float32(value: f32) -> String {
    python_digits(f64::from(value), &format!("{value:e}"), &value.to_string())
}

fn python_digits(value: f64, scientific: &str, plain: &str) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    if plain.contains('.') { plain.to_owned() } else { format!("{plain}.0") }
}

/// A JSON string in ASCII, as Python's json module writes it.
pub(crate) fn python_json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_python_prints_them() {
        let cases = [(0.5, "0.5"), (1.0, "1.0"), (-1.0, "-1.0"), (0.0, "0.0"), (1e-5, "1e-05"), (1.5e16, "1.5e+16")];
        for (value, text) in cases {
            assert_eq!(python_float(value), text);
        }
        assert_eq!(python_float(0.0001), "0.0001");
        assert_eq!(python_float(1.25e-110), "1.25e-110");
        assert_eq!(python_float(f64::NAN), "nan");
        assert_eq!(python_float(f64::NEG_INFINITY), "-inf");
        assert_eq!(python_float32(0.1), "0.1");
    }

    #[test]
    fn strings_as_python_writes_them() {
        assert_eq!(python_json_string("a\"\\\n\u{1}é😀\u{7f}"), r#""a\"\\\n\u0001\u00e9\ud83d\ude00\u007f""#);
    }

    #[test]
    fn later_runs_append() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("eval");
        let report = Report { file: "r.csv".into(), columns: vec!["x".into()], line_end: "\r\n" };
        report.append(&inner, &Occasion::new(), &["1.0".into()]).unwrap();
        report.append(&inner, &Occasion::new().epoch(0.5).steps(3), &["2.0".into()]).unwrap();
        assert_eq!(fs::read_to_string(inner.join("r.csv")).unwrap(), "epoch,steps,x\r\n-1,-1,1.0\r\n0.5,3,2.0\r\n");
    }
}
