//! [`Table`]: columns that line up.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// On which side a column is filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells.
#[derive(Debug)]
pub(crate) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(aligns: Vec<Align>) -> Self {
        Self { aligns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Its lines, two spaces between columns and none at the ends.
    pub(crate) fn lines(&self) -> String {
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
        let widths: Vec<usize> = (0..self.aligns.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.aligns).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let fill = " ".repeat(width - cell.width());
                match align {
                    Align::Left => line.extend([cell.as_str(), fill.as_str()]),
                    Align::Right => line.extend([fill.as_str(), cell.as_str()]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// A text on one line and at most so many columns wide. Control characters, which a terminal might obey, become spaces.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut characters = text.chars().map(|c| if c.is_control() || c == '\u{2028}' { ' ' } else { c }).peekable();
    while let Some(character) = characters.next() {
        let width = character.width().unwrap_or(0);
        let room = if characters.peek().is_some() { columns.saturating_sub(1) } else { columns };
        if used + width > room {
            out.push('…');
            break;
        }
        out.push(character);
        used += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_with_wide_characters() {
        let mut table = Table::new(vec![Align::Left, Align::Right]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["日本".into(), "-10".into()]);
        assert_eq!(table.lines(), "a       1\n日本  -10\n");
    }

    #[test]
    fn texts_are_shortened_and_made_harmless() {
        assert_eq!(shorten("a\u{1b}[31mb\nc", 20), "a [31mb c");
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("日本語", 5), "日本…");
    }
}
