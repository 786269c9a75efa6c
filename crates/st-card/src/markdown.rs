//! Markdown tables, padded so that they are readable as text.

use crate::facts::Scalar;
use crate::python;

/// How the cells of a table are aligned when shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    Left,
    Centre,
}

/// A table with one line per row, each ended by a line break; nothing without rows. Widths are in characters.
pub(crate) fn table(header: &[String], rows: &[Vec<String>], alignment: Alignment) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |text: &String| text.chars().count();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).chain(&header[column..=column]).map(width).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let mut out = String::new();
        for (cell, wide) in cells.iter().zip(&widths) {
            out.push_str("| ");
            out.push_str(cell);
            out.push_str(&" ".repeat(wide - width(cell) + 1));
        }
        out.push_str("|\n");
        out
    };
    let mut out = line(header);
    for wide in &widths {
        out.push_str("|:");
        out.push_str(&"-".repeat(*wide));
        out.push(if alignment == Alignment::Centre { ':' } else { '-' });
    }
    out.push_str("|\n");
    out.extend(rows.iter().map(|row| line(row)));
    out
}

/// A cell that shows a value as it is: more than four digits after the point are cut to four.
pub(crate) fn cell(value: &Scalar) -> String {
    match value {
        Scalar::Number(number) => {
            let text = python::repr_number(*number);
            match text.split_once('.') {
                Some((_, digits)) if digits.len() > 4 => format!("{number:.4}"),
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

/// A value rounded to four digits after the point.
pub(crate) fn rounded(value: &Scalar) -> Scalar {
    match value {
        Scalar::Number(number) => Scalar::Number(python::round(*number, 4)),
        other => other.clone(),
    }
}

/// Two spaces before every line that holds something.
pub(crate) fn indent(text: &str) -> String {
    text.split_inclusive('\n').flat_map(|line| [if line.trim().is_empty() { "" } else { "  " }, line]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_padded_by_characters() {
        let header = ["a".to_owned(), "long".to_owned()];
        let rows = [vec!["äöü".to_owned(), "x".to_owned()]];
        assert_eq!(table(&header, &rows, Alignment::Left), "| a   | long |\n|:----|:-----|\n| äöü | x    |\n");
        assert!(table(&header, &rows, Alignment::Centre).contains("|:---:|:----:|"));
        assert_eq!(table(&header, &[], Alignment::Left), "");
    }

    #[test]
    fn cells_cut_only_long_fractions() {
        for (value, expected) in [(0.5, "0.5"), (1e-5, "1e-05"), (1.5e-7, "0.0000"), (0.123456, "0.1235")] {
            assert_eq!(cell(&Scalar::Number(value)), expected);
        }
        assert_eq!(cell(&Scalar::Integer(3)), "3");
        assert_eq!(rounded(&Scalar::Number(1e-7)).to_string(), "0.0");
    }

    #[test]
    fn blank_lines_are_not_indented() {
        assert_eq!(indent("a\n\nb\n"), "  a\n\n  b\n");
    }
}
