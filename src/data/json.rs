//! Rows as JSON that Python wrote: with NaN and infinities, one on each line or all in one array.

use crate::python_numbers::replaced;
use serde_json::{Map, Value};
use std::io::BufRead;

/// The key of the object that stands for a number that JSON does not have.
const NOT_JSON: &str = "\u{0}not JSON";

/// The JSON object in a text. `NaN`, `Infinity`, `-Infinity` and numbers beyond f64 are kept as values that
/// [`not_json`] recognises. If a key is there twice, the last value counts, as in Python.
///
/// ```
/// use lpc::data::json::{not_json, object};
/// let row = object(r#"{"a": "NaN", "b": [-Infinity], "a": NaN}"#).unwrap();
/// assert_eq!((not_json(&row["a"]), not_json(&row["b"][0])), (Some("NaN"), Some("-Infinity")));
/// assert_eq!(object(r#"{"a": NaN,}"#).unwrap_err(), "trailing comma at line 1 column 11");
/// ```
///
/// # Errors
/// What is wrong with the text, and where.
pub fn object(text: &str) -> Result<Map<String, Value>, String> {
    let fault = match serde_json::from_str(text) {
        Ok(row) => return Ok(row),
        Err(fault) => fault,
    };
    match replaced(text, |name| format!(r#"{{"\u0000not JSON": "{name}"}}"#)) {
        None => Err(fault.to_string()),
        Some(marked) => serde_json::from_str(&marked).map_err(|e| {
            // A fault behind such a number is told where it stands in the text as it is.
            let as_long = replaced(text, |name| format!("[{}]", " ".repeat(name.len() - 2)));
            let told = as_long.and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).err());
            told.unwrap_or(e).to_string()
        }),
    }
}

/// The name of a number that JSON does not have.
pub fn not_json(value: &Value) -> Option<&str> {
    value.as_object().filter(|keys| keys.len() == 1)?.get(NOT_JSON)?.as_str()
}

/// Replaces such numbers by null, at any depth, in columns that are not read.
pub(super) fn without_them(value: &mut Value) {
    match value {
        value if not_json(value).is_some() => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(without_them),
        Value::Object(keys) => keys.values_mut().for_each(without_them),
        _ => {}
    }
}

/// The items of one JSON array, read one by one.
pub(super) struct ArrayItems<R> {
    bytes: R,
    state: State,
    longest: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Before,
    Items { first: bool },
    Behind,
}

impl<R: BufRead> ArrayItems<R> {
    /// An item longer than `longest` bytes is refused.
    pub fn new(bytes: R, longest: usize) -> Self {
        Self { bytes, state: State::Before, longest }
    }

    /// The text of the next item; none after the last one. Whether it is valid JSON is not checked here.
    ///
    /// # Errors
    /// The array holds something else where an item or its end should be.
    pub(super) fn next_item(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.state == State::Before {
            while self.byte()?.ok_or("no array")? != b'[' {}
            self.state = State::Items { first: true };
        }
        let State::Items { first } = self.state else { return Ok(None) };
        let (mut item, mut depth, mut in_string, mut escaped) = (vec![], 0_usize, false, false);
        loop {
            let Some(byte) = self.byte()? else { return Err("no end of the array".into()) };
            if in_string {
                in_string = byte != b'"' || escaped;
                escaped = byte == b'\\' && !escaped;
            } else {
                match byte {
                    b',' | b']' if depth == 0 => {
                        let ends = byte == b']';
                        self.state = if ends { State::Behind } else { State::Items { first: false } };
                        let is_empty = item.iter().all(u8::is_ascii_whitespace);
                        match (is_empty, ends && first) {
                            (true, true) => return self.nothing_behind().map(|()| None),
                            (true, false) => return Err("nothing, before a comma or the end".into()),
                            (false, _) if ends => self.nothing_behind()?,
                            _ => {}
                        }
                        return Ok(Some(item));
                    }
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    b'"' => in_string = true,
                    _ => {}
                }
            }
            if !item.is_empty() || !byte.is_ascii_whitespace() {
                item.push(byte);
            }
            if item.len() > self.longest {
                return Err(format!("one longer than {} MiB", self.longest >> 20));
            }
        }
    }

    fn nothing_behind(&mut self) -> Result<(), String> {
        while let Some(byte) = self.byte()? {
            if !byte.is_ascii_whitespace() {
                return Err("more behind the array's end".into());
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<Option<u8>, String> {
        let byte = self.bytes.fill_buf().map_err(|e| e.to_string())?.first().copied();
        self.bytes.consume(usize::from(byte.is_some()));
        Ok(byte)
    }
}
