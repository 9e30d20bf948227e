//! Messages of a conversation, as a chat template sees them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// One message: a role, mostly a content, and whatever else the data say of it (tool calls, a name,
/// reasoning). All of it reaches the template, as it stands and in its order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(Map<String, Value>);

impl Message {
    pub fn new(role: &str, content: impl Into<Value>) -> Self {
        let keys = [("role".to_string(), Value::from(role)), ("content".to_string(), content.into())];
        Self(keys.into_iter().collect())
    }

    pub fn user(content: impl Into<Value>) -> Self {
        Self::new("user", content)
    }

    pub fn assistant(content: impl Into<Value>) -> Self {
        Self::new("assistant", content)
    }

    /// The message of these keys; nothing if it has no role that is text.
    ///
    /// ```
    /// use lpc::text::message::Message;
    /// let keys = |json: &str| serde_json::from_str(json).unwrap();
    /// let call = Message::from_keys(keys(r#"{"role": "assistant", "content": null, "tool_calls": []}"#)).unwrap();
    /// assert_eq!((call.role(), &*call.text(), call.is_plain()), ("assistant", "", false));
    /// assert!(Message::from_keys(keys(r#"{"content": "who says so?"}"#)).is_none());
    /// ```
    pub fn from_keys(keys: Map<String, Value>) -> Option<Self> {
        keys.get("role").is_some_and(Value::is_string).then_some(Self(keys))
    }

    pub fn keys(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text of the content: its parts' texts put together where it has parts, nothing where it has
    /// none.
    pub fn text(&self) -> Cow<'_, str> {
        match self.0.get("content") {
            Some(Value::String(text)) => text.into(),
            Some(Value::Array(parts)) => {
                let text = |part: &Value| part.get("text").and_then(Value::as_str).map(String::from);
                parts.iter().filter_map(text).collect::<String>().into()
            }
            _ => "".into(),
        }
    }

    /// Replaces a content that is text, or the last part that is.
    pub fn set_text(&mut self, change: impl FnOnce(&mut String)) {
        let text = match self.0.get_mut("content") {
            Some(Value::String(text)) => Some(text),
            Some(Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| match part.get_mut("text") {
                Some(Value::String(text)) => Some(text),
                _ => None,
            }),
            _ => None,
        };
        if let Some(text) = text {
            change(text);
        }
    }

    /// Is it a role and a text, and nothing else?
    pub fn is_plain(&self) -> bool {
        self.0.len() == 2 && self.0.get("content").is_some_and(Value::is_string)
    }

    /// Is its text all that it says? A message without any other key that holds something.
    pub fn has_only_text(&self) -> bool {
        self.0.iter().all(|(key, value)| matches!(key.as_str(), "role" | "content") || value.is_null())
    }
}
