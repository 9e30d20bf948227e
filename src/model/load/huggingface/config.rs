//! `config.json`: the decoder's shape. Where it states a fact twice, the statement counts that
//! `transformers` takes; where that takes none, the file is refused.

use crate::error::{Error, Place, Result};
use crate::model::config::{DecoderConfig, RopeScaling};
use crate::model::load::check_config;
use crate::visible::one_line;
use serde_json::{Map, Value};
use std::fmt::Display;

pub fn read_config(json: &Map<String, Value>, place: &Place) -> Result<DecoderConfig> {
    let keys = Keys { json, place, table: "" };
    // Absent keys mean what the architecture's class in `transformers` says; the two differ.
    let mistral = is_mistral(&keys)?;
    for field in ["attention_bias", "mlp_bias"] {
        if !mistral && keys.flag(field)? == Some(true) {
            return keys.refuse(field, "false (biases are not supported)", true);
        }
    }
    if let Some(act) = keys.text("hidden_act")?.filter(|act| !["silu", "swish"].contains(act)) {
        return keys.refuse("hidden_act", "silu, or swish, its other name", act);
    }
    if keys.stated("quantization_config").is_some() {
        return keys.refuse("quantization_config", "weights in f32, bf16 or f16", "quantised weights");
    }
    let hidden_size = keys.need("hidden_size")?;
    let num_attention_heads = keys.need("num_attention_heads")?;
    let num_key_value_heads = match keys.stated("num_key_value_heads") {
        None if mistral && !json.contains_key("num_key_value_heads") => 8,
        None if !mistral => num_attention_heads,
        _ => keys.need("num_key_value_heads")?,
    };
    let head_dim = match keys.stated("head_dim") {
        None => hidden_size / num_attention_heads.max(1),
        Some(_) => keys.need("head_dim")?,
    };
    let sliding_window = match json.get("sliding_window") {
        _ if !mistral => None,
        None => Some(4096),
        Some(Value::Null) => None,
        Some(_) => keys.size("sliding_window")?,
    };
    let positions = keys.size("max_position_embeddings")?.unwrap_or(if mistral { 131_072 } else { 2048 });
    let (rope_theta, rope_scaling) = read_rope(&keys, positions)?;
    let config = DecoderConfig {
        vocab_size: keys.need("vocab_size")?,
        hidden_size,
        intermediate_size: keys.need("intermediate_size")?,
        num_hidden_layers: keys.need("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        max_position_embeddings: positions,
        sliding_window,
        tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(false),
    };
    check_config(&config, place)?;
    Ok(config)
}

/// The model's type decides, as in `AutoModelForCausalLM`, whatever class is said to have written the
/// file; without a type the class does.
fn is_mistral(keys: &Keys<'_>) -> Result<bool> {
    let mut class = None;
    if let Some(several) = keys.stated("architectures") {
        for name in several.as_array().into_iter().flatten() {
            class = match (name.as_str(), class) {
                (Some("LlamaForCausalLM"), None | Some(false)) => Some(false),
                (Some("MistralForCausalLM"), None | Some(true)) => Some(true),
                _ => return keys.refuse("architectures", "LlamaForCausalLM or MistralForCausalLM", several),
            };
        }
    }
    match (keys.text("model_type")?, class) {
        (Some("llama"), _) => Ok(false),
        (Some("mistral"), _) => Ok(true),
        (Some(other), _) => keys.refuse("model_type", "llama or mistral", other),
        (None, Some(mistral)) => Ok(mistral),
        (None, None) => {
            keys.refuse("architectures", "LlamaForCausalLM or MistralForCausalLM, or a model_type", "nothing")
        }
    }
}

/// Base and scaling of the rotary angles. `rope_scaling`, the older key, goes before
/// `rope_parameters`, and so does `rope_type` before `type`; a base inside goes before one outside.
fn read_rope(keys: &Keys<'_>, positions: usize) -> Result<(f64, Option<RopeScaling>)> {
    let none = Map::new();
    let mut rope = Keys { json: &none, place: keys.place, table: "rope_parameters." };
    for (key, table) in [("rope_scaling", "rope_scaling."), ("rope_parameters", "rope_parameters.")] {
        match keys.stated(key) {
            None => {}
            Some(Value::Object(object)) if object.is_empty() => {}
            Some(Value::Object(object)) => {
                rope = Keys { json: object, place: keys.place, table };
                break;
            }
            Some(other) => return keys.refuse(key, "an object, or null", other),
        }
    }
    if let Some((key, _)) = rope.json.iter().find(|(_, value)| value.is_object()) {
        return rope.refuse(&one_line(key), "one number or name for every layer", "an object");
    }
    for table in [&rope, keys] {
        let field = "partial_rotary_factor";
        if let (Some(_), Some(factor)) = (table.stated(field), table.number(field)?.filter(|&f| f != 1.0)) {
            return table.refuse(field, "1 (every dimension rotates)", factor);
        }
    }
    let theta = match rope.number("rope_theta")? {
        Some(theta) => theta,
        None => keys.number("rope_theta")?.unwrap_or(10_000.0),
    };
    let old = rope.json.contains_key("type") && !rope.json.contains_key("rope_type");
    let kind = if old { "type" } else { "rope_type" };
    match rope.text(kind)? {
        None | Some("default") => return Ok((theta, None)),
        Some("llama3") => {}
        Some(other) => return rope.refuse(kind, "llama3 or default", other),
    }
    let positive = |field: &str| match rope.number(field)? {
        Some(v) if v.is_finite() && v > 0.0 => Ok(v),
        Some(other) => rope.refuse(field, "a finite number > 0", other),
        None => rope.refuse(field, "a finite number > 0", "nothing"),
    };
    // Here it is the outer statement that goes before the inner one.
    let original = "original_max_position_embeddings";
    let table = if keys.json.contains_key(original) { keys } else { &rope };
    let original = match table.size(original)?.unwrap_or(positions) {
        0 => return table.refuse(original, "a size > 0", 0),
        size => size,
    };
    let (low, high) = (positive("low_freq_factor")?, positive("high_freq_factor")?);
    if low >= high {
        return rope.refuse("low_freq_factor", &format!("less than high_freq_factor = {high}"), low);
    }
    let scaling = RopeScaling {
        factor: positive("factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original,
    };
    Ok((theta, Some(scaling)))
}

/// The keys of one of the file's objects; every complaint names the key.
#[derive(Clone, Copy)]
struct Keys<'a> {
    json: &'a Map<String, Value>,
    place: &'a Place,
    /// Where the object stands: `rope_scaling.`, say.
    table: &'static str,
}

impl<'a> Keys<'a> {
    fn refuse<T>(&self, field: &str, expected: &str, got: impl Display) -> Result<T> {
        let place = self.place.clone().field(format!("{}{field}", self.table));
        Err(Error::input(place, expected, one_line(got)))
    }

    /// A key that is there and not null.
    fn stated(&self, field: &str) -> Option<&'a Value> {
        self.json.get(field).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        field: &str,
        kind: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.json.get(field).map(|value| (read(value), value)) {
            None => Ok(None),
            Some((None, value)) => self.refuse(field, kind, value),
            Some((read, _)) => Ok(read),
        }
    }

    fn size(&self, field: &str) -> Result<Option<usize>> {
        self.read(field, "a size", |value| value.as_u64()?.try_into().ok())
    }

    fn need(&self, field: &str) -> Result<usize> {
        match self.size(field)? {
            Some(size) => Ok(size),
            None => self.refuse(field, "a size", "nothing"),
        }
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        self.read(field, "a number", Value::as_f64)
    }

    fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.read(field, "true or false", Value::as_bool)
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>> {
        self.read(field, "a name", Value::as_str)
    }
}
