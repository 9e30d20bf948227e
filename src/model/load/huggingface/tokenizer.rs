//! `tokenizer.json` and the files that say which of its tokens are special.

use super::Files;
use crate::error::{Error, Place, Result};
use crate::model::load::one_line;
use crate::model::tokenizer::TextTokenizer;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

pub fn read_tokenizer(files: &mut Files<'_>, config: &Map<String, Value>) -> Result<TextTokenizer> {
    let place = Place::file(files.folder.join("tokenizer.json"));
    let tokenizer = Tokenizer::from_bytes(files.need("tokenizer.json")?)
        .map_err(|e| Error::input(place.clone(), "a tokenizer", one_line(e)))?;
    let settings = files.json("tokenizer_config.json")?.unwrap_or_default();
    let generation = files.json("generation_config.json")?.unwrap_or_default();

    // The tokenizer's own end token first: for a chat model it is the one that ends a turn.
    let named = |key: &str| {
        let token = settings.get(key).map(|t| t.get("content").unwrap_or(t)).and_then(Value::as_str);
        token.and_then(|t| tokenizer.token_to_id(t))
    };
    let numbered = |key: &'static str| [&generation, config].map(|json| ids(json.get(key))).concat();
    let mut eos = Vec::new();
    for id in named("eos_token").into_iter().chain(numbered("eos_token_id")) {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    let bos = named("bos_token").or_else(|| numbered("bos_token_id").first().copied());
    let template = if files.has("chat_template.jinja") {
        Some(String::from_utf8_lossy(&files.need("chat_template.jinja")?).into_owned())
    } else {
        settings.get("chat_template").and_then(default_template)
    };
    TextTokenizer::new(tokenizer, eos, bos, template)
        .map_err(|e| Error::input(Place::file(files.folder), "a usable tokenizer", e))
}

/// One id, several, or none.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(several)) => several.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A template, or the one called `default` among several.
fn default_template(value: &Value) -> Option<String> {
    let text = |v: &Value| v.as_str().map(str::to_string);
    match value {
        Value::Array(several) => several
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template").and_then(text)),
        value => text(value),
    }
}
