//! `config.json`: the decoder's shape.

use crate::error::{Error, Place, Result};
use crate::model::config::{DecoderConfig, RopeScaling};
use crate::model::load::{check_config, one_line};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The keys of `config.json` that decide what the decoder computes; the others do not matter here.
#[derive(Deserialize)]
struct ConfigJson {
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    partial_rotary_factor: Option<f64>,
    quantization_config: Option<Value>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
}

/// `rope_scaling`, or `rope_parameters` as newer releases write it.
#[derive(Deserialize, Clone)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

pub fn read_config(json: &Map<String, Value>, place: &Place) -> Result<DecoderConfig> {
    let refuse = |field: &str, expected: &str, got: String| {
        Err(Error::input(place.clone().field(field), expected, one_line(got)))
    };
    // Absent keys mean what the architecture's class in `transformers` says; the two differ.
    let mistral = match json.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str) {
        Some("LlamaForCausalLM") => false,
        Some("MistralForCausalLM") => true,
        other => {
            let got = other.unwrap_or("nothing").to_string();
            return refuse("architectures", "LlamaForCausalLM or MistralForCausalLM", got);
        }
    };
    let c: ConfigJson = serde_json::from_value(Value::Object(json.clone()))
        .map_err(|e| Error::input(place.clone(), "a decoder's configuration", one_line(e)))?;
    if c.architectures.is_some_and(|a| a.len() > 1) {
        return refuse("architectures", "one architecture", "several".into());
    }
    for (field, bias) in [("attention_bias", c.attention_bias), ("mlp_bias", c.mlp_bias)] {
        if bias == Some(true) {
            return refuse(field, "false (biases are not supported)", "true".into());
        }
    }
    if let Some(act) = c.hidden_act.filter(|act| act != "silu") {
        return refuse("hidden_act", "silu", act);
    }
    if let Some(factor) = c.partial_rotary_factor.filter(|&f| f != 1.0) {
        return refuse("partial_rotary_factor", "1 (every dimension rotates)", factor.to_string());
    }
    if c.quantization_config.is_some() {
        return refuse("quantization_config", "weights in f32, bf16 or f16", "quantised weights".into());
    }
    let rope = c.rope_parameters.or(c.rope_scaling);
    let sliding_window = match json.get("sliding_window") {
        _ if !mistral => None,
        None => Some(4096),
        Some(Value::Null) => None,
        Some(window) => match window.as_u64().and_then(|w| usize::try_from(w).ok()) {
            Some(window) => Some(window),
            None => return refuse("sliding_window", "a number of positions", window.to_string()),
        },
    };
    let rope_theta = rope.as_ref().and_then(|r| r.rope_theta).or(c.rope_theta).unwrap_or(10_000.0);
    let config = DecoderConfig {
        vocab_size: c.vocab_size,
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        num_key_value_heads: c.num_key_value_heads.unwrap_or(if mistral { 8 } else { c.num_attention_heads }),
        head_dim: c.head_dim.unwrap_or(c.hidden_size / c.num_attention_heads.max(1)),
        rms_norm_eps: c.rms_norm_eps.unwrap_or(1e-6),
        rope_theta,
        rope_scaling: rope.map_or(Ok(None), |r| read_rope(&r, place))?,
        max_position_embeddings: c.max_position_embeddings.unwrap_or(if mistral { 131_072 } else { 2048 }),
        sliding_window,
        tie_word_embeddings: c.tie_word_embeddings,
    };
    check_config(&config, place)?;
    Ok(config)
}

fn read_rope(rope: &Rope, place: &Place) -> Result<Option<RopeScaling>> {
    match rope.rope_type.as_deref() {
        None | Some("default") => return Ok(None),
        Some("llama3") => {}
        Some(other) => {
            let place = place.clone().field("rope_scaling.rope_type");
            return Err(Error::input(place, "llama3 or default", one_line(other)));
        }
    }
    let need = |field: &str, value: Option<f64>| match value {
        Some(v) if v.is_finite() && v > 0.0 => Ok(v),
        other => {
            let got = other.map_or("nothing".into(), |v| v.to_string());
            Err(Error::input(
                place.clone().field(format!("rope_scaling.{field}")),
                "a finite number > 0",
                got,
            ))
        }
    };
    let original = rope.original_max_position_embeddings;
    need("original_max_position_embeddings", original.map(|n| n as f64))?;
    let (low, high) =
        (need("low_freq_factor", rope.low_freq_factor)?, need("high_freq_factor", rope.high_freq_factor)?);
    if low >= high {
        let place = place.clone().field("rope_scaling.low_freq_factor");
        return Err(Error::input(place, format!("less than high_freq_factor = {high}"), low));
    }
    Ok(Some(RopeScaling {
        factor: need("factor", rope.factor)?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original.unwrap_or_default(),
    }))
}
