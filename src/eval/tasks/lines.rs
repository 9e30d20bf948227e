//! A task's file: a JSON object a line, or a row of Parquet, with keys that a task may not know.

use crate::data::parquet::ParquetRows;
use crate::error::{Error, Place, Result};
use crate::files::json_fault;
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// One line's or row's object and where it stands.
pub struct Object {
    pub place: Place,
    pub line: usize,
    fields: Map<String, Value>,
}

/// Every line that is not blank; of `.parquet`, every row.
///
/// Errors: no such file, bytes that are no UTF-8, a line that is no JSON object, no line at all.
pub fn read(path: &Path) -> Result<Vec<Object>> {
    let is_parquet = path.extension().is_some_and(|e| e == "parquet");
    let objects = if is_parquet { rows(path)? } else { json_lines(path)? };
    if objects.is_empty() {
        return Err(Error::input(Place::file(path), "at least one document", "none"));
    }
    Ok(objects)
}

fn rows(path: &Path) -> Result<Vec<Object>> {
    let mut rows = ParquetRows::open_any(File::open(path).map_err(Error::io(path))?, path)?;
    let mut objects = vec![];
    loop {
        let line = objects.len() + 1;
        let place = Place::file(path).line(line);
        match rows.next_row(place.clone())? {
            Some(fields) => objects.push(Object { place, line, fields }),
            None => return Ok(objects),
        }
    }
}

fn json_lines(path: &Path) -> Result<Vec<Object>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let text =
        String::from_utf8(bytes).map_err(|e| Error::input(Place::file(path), "UTF-8", e.utf8_error()))?;
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
    let objects = lines.map(|(i, line)| {
        let place = Place::file(path).line(i + 1);
        match serde_json::from_str(line) {
            Ok(fields) => Ok(Object { place, line: i + 1, fields }),
            Err(e) => Err(Error::input(place, "a JSON object", json_fault(&e))),
        }
    });
    objects.collect()
}

impl Object {
    /// A text that must be there and not be empty.
    pub fn text(&self, field: &str) -> Result<String> {
        match self.value(field)? {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            other => Err(self.fault(field, "a non-empty string", kind(other))),
        }
    }

    /// A text or a number, if there is one.
    pub fn id(&self) -> Option<String> {
        match self.fields.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        }
    }

    /// At least one text, none of them empty. `field` may be `outer.inner`.
    pub fn texts(&self, field: &str) -> Result<Vec<String>> {
        let values = self.list(field)?;
        let text = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            other => Err(self.fault(field, "non-empty strings", kind(other))),
        };
        values.iter().map(text).collect()
    }

    /// 0 and 1, `count` of them. `field` may be `outer.inner`.
    pub fn truths(&self, field: &str, count: usize) -> Result<Vec<bool>> {
        let values = self.list(field)?;
        if values.len() != count {
            return Err(self.fault(field, &format!("{count}, one a choice"), &values.len().to_string()));
        }
        let truth = |value: &Value| match value.as_u64() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(self.fault(field, "0 or 1", &value.to_string())),
        };
        values.iter().map(truth).collect()
    }

    pub fn fault(&self, field: &str, expected: &str, got: &str) -> Error {
        Error::input(self.place.clone().field(field), expected, got)
    }

    fn list(&self, field: &str) -> Result<&Vec<Value>> {
        match self.value(field)? {
            Value::Array(values) if !values.is_empty() => Ok(values),
            Value::Array(_) => Err(self.fault(field, "at least one value", "none")),
            other => Err(self.fault(field, "a list", kind(other))),
        }
    }

    fn value(&self, field: &str) -> Result<&Value> {
        let mut keys = field.split('.');
        let first = keys.next().and_then(|key| self.fields.get(key));
        let value = keys.fold(first, |value, key| value.and_then(|v| v.get(key)));
        value.ok_or_else(|| self.fault(field, "a value", "nothing"))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
