//! The numbers that Python's `json` reads and writes and JSON does not have: `NaN`, `Infinity`,
//! `-Infinity`, and such as `1e999`, which are beyond f64.

/// The text with such numbers replaced, outside of strings; nothing if it has none.
///
/// ```
/// use lpc::python_numbers::replaced;
/// let text = r#"{"NaN": NaN, "a": [-Infinity, 1e999, 1e9]}"#;
/// let null = replaced(text, |_| "null".into()).unwrap();
/// assert_eq!(null, r#"{"NaN": null, "a": [null, null, 1e9]}"#);
/// assert_eq!(replaced(r#"{"a": nan, "b": "NaN"}"#, |_| "null".into()), None);
/// ```
pub fn replaced(text: &str, by: impl Fn(&str) -> String) -> Option<String> {
    let (mut out, mut found, mut rest) = (String::with_capacity(text.len()), false, text);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            'N' | 'I' | '-' | '0'..='9' => rest.find(|c: char| !is_of_number(c)).unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        let is_infinite = || token.len() > 2 && token.parse::<f64>().is_ok_and(f64::is_infinite);
        let is_one = matches!(token, "NaN" | "Infinity" | "-Infinity")
            || token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                && !token.contains('I')
                && is_infinite();
        if is_one {
            found = true;
            out.push_str(&by(token));
        } else {
            out.push_str(token);
        }
        rest = behind;
    }
    found.then_some(out)
}

/// Of a number, or of a name of one.
fn is_of_number(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Bytes of the string that a text begins with, its quotation marks included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}
