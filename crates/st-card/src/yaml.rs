//! The YAML that the front matter is written in: block style, keys in the given order, Unicode as it is, text without
//! quotes where YAML 1.1 reads it back as the same text, lines folded after 80 characters. The layout is PyYAML's, which
//! `huggingface_hub` writes cards with.

use std::fmt::Write;
use std::sync::LazyLock;

use regex::Regex;

use crate::python;

/// A value of the front matter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Text(String),
    Number(f64),
    Boolean(bool),
    List(Vec<Yaml>),
    Map(Vec<(&'static str, Yaml)>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Yaml {
        Yaml::Text(text.to_owned())
    }
}

impl Yaml {
    pub(crate) fn texts<S: AsRef<str>>(texts: &[S]) -> Yaml {
        Yaml::List(texts.iter().map(|text| Yaml::from(text.as_ref())).collect())
    }
}

/// Lines are folded at the first single space after this column.
const WIDTH: usize = 80;

/// Plain text that YAML 1.1 would read as a truth value, number, nothing, date or merge key.
static RESERVED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:|~|null|Null|NULL|<<|=|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
        r"|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
        r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        r"|[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+",
        r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
        r"|[0-9]{4}-[0-9]{2}-[0-9]{2}",
        r"|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?",
        r"(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?)$",
    ))
    .ok()
});

/// Writes a mapping as a document, without a line break at the end.
pub(crate) fn document(entries: &[(&'static str, Yaml)]) -> String {
    let mut writer = Writer::default();
    writer.map(entries, 0, false);
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// `inline` says that the first key stands behind a list item's dash.
    fn map(&mut self, entries: &[(&'static str, Yaml)], indent: usize, inline: bool) {
        for (index, (key, value)) in entries.iter().enumerate() {
            if !(index == 0 && (inline || self.out.is_empty())) {
                self.line(indent);
            }
            self.push(key);
            self.push(":");
            match value {
                Yaml::List(items) if !items.is_empty() => self.list(items, indent),
                Yaml::Map(entries) if !entries.is_empty() => {
                    self.line(indent + 2);
                    self.map(entries, indent + 2, true);
                }
                scalar => self.scalar(scalar, indent + 2),
            }
        }
    }

    /// A list in a mapping is not indented.
    fn list(&mut self, items: &[Yaml], indent: usize) {
        for item in items {
            self.line(indent);
            self.push("-");
            match item {
                Yaml::Map(entries) if !entries.is_empty() => {
                    self.push(" ");
                    self.map(entries, indent + 2, true);
                }
                scalar => self.scalar(scalar, indent + 2),
            }
        }
    }

    fn scalar(&mut self, value: &Yaml, indent: usize) {
        self.push(" ");
        match value {
            Yaml::Boolean(flag) => self.push(if *flag { "true" } else { "false" }),
            Yaml::Number(number) => self.push(&number_text(*number)),
            Yaml::List(_) => self.push("[]"),
            Yaml::Map(_) => self.push("{}"),
            Yaml::Text(text) => {
                let characters: Vec<char> = text.chars().collect();
                match style(text, &characters) {
                    Style::Plain => self.plain(&characters, indent),
                    Style::Single => self.single(&characters, indent),
                    Style::Double => self.double(&characters, indent),
                }
            }
        }
    }

    /// Words; a single space after the width becomes a line break.
    fn plain(&mut self, text: &[char], indent: usize) {
        let mut index = 0;
        while index < text.len() {
            let end = run(text, index, |character| (character == ' ') == (text[index] == ' '));
            if text[index] == ' ' && end == index + 1 && self.column > WIDTH {
                self.line(indent);
            } else {
                self.push(&text[index..end].iter().collect::<String>());
            }
            index = end;
        }
    }

    fn single(&mut self, text: &[char], indent: usize) {
        self.push("'");
        let mut index = 0;
        while index < text.len() {
            let first = text[index];
            if first == ' ' {
                let end = run(text, index, |character| character == ' ');
                if end == index + 1 && self.column > WIDTH && index != 0 && end != text.len() {
                    self.line(indent);
                } else {
                    self.push(&" ".repeat(end - index));
                }
                index = end;
            } else if is_break(first) {
                let end = run(text, index, is_break);
                if first == '\n' {
                    self.out.push('\n');
                }
                self.out.extend(&text[index..end]);
                self.out.extend(std::iter::repeat_n(' ', indent));
                self.column = indent;
                index = end;
            } else if first == '\'' {
                self.push("''");
                index += 1;
            } else {
                let end = run(text, index, |character| character != ' ' && character != '\'' && !is_break(character));
                self.push(&text[index..end].iter().collect::<String>());
                index = end;
            }
        }
        self.push("'");
    }

    fn double(&mut self, text: &[char], indent: usize) {
        self.push("\"");
        let mut start = 0;
        for end in 0..=text.len() {
            let character = text.get(end).copied();
            if character.is_none_or(|character| !is_plain_in_double(character)) {
                self.push(&text[start.min(end)..end].iter().collect::<String>());
                start = start.max(end);
                if let Some(character) = character {
                    self.push(&escape(character));
                    start = end + 1;
                }
            }
            let inside = end > 0 && end + 1 < text.len();
            if inside && (character == Some(' ') || start >= end) && (self.column + end).saturating_sub(start) > WIDTH {
                let rest: String = text.get(start..end).unwrap_or_default().iter().collect();
                start = start.max(end);
                self.push(&rest);
                self.push("\\");
                self.line(indent);
                if text.get(start) == Some(&' ') {
                    self.push("\\");
                }
            }
        }
        self.push("\"");
    }
}

/// The end of the run of characters from `start` on for which the condition holds.
fn run(text: &[char], start: usize, holds: impl Fn(char) -> bool) -> usize {
    text[start..].iter().position(|character| !holds(*character)).map_or(text.len(), |length| start + length)
}

fn number_text(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = python::repr_number(number);
    match text.split_once('e') {
        // YAML 1.1 reads an exponent only after a decimal point.
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}

enum Style {
    Plain,
    Single,
    Double,
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(character: char) -> bool {
    matches!(character, '\0' | ' ' | '\t' | '\r') || is_break(character)
}

/// Characters that a document can hold without an escape and that every reader gives back as they are (U+0085 becomes a
/// space in some).
fn is_readable(character: char) -> bool {
    matches!(character,
        '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10fffe}')
        && character != '\u{feff}'
}

fn is_plain_in_double(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && !matches!(character, '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn style(text: &str, characters: &[char]) -> Style {
    let double = characters.iter().any(|character| !is_readable(*character))
        || characters.windows(2).any(|pair| pair[0] == ' ' && is_break(pair[1]) || is_break(pair[0]) && pair[1] == ' ');
    if double {
        return Style::Double;
    }
    // The pattern is a constant; were it wrong, quoting everything would still be right.
    let reserved = RESERVED.as_ref().is_none_or(|pattern| pattern.is_match(text));
    let edge = |character: Option<&char>| character.is_some_and(|character| *character == ' ' || is_break(*character));
    let plain = !reserved
        && !characters.iter().any(|character| is_break(*character))
        && !edge(characters.first())
        && !edge(characters.last())
        && !has_indicator(text, characters);
    if plain { Style::Plain } else { Style::Single }
}

/// Whether YAML would see a structure in the text.
fn has_indicator(text: &str, characters: &[char]) -> bool {
    let blank_after = |index: usize| characters.get(index + 1).is_none_or(|character| is_blank(*character));
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    characters.iter().enumerate().any(|(index, character)| match character {
        '#' if index > 0 => is_blank(characters[index - 1]),
        ':' => blank_after(index),
        '?' | '-' if index == 0 => blank_after(0),
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => index == 0,
        _ => false,
    })
}

fn escape(character: char) -> String {
    let named = match character {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        other => {
            let code = u32::from(other);
            let mut out = String::new();
            let written = match code {
                0..=0xff => write!(out, "\\x{code:02X}"),
                0x100..=0xffff => write!(out, "\\u{code:04X}"),
                _ => write!(out, "\\U{code:08X}"),
            };
            debug_assert!(written.is_ok(), "a String takes everything");
            return out;
        }
    };
    format!("\\{named}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        document(&[("k", Yaml::from(text))])
    }

    #[test]
    fn text_is_quoted_only_where_needed() {
        for (text, expected) in [
            ("plain", "k: plain"),
            ("with: colon", "k: 'with: colon'"),
            ("a:b", "k: a:b"),
            ("end:", "k: 'end:'"),
            ("a #b", "k: 'a #b'"),
            ("a#b", "k: a#b"),
            ("- a", "k: '- a'"),
            ("-a", "k: -a"),
            ("z'", "k: z'"),
            ("'z", "k: '''z'"),
            ("", "k: ''"),
            ("yes", "k: 'yes'"),
            ("2020", "k: '2020'"),
            ("1e-5", "k: 1e-5"),
            ("1.0e-5", "k: '1.0e-5'"),
            ("2020-01-02", "k: '2020-01-02'"),
            ("😀 日本", "k: 😀 日本"),
            ("a\nb", "k: 'a\n\n  b'"),
            ("a \nb", "k: \"a \\nb\""),
            ("tab\there", "k: \"tab\\there\""),
            (" lead", "k: ' lead'"),
        ] {
            assert_eq!(line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_keep_their_point() {
        for (number, expected) in
            [(1e-5, "1.0e-05"), (1.5e-7, "1.5e-07"), (-1e20, "-1.0e+20"), (0.5, "0.5"), (f64::NAN, ".nan")]
        {
            assert_eq!(number_text(number), expected);
        }
    }

    #[test]
    fn structures_are_blocks() {
        let entries = [
            ("language", Yaml::texts(&["en"])),
            ("empty", Yaml::List(Vec::new())),
            ("widget", Yaml::List(vec![Yaml::Map(vec![("a", "b".into()), ("c", Yaml::texts(&["d"]))])])),
            ("deep", Yaml::Map(vec![("flag", Yaml::Boolean(true))])),
        ];
        assert_eq!(document(&entries), "language:\n- en\nempty: []\nwidget:\n- a: b\n  c:\n  - d\ndeep:\n  flag: true");
    }

    /// Text with everything that YAML gives a meaning to.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[-?:,\\[\\]{}#&*!|>'\"%@` a1.~=\\\\\n\t\r\u{85}\u{2028}\u{feff}é😀]{0,120}",
            "([a-z'\"]{1,12}[ \n]{1,2}){0,30}",
        ]
    }

    proptest! {
        #[test]
        fn front_matter_reads_back(texts in proptest::collection::vec(hostile(), 1..4)) {
            let entries = [
                ("license", Yaml::from(texts[0].as_str())),
                ("tags", Yaml::texts(&texts)),
                ("widget", Yaml::List(vec![Yaml::Map(vec![("sentences", Yaml::texts(&texts))])])),
            ];
            let document = document(&entries);
            let parsed: serde_json::Value = serde_yaml_ng::from_str(&document)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{document}")))?;
            prop_assert_eq!(&parsed["license"], &serde_json::json!(texts[0]), "{}", document);
            prop_assert_eq!(&parsed["tags"], &serde_json::json!(texts), "{}", document);
            prop_assert_eq!(&parsed["widget"][0]["sentences"], &serde_json::json!(texts), "{}", document);
        }
    }
}
