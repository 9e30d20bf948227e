//! `tokenizer.json` and the files that say which of its tokens are special.

use super::Files;
use crate::error::{Error, Place, Result};
use crate::text::panics::caught;
use crate::text::tokenizer::{Templates, TextTokenizer};
use crate::visible::one_line;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tokenizers::Tokenizer;

pub fn read_tokenizer(files: &mut Files<'_>, config: &Map<String, Value>) -> Result<TextTokenizer> {
    let tokenizer = parse(&files.need("tokenizer.json")?, &Place::file(files.folder.join("tokenizer.json")))?;
    let settings = files.json("tokenizer_config.json")?.unwrap_or_default();
    let generation = files.json("generation_config.json")?;
    let stated = |json: &Map<String, Value>, file: &str, key: &str| {
        ids(json.get(key)).map_err(|got| {
            let place = Place::file(files.folder.join(file)).field(key);
            Error::input(place, "a token's id, several or null", one_line(got))
        })
    };
    let named = |key: &str| {
        let token = settings.get(key).map(|t| t.get("content").unwrap_or(t)).and_then(Value::as_str);
        token.and_then(|t| tokenizer.token_to_id(t))
    };
    // As in `transformers`, what ends a generation stands in generation_config.json if there is one.
    let numbered = |key: &str| match &generation {
        Some(generation) => stated(generation, "generation_config.json", key),
        None => Ok(Vec::new()),
    };
    let in_config = |key: &str| stated(config, "config.json", key);

    // The tokenizer's own end token first: for a chat model it is the one that ends a turn.
    let mut eos: Vec<u32> = named("eos_token").into_iter().collect();
    let mut ends = numbered("eos_token_id")?;
    if generation.is_none() || (eos.is_empty() && ends.is_empty()) {
        ends = in_config("eos_token_id")?;
    }
    for id in ends {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    let numbered_bos = [numbered("bos_token_id")?, in_config("bos_token_id")?].concat();
    let bos = named("bos_token").or(numbered_bos.first().copied());
    let file = files.has("chat_template.jinja").then(|| files.need("chat_template.jinja")).transpose()?;
    let templates = settings.get("chat_template");
    let templates = Templates {
        default: match &file {
            Some(text) => Some(String::from_utf8_lossy(text).into_owned()),
            None => templates.and_then(|templates| template_called(templates, "default")),
        },
        tool_use: templates
            .filter(|templates| file.is_none() && templates.is_array())
            .and_then(|templates| template_called(templates, "tool_use")),
        tokens: special_tokens(&settings),
    };
    let rows = config.get("vocab_size").and_then(Value::as_u64).and_then(|rows| rows.try_into().ok());
    TextTokenizer::new(tokenizer, eos, bos, templates)
        .map(|tokenizer| tokenizer.with_rows(rows.unwrap_or(usize::MAX)))
        .map_err(|e| Error::input(Place::file(files.folder), "a usable tokenizer", e))
}

/// A tokenizer that can be read and that does not panic at a simple text.
fn parse(bytes: &[u8], place: &Place) -> Result<Tokenizer> {
    let refuse = |got: &dyn std::fmt::Display| Error::input(place.clone(), "a tokenizer", one_line(got));
    let panicked = |panic: String| refuse(&format!("one at which the tokenizers library panics ({panic})"));
    let tokenizer = caught(|| Tokenizer::from_bytes(bytes)).map_err(panicked)?.map_err(|e| refuse(&e))?;
    check_growth(&tokenizer, place)?;
    // What it makes of the text does not matter, and that it has no token for it may be as it should.
    let tried = caught(|| {
        let ids = tokenizer.encode_fast("A text, 1 é\n", true).map(|e| e.get_ids().to_vec());
        tokenizer.decode(&ids.unwrap_or_default(), false).is_ok()
    });
    tried.map(|_| tokenizer).map_err(panicked)
}

/// How many times longer any of the tokenizer's steps together may make a text; a published one needs
/// a dozen.
const LONGEST: f64 = 1024.0;

/// Refuses steps that double a text again and again, until memory ends.
fn check_growth(tokenizer: &Tokenizer, place: &Place) -> Result<()> {
    let steps = [
        ("normalizer", serde_json::to_value(tokenizer.get_normalizer())),
        ("pre_tokenizer", serde_json::to_value(tokenizer.get_pre_tokenizer())),
        ("post_processor", serde_json::to_value(tokenizer.get_post_processor())),
        ("decoder", serde_json::to_value(tokenizer.get_decoder())),
    ];
    let (mut together, mut worst) = (1.0, ("tokenizer", 1.0));
    for (part, steps) in steps {
        let steps = steps.map_err(|e| Error::input(place.clone().field(part), "a tokenizer", one_line(e)))?;
        let longer = growth(&steps);
        together *= longer;
        if longer > worst.1 {
            worst = (part, longer);
        }
    }
    if together <= LONGEST {
        return Ok(());
    }
    let expected = format!("steps that make a text at most {LONGEST} times longer");
    Err(Error::input(place.clone().field(worst.0), expected, format!("up to {together:.3e} times")))
}

/// How many times longer a step, with the steps inside, makes a text at most.
fn growth(step: &Value) -> f64 {
    let length = |value: Option<&Value>| value.and_then(Value::as_str).map(|text| text.len() as f64);
    match (step, step.get("type").and_then(Value::as_str)) {
        (Value::Object(keys), Some("Replace")) => {
            let content = length(keys.get("content")).unwrap_or_default();
            match length(step.pointer("/pattern/String")) {
                Some(pattern) if pattern > 0.0 => (content / pattern).max(1.0),
                // It may be found between any two characters.
                _ => 1.0 + content,
            }
        }
        (Value::Object(keys), Some("TemplateProcessing")) => {
            let pieces = keys.get("single").and_then(Value::as_array).into_iter().flatten();
            pieces.filter(|piece| piece.get("Sequence").is_some()).count().max(1) as f64
        }
        (_, Some("ByteLevel")) => 2.0,
        (Value::Object(keys), _) => keys.values().map(growth).product(),
        (Value::Array(several), _) => several.iter().map(growth).product(),
        _ => 1.0,
    }
}

/// One id, several, or none; -1 is none, too. Errors: anything else.
fn ids(value: Option<&Value>) -> std::result::Result<Vec<u32>, &Value> {
    let one = |v: &'_ Value| match v.as_i64() {
        Some(-1) => Some(None),
        _ => v.as_u64().and_then(|id| u32::try_from(id).ok()).map(Some),
    };
    let read = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(several)) => several.iter().map(one).collect::<Option<Vec<_>>>(),
        Some(value) => one(value).map(|id| vec![id]),
    };
    read.map(|ids| ids.into_iter().flatten().collect()).ok_or(value.unwrap_or(&Value::Null))
}

/// The only template, or of several the one of this name.
fn template_called(templates: &Value, name: &str) -> Option<String> {
    let text = |v: &Value| v.as_str().map(str::to_string);
    match templates {
        Value::Array(several) => several
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
            .and_then(|entry| entry.get("template").and_then(text)),
        only => text(only),
    }
}

/// Tokens by the names that templates call them, those of the model's own included.
fn special_tokens(settings: &Map<String, Value>) -> BTreeMap<String, String> {
    const NAMES: [&str; 5] = ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let own = settings.get("extra_special_tokens").and_then(Value::as_object).into_iter().flatten();
    let token = |value: &Value| value.get("content").unwrap_or(value).as_str().map(str::to_string);
    let named = NAMES.iter().filter_map(|&name| Some((name, settings.get(name)?)));
    named
        .chain(own.map(|(name, value)| (name.as_str(), value)))
        .filter_map(|(name, value)| Some((name.to_string(), token(value)?)))
        .collect()
}
