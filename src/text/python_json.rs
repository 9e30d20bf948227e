//! JSON as Python's `json.dumps` writes it.

use serde_json::Value;
use std::fmt::Write;

/// The arguments of `json.dumps`.
#[derive(Debug, Clone, Default)]
pub struct Style {
    pub ensure_ascii: bool,
    pub sort_keys: bool,
    /// What each level is indented by; without it everything is one line.
    pub indent: Option<String>,
    /// Between items, and between a key and its value; Python's own where not given.
    pub separators: Option<(String, String)>,
}

/// ```
/// use lpc::text::python_json::{Style, dumps};
/// let value = serde_json::json!({"b": [1, 2.0, 1e-7], "a": "é"});
/// assert_eq!(dumps(&value, &Style::default()), r#"{"b": [1, 2.0, 1e-07], "a": "é"}"#);
/// let style = Style { ensure_ascii: true, sort_keys: true, ..Style::default() };
/// assert_eq!(dumps(&value, &style), r#"{"a": "\u00e9", "b": [1, 2.0, 1e-07]}"#);
/// ```
pub fn dumps(value: &Value, style: &Style) -> String {
    let mut out = String::new();
    write(&mut out, value, style, 0);
    out
}

fn write(out: &mut String, value: &Value, style: &Style, level: usize) {
    let (item, colon) = match (&style.separators, &style.indent) {
        (Some((item, colon)), _) => (item.as_str(), colon.as_str()),
        (None, Some(_)) => (",", ": "),
        (None, None) => (", ", ": "),
    };
    let new_line = |out: &mut String, level: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..level).for_each(|_| out.push_str(indent));
        }
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) => out.push_str(&float(number)),
            None => out.push_str(&number.to_string()),
        },
        Value::String(text) => string(out, text, style.ensure_ascii),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(keys) if keys.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (i, value) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(item);
                }
                new_line(out, level + 1);
                write(out, value, style, level + 1);
            }
            new_line(out, level);
            out.push(']');
        }
        Value::Object(keys) => {
            let mut keys: Vec<_> = keys.iter().collect();
            if style.sort_keys {
                // By code points, which is how UTF-8 sorts, too.
                keys.sort_by_key(|(key, _)| *key);
            }
            out.push('{');
            for (i, (key, value)) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(item);
                }
                new_line(out, level + 1);
                string(out, key, style.ensure_ascii);
                out.push_str(colon);
                write(out, value, style, level + 1);
            }
            new_line(out, level);
            out.push('}');
        }
    }
}

/// Python's `repr` of a float: the shortest digits, an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number != 0.0 && !(1e-4..1e16).contains(&number.abs()) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{number:?}")
}

fn string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
