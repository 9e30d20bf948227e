//! JSON as Python writes and reads it.

use crate::error::{Error, Place, Result};
use crate::python_numbers::replaced;
use crate::visible::one_line;
use serde_json::{Map, Value};

/// Reads an object. Of a key that is there twice the last one counts. The numbers that only Python's
/// `json` knows (`NaN`, `Infinity`, `1e999`) become what `transformers` writes for them,
/// `{"__float__": "NaN"}`: no harm where nobody reads the key, and no number where somebody does.
///
/// # Errors
/// The text is not JSON, or not an object.
pub fn parse(bytes: &[u8], place: &Place) -> Result<Map<String, Value>> {
    let strict = match serde_json::from_slice(bytes) {
        Ok(object) => return Ok(object),
        Err(error) => error,
    };
    // A bare NaN is no object, though its tagged form would be.
    let object = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with('{'));
    let tagged = object.and_then(tag_floats);
    match tagged.map(|text| serde_json::from_str(&text)) {
        Some(Ok(object)) => Ok(object),
        _ => Err(Error::input(place.clone(), "a JSON object", one_line(strict))),
    }
}

/// The text with every float that JSON does not have in its tagged form, if there is one.
fn tag_floats(text: &str) -> Option<String> {
    replaced(text, |token| {
        let name = match token {
            "NaN" => "NaN",
            negative if negative.starts_with('-') => "-Infinity",
            _ => "Infinity",
        };
        format!("{{\"__float__\": \"{name}\"}}")
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, tag_floats};
    use crate::error::Place;
    use serde_json::json;

    #[test]
    fn floats_that_json_does_not_have() {
        let text = r#"{"a": NaN, "b": [-Infinity, 1e999], "NaN": "NaN \" Infinity", "c": Infinity, "c": 2}"#;
        let float = |name: &str| json!({"__float__": name});
        let expected = json!({
            "a": float("NaN"), "b": [float("-Infinity"), float("Infinity")], "NaN": "NaN \" Infinity", "c": 2,
        });
        assert_eq!(json!(parse(text.as_bytes(), &Place::file("x")).unwrap()), expected);
    }

    #[test]
    fn what_python_refuses_too() {
        for text in [
            "{\"a\": nan}",
            "{\"a\": NaNs}",
            "{\"a\": Infinity",
            "{\"a\": +Infinity}",
            "NaN",
            "{\"a\": \"NaN",
        ] {
            assert!(parse(text.as_bytes(), &Place::file("x")).is_err(), "{text}");
        }
        assert_eq!(tag_floats("{\"NaN\": 1}"), None);
    }
}
