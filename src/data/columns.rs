//! The columns that may hold a row's prompt, and those that are not read.

use crate::data::json::not_json;
use crate::data::layout::wrong;
use crate::data::messages::messages;
use crate::data::pairs::Pair;
use crate::error::{Error, Place, Result};
use crate::text::message::Message;
use crate::visible::one_line;
use serde_json::{Map, Value};

/// Columns that are read.
pub const READ: [&str; 16] = [
    "id",
    "source",
    "prompt",
    "chosen",
    "rejected",
    "question",
    "query",
    "instruction",
    "input",
    "messages",
    "conversations",
    "system",
    "system_prompt",
    "tools",
    "chat_template_kwargs",
    "completions",
];

const TEXTS: [&str; 2] = ["question", "query"];
const CONVERSATIONS: [&str; 2] = ["messages", "conversations"];
const SYSTEMS: [&str; 2] = ["system", "system_prompt"];

/// A prompt as its column has it.
pub enum Asked {
    Text(String),
    Messages(Vec<Message>),
}

impl Asked {
    /// Errors: neither text nor messages.
    pub fn of(value: Value, field: &str, place: &Place) -> Result<Self> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            value => match messages(value, field, place)? {
                Ok(messages) => Ok(Self::Messages(messages)),
                Err(other) => Err(wrong(place, field, "text or messages", Some(other))),
            },
        }
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => own.contains(text.trim()),
            Self::Messages(messages) => messages.iter().any(|m| m.text().contains(text.trim())),
        }
    }
}

/// The prompt of a row without `prompt`, with the name of its column: text in `question`, `query`,
/// `instruction` (with `input` on a line of its own) or `input`, messages in `messages` or `conversations`.
///
/// # Errors
/// Two columns hold different prompts, or one is neither text nor messages.
pub fn prompt(row: &mut Map<String, Value>, place: &Place) -> Result<Option<(String, Asked)>> {
    let mut found: Option<(String, Asked)> = None;
    let mut candidates = vec![];
    for name in TEXTS {
        candidates.extend(take(row, name).map(|value| (name.to_string(), value)));
    }
    candidates.extend(match (take(row, "instruction"), take(row, "input")) {
        (Some(Value::String(instruction)), Some(Value::String(input))) => {
            Some(("instruction and input".into(), format!("{instruction}\n{input}").into()))
        }
        (Some(instruction), None) => Some(("instruction".into(), instruction)),
        (None, input) => input.map(|input| ("input".to_string(), input)),
        (Some(Value::String(_)), Some(other)) => {
            return Err(wrong(place, "input", "a string", Some(other)));
        }
        (Some(other), Some(_)) => return Err(wrong(place, "instruction", "a string", Some(other))),
    });
    for name in CONVERSATIONS {
        candidates.extend(take(row, name).map(|value| (name.to_string(), value)));
    }
    for (name, value) in candidates {
        let asked = Asked::of(value, &name, place)?;
        found = Some(match (found, asked) {
            (None, asked) => (name, asked),
            // Messages that say what the text says say more.
            (Some((_, Asked::Text(text))), Asked::Messages(m)) if Asked::Messages(m.clone()).holds(&text) => {
                (name, Asked::Messages(m))
            }
            (Some(known), Asked::Text(text)) if known.1.holds(&text) => known,
            (Some((known, _)), _) => {
                let got = format!("{known} beside {name}, which say different things (name one `prompt`)");
                return Err(Error::input(place.clone(), "one prompt", got));
            }
        });
    }
    Ok(found)
}

/// Puts the row's system message before its prompt, unless the prompt already has it. Returns the column's name.
///
/// # Errors
/// A system column that is not text.
pub(super) fn put_system(
    row: &mut Map<String, Value>,
    pair: &mut Pair,
    place: &Place,
) -> Result<Option<String>> {
    let mut put = None;
    for name in SYSTEMS {
        let text = match row.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) if text.trim().is_empty() => continue,
            Some(Value::String(text)) => text.clone(),
            Some(other) => return Err(wrong(place, name, "a string", Some(other.clone()))),
        };
        let system = text.trim();
        // A prompt that a template has rendered already holds the system's text.
        let holds = |message: &Message| message.role() == "system" || pair.is_text && system.contains(' ');
        let is_there = pair.prompt.iter().any(|m| holds(m) && m.text().contains(system));
        let has_another = pair.prompt.first().is_some_and(|message| message.role() == "system");
        if !is_there && !has_another {
            pair.prompt.insert(0, Message::new("system", text));
            pair.is_text = false;
            put = Some(name.to_string());
        }
        if is_there || !has_another {
            row.shift_remove(name);
        }
    }
    Ok(put)
}

/// The functions that the assistant may call: a list, or its JSON as text.
///
/// # Errors
/// Something else.
pub fn tools(value: Option<Value>, place: &Place) -> Result<Option<Value>> {
    match parsed(value, "tools", place)? {
        None => Ok(None),
        Some(Value::Array(tools)) => Ok((!tools.is_empty()).then_some(tools.into())),
        Some(other) => Err(wrong(place, "tools", "a list of tools, or its JSON as text", Some(other))),
    }
}

/// Values that the row gives to the template, by name: an object, or its JSON as text.
///
/// # Errors
/// Something else.
pub fn template_kwargs(value: Option<Value>, place: &Place) -> Result<Map<String, Value>> {
    let field = "chat_template_kwargs";
    match parsed(value, field, place)? {
        None => Ok(Map::new()),
        Some(Value::Object(keys)) => match keys.iter().find(|(_, value)| not_json(value).is_some()) {
            None => Ok(keys),
            Some((key, value)) => {
                Err(wrong(place, &format!("{field}.{key}"), "a value of JSON", Some(value.clone())))
            }
        },
        Some(other) => Err(wrong(place, field, "an object, or its JSON as text", Some(other))),
    }
}

fn parsed(value: Option<Value>, field: &str, place: &Place) -> Result<Option<Value>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Error::input(place.clone().field(field), "JSON as text", one_line(e))),
        Some(value) if not_json(&value).is_some() => Err(wrong(place, field, "JSON", Some(value))),
        other => Ok(other),
    }
}

/// The columns of a row with content that its pair does not have. Columns that could hold the prompt may repeat
/// text of the pair.
pub fn not_read(row: &Map<String, Value>, pair: Option<&Pair>) -> Vec<String> {
    let new = |(name, value): &(&String, &Value)| {
        let repeats = |pair: &Pair| READ.contains(&name.as_str()) && is_said(value, pair);
        has_text(value) && !pair.is_some_and(repeats)
    };
    row.iter().filter(new).map(|(name, _)| name.clone()).collect()
}

/// Whether the pair already has every text of a value. Roles of messages are not compared.
fn is_said(value: &Value, pair: &Pair) -> bool {
    match value {
        Value::String(text) => {
            let messages = pair.prompt.iter().chain(&pair.chosen).chain(&pair.rejected);
            messages.into_iter().any(|message| message.text().contains(text.trim()))
        }
        Value::Array(items) => items.iter().all(|item| is_said(item, pair)),
        Value::Object(keys) => {
            keys.iter().all(|(key, value)| matches!(key.as_str(), "role" | "from") || is_said(value, pair))
        }
        _ => true,
    }
}

/// Whether a value holds a text that is not empty.
pub(super) fn has_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(has_text),
        Value::Object(_) if not_json(value).is_some() => false,
        Value::Object(keys) => keys.values().any(has_text),
        _ => false,
    }
}

/// A value that is there and not empty.
fn take(row: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    row.shift_remove(name).filter(|value| !is_empty(value))
}
