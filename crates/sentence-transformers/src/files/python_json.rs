//! JSON as Python's `json.dump(value, indent=n)` and `json.dump(value)` write it, byte for byte.

use serde_json::Value;

/// Writes a value with the given indentation: `", "` never appears, items stand on lines of their own, keys are followed by
/// `": "`, everything outside ASCII is escaped (astral characters as surrogate pairs), and no newline ends the file.
pub(crate) fn dump(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    write(value, Some(indent), 0, &mut out);
    out
}

/// Writes a value in one line, with `", "` between items.
pub(crate) fn dump_line(value: &Value) -> String {
    let mut out = String::new();
    write(value, None, 0, &mut out);
    out
}

fn write(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&python_number(number)),
        Value::String(text) => write_text(text, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(entries) if entries.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                out.push_str(if position == 0 { "" } else { comma });
                line(out, depth + 1);
                write(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (position, (key, entry)) in entries.iter().enumerate() {
                out.push_str(if position == 0 { "" } else { comma });
                line(out, depth + 1);
                write_text(key, out);
                out.push_str(": ");
                write(entry, indent, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

/// Python's `repr` of a float has an exponent only below 1e-4 and from 1e16 on, with at least two digits.
fn python_number(number: &serde_json::Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = format!("{float}");
    if text.contains('.') { text } else { text + ".0" }
}

fn write_text(text: &str, out: &mut String) {
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
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_look_as_python_writes_them() {
        let value = json!({
            "a": [], "b": {}, "c": [1, 2.0, 1e-12, 1e16, 0.1, -1.5e-7, 123456.0], "é\u{1f600}\u{7f}": "\"\\\n\u{8}",
            "d": null, "e": {"f": true}
        });
        let expected = "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    2.0,\n    1e-12,\n    1e+16,\n    0.1,\n    \
                        -1.5e-07,\n    123456.0\n  ],\n  \"\\u00e9\\ud83d\\ude00\\u007f\": \"\\\"\\\\\\n\\b\",\n  \"d\": \
                        null,\n  \"e\": {\n    \"f\": true\n  }\n}";
        assert_eq!(dump(&value, 2), expected);
        assert_eq!(dump_line(&json!({"a": [1, "b"], "c": {}})), r#"{"a": [1, "b"], "c": {}}"#);
    }
}
