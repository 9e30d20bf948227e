//! Messages of a row, by the names of chat templates or of ShareGPT, with all their keys.

use crate::data::columns;
use crate::data::json;
use crate::data::layout::{string, wrong};
use crate::error::{Error, Place, Result};
use crate::text::message::Message;
use serde_json::{Map, Value};

pub(super) const ASSISTANT: &str = "assistant";
/// Roles of a tool's result, by the names that templates use.
const RESULTS: [&str; 4] = ["tool", "function", "ipython", "tool_response"];

/// Is this role that of a tool's result?
pub(super) fn is_result(message: &Message) -> bool {
    RESULTS.contains(&message.role())
}

/// Several messages or one.
pub(super) fn is_said(value: &Value) -> bool {
    value.is_array() || value.get("role").or(value.get("from")).is_some()
}

/// The messages of a column, which holds a list of them or one. A message keeps all its keys. If the column holds
/// something else, that is returned.
pub(super) fn messages(
    value: Value,
    field: &str,
    place: &Place,
) -> Result<std::result::Result<Vec<Message>, Value>> {
    let values = match value {
        Value::Array(values) => values,
        value if is_said(&value) => vec![value],
        other => return Ok(Err(other)),
    };
    let read = |(i, value)| message(value, &format!("{field}[{i}]"), place);
    values.into_iter().enumerate().map(read).collect::<Result<_>>().map(Ok)
}

/// Errors: the message is not an object, has no role, or its content is neither text nor parts. A message without
/// content, or with null, must have another key that is not empty.
fn message(value: Value, field: &str, place: &Place) -> Result<Message> {
    let Value::Object(mut keys) = value else {
        return Err(wrong(place, field, "a message", Some(value)));
    };
    if !keys.contains_key("role") && keys.contains_key("from") {
        keys = from_sharegpt(keys, field, place)?;
    }
    string(place, &format!("{field}.role"), keys.get("role").cloned())?;
    keys.iter_mut().filter(|(key, _)| *key != "content").for_each(|(_, value)| json::without_them(value));
    let content = format!("{field}.content");
    let is_assistant = keys.get("role").is_some_and(|role| role == ASSISTANT);
    let says_more = keys.iter().any(|(key, value)| key != "role" && columns::has_text(value));
    match keys.get_mut("content") {
        Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            if let Some(i) = parts.iter().position(|part| !part.is_object()) {
                return Err(wrong(
                    place,
                    &format!("{content}[{i}]"),
                    "a part of a content",
                    Some(parts[i].clone()),
                ));
            }
            parts.iter_mut().for_each(json::without_them);
        }
        None | Some(Value::Null) if says_more && is_assistant => {}
        other => return Err(wrong(place, &content, "a string", other.cloned())),
    }
    let no_role = || wrong(place, &format!("{field}.role"), "a string", None);
    Message::from_keys(keys).ok_or_else(no_role)
}

/// ShareGPT's `from` and `value` as role and content, other keys behind them.
fn from_sharegpt(mut keys: Map<String, Value>, field: &str, place: &Place) -> Result<Map<String, Value>> {
    let from = string(place, &format!("{field}.from"), keys.shift_remove("from"))?;
    let role = match from.as_str() {
        "human" => "user",
        "gpt" | "chatgpt" | "bot" | "model" => ASSISTANT,
        "observation" | "function_response" => "tool",
        "function_call" => {
            let expected = "human, gpt, system or observation; a call as a message with `tool_calls`";
            return Err(Error::input(
                place.clone().field(format!("{field}.from")),
                expected,
                "function_call",
            ));
        }
        other => other,
    };
    let mut message = Map::from_iter([("role".to_string(), role.into())]);
    let content = keys.shift_remove("value").or_else(|| keys.shift_remove("content"));
    message.extend(content.map(|content| ("content".to_string(), content)));
    message.extend(keys);
    Ok(message)
}
