//! How Python spells values, because a card shows them so: `repr`, `str`, `round` and `json.dumps`.

use std::fmt::Write;

use serde_json::Value;
use unicode_general_category::{GeneralCategory, get_general_category};

/// `repr` of a string: single quotes unless only they occur, escapes for everything that does not print.
pub(crate) fn repr_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        let code = u32::from(character);
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if character == quote => {
                out.push('\\');
                out.push(quote);
            }
            _ if is_printable(character) => out.push(character),
            _ if code <= 0xff => push(&mut out, format_args!("\\x{code:02x}")),
            _ if code <= 0xffff => push(&mut out, format_args!("\\u{code:04x}")),
            _ => push(&mut out, format_args!("\\U{code:08x}")),
        }
    }
    out.push(quote);
    out
}

/// Appends formatted text; a `String` takes everything.
fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// `str.isprintable` of one character.
fn is_printable(character: char) -> bool {
    use GeneralCategory as Category;
    character == ' '
        || !matches!(
            get_general_category(character),
            Category::Control
                | Category::Format
                | Category::Surrogate
                | Category::PrivateUse
                | Category::Unassigned
                | Category::LineSeparator
                | Category::ParagraphSeparator
                | Category::SpaceSeparator
        )
}

/// `repr` of a float: the shortest digits that read back, an exponent below 1e-4 and from 1e16 on.
pub(crate) fn repr_number(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// `round(number, decimals)`: correctly rounded in decimal.
pub(crate) fn round(number: f64, decimals: usize) -> f64 {
    if number.is_finite() { format!("{number:.decimals$}").parse().unwrap_or(number) } else { number }
}

/// `str(value)`: text as it is, everything else as `repr`.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// `repr(value)`, with JSON's `null`, `true` and `false` as Python's `None`, `True` and `False`.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number_text(number),
        Value::String(text) => repr_text(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", repr_text(key), repr(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => repr_number(float),
        _ => number.to_string(),
    }
}

/// `json.dumps(value, indent=4)`: only ASCII, one element per line.
pub(crate) fn json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, 0, &mut out);
    out
}

fn write_json(value: &Value, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => out.push_str(&json_text(text, false)),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                write_json(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(entries) if entries.is_empty() => out.push_str("{}"),
        Value::Object(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                out.push_str(&json_text(key, false));
                out.push_str(": ");
                write_json(item, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

/// A JSON string in ASCII; `html` also escapes `<`, `>`, `&` and `'`, as Jinja's `tojson` does.
pub(crate) fn json_text(text: &str, html: bool) -> String {
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
            '<' | '>' | '&' | '\'' if html => push(&mut out, format_args!("\\u{:04x}", u32::from(character))),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    push(&mut out, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

/// `str.title`: a letter after a letter in lower case, every other letter in upper case.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        if inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        inside = character.is_lowercase() || character.is_uppercase();
    }
    out
}

/// Digits in groups of three, as in `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Joins with `, `, the last one with ` and `.
pub(crate) fn join_and(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_quoted_as_python_does() {
        for (text, expected) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"both\"", "'it\\'s \"both\"'"),
            ("a\\b\n\r\t", "'a\\\\b\\n\\r\\t'"),
            ("ünï 😀", "'ünï 😀'"),
            ("\u{0}\u{7f}\u{a0}\u{200b}\u{2028}\u{e000}\u{e0001}", "'\\x00\\x7f\\xa0\\u200b\\u2028\\ue000\\U000e0001'"),
        ] {
            assert_eq!(repr_text(text), expected);
        }
    }

    #[test]
    fn numbers_have_python_digits() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (20.0, "20.0"),
            (5e-5, "5e-05"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-1e20, "-1e+20"),
            (123456.789012, "123456.789012"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(repr_number(number), expected);
        }
        assert_eq!(round(2.675, 2), 2.67);
        assert_eq!(round(0.33335, 4), 0.3333);
        assert_eq!(round(1e-7, 4), 0.0);
    }

    #[test]
    fn containers_are_spelled_as_python_does() {
        let value = json!({"a": [1, 2.0, null, true, "x'y"], "b": {}, "c": []});
        assert_eq!(repr(&value), "{'a': [1, 2.0, None, True, \"x'y\"], 'b': {}, 'c': []}");
        assert_eq!(text(&json!("as it is")), "as it is");
        assert_eq!(
            json(&json!({"é😀": [1, 2.5], "e": [], "o": {}})),
            "{\n    \"\\u00e9\\ud83d\\ude00\": [\n        1,\n        2.5\n    ],\n    \"e\": [],\n    \"o\": {}\n}"
        );
        assert_eq!(json_text("<'&\u{1}\">", true), "\"\\u003c\\u0027\\u0026\\u0001\\\"\\u003e\"");
    }

    #[test]
    fn words_and_lists() {
        assert_eq!(title("dot accuracy@1 mrr@10 a1b ÄÖ"), "Dot Accuracy@1 Mrr@10 A1B Äö");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(join_and(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
