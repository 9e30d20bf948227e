//! GGUF files, also inside a wheel or zip. Weights are dequantised to f32 and the rotary
//! projections put back into the order that Hugging Face's rotate-half expects.

mod archive;
mod bounds;
mod vocabulary;

use super::{Loaded, PICKLED, check_config, check_vocabulary, describe, is_pickled, sha256};
use crate::error::{Error, Place, Result};
use crate::model::config::DecoderConfig;
use crate::text::tokenizer::TextTokenizer;
use crate::visible::{label, one_line};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;

/// Reads a Llama-architecture GGUF file, or the only one inside a `.whl` or `.zip`.
///
/// # Errors
/// The file is truncated, its counts or offsets do not fit its length, it is not of the Llama
/// architecture, or its tokenizer is one whose splitting rules are not known here.
pub fn load(path: &Path) -> Result<Loaded> {
    let place = Place::file(path);
    let mut reader = open(path)?;
    let fingerprint = sha256(&mut reader).map_err(Error::io(path))?;
    let content = read_content(&mut reader, &place)?;
    let metadata = Metadata { values: &content.metadata, place: &place };
    let config = read_config(&metadata, &content)?;
    let weights = read_weights(&content, &mut reader, &config, &place)?;
    let tokenizer = vocabulary::tokenizer(&metadata)?;
    check_vocabulary(&tokenizer, &config, &place)?;
    let name = metadata.optional::<&str>("general.name")?.map(label).filter(|name| !name.is_empty());
    let name = name.as_deref().unwrap_or("an unnamed model");
    let description = format!("{name} (GGUF): {}", describe(&config));
    let licence = metadata.optional::<&str>("general.license")?.map(label);
    let weights = super::Weights::Tensors(weights);
    Ok(Loaded { config, weights, tokenizer, fingerprint, description, licence })
}

/// Reads the tokenizer of such a file alone.
///
/// # Errors
/// As [`load`], as far as the tokenizer is concerned.
pub fn load_tokenizer(path: &Path) -> Result<TextTokenizer> {
    let place = Place::file(path);
    let content = read_content(&mut open(path)?, &place)?;
    vocabulary::tokenizer(&Metadata { values: &content.metadata, place: &place })
}

fn open(path: &Path) -> Result<BufReader<File>> {
    if is_pickled(&path.to_string_lossy()) {
        return Err(Error::input(Place::file(path), "a GGUF file", PICKLED));
    }
    let file = match path.extension().and_then(|e| e.to_str()) {
        Some("whl" | "zip") => archive::extract(path)?,
        _ => File::open(path).map_err(Error::io(path))?,
    };
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// Everything but the tensors' data, held against the file's length.
fn read_content(reader: &mut BufReader<File>, place: &Place) -> Result<Content> {
    let length = reader.seek(SeekFrom::End(0)).map_err(Error::io(&place.path))?;
    reader.rewind().map_err(Error::io(&place.path))?;
    bounds::check_metadata(reader, length, place)?;
    reader.rewind().map_err(Error::io(&place.path))?;
    let content =
        Content::read(reader).map_err(|e| Error::input(place.clone(), "a whole GGUF file", one_line(e)))?;
    bounds::check_tensors(&content, length, place)?;
    Ok(content)
}

/// The file's key–value pairs; every complaint names the key.
struct Metadata<'a> {
    values: &'a HashMap<String, Value>,
    place: &'a Place,
}

impl<'a> Metadata<'a> {
    fn refuse<T>(&self, key: &str, expected: &str, got: impl std::fmt::Display) -> Result<T> {
        Err(Error::input(self.place.clone().field(key), expected, one_line(got)))
    }

    fn optional<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        match self.values.get(key).map(|value| (T::read(value), value)) {
            None => Ok(None),
            Some((None, value)) => self.refuse(key, T::KIND, format!("{:?}", value.value_type())),
            Some((read, _)) => Ok(read),
        }
    }

    fn need<T: FromValue<'a>>(&self, key: &str) -> Result<T> {
        match self.optional(key)? {
            Some(value) => Ok(value),
            None => self.refuse(key, T::KIND, "nothing"),
        }
    }
}

/// A type that metadata can be read as.
trait FromValue<'a>: Sized {
    const KIND: &'static str;
    fn read(value: &'a Value) -> Option<Self>;
}

impl FromValue<'_> for usize {
    const KIND: &'static str = "an integer that is not negative";
    fn read(value: &Value) -> Option<Self> {
        match *value {
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            Value::Bool(_) => None,
            ref unsigned => unsigned.to_u64().ok()?.try_into().ok(),
        }
    }
}

impl FromValue<'_> for f64 {
    const KIND: &'static str = "a floating-point number";
    fn read(value: &Value) -> Option<Self> {
        match *value {
            // The shortest decimal that gives this f32: 1e-5, not 9.999999747378752e-6.
            Value::F32(v) => v.to_string().parse().ok(),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const KIND: &'static str = "a boolean";
    fn read(value: &Value) -> Option<Self> {
        value.to_bool().ok()
    }
}

impl<'a> FromValue<'a> for &'a str {
    const KIND: &'static str = "a string";
    fn read(value: &'a Value) -> Option<Self> {
        value.to_string().ok().map(String::as_str)
    }
}

impl<'a> FromValue<'a> for &'a [Value] {
    const KIND: &'static str = "an array";
    fn read(value: &'a Value) -> Option<Self> {
        value.to_vec().ok().map(Vec::as_slice)
    }
}

fn read_config(metadata: &Metadata<'_>, content: &Content) -> Result<DecoderConfig> {
    let architecture = metadata.need::<&str>("general.architecture")?;
    if architecture != "llama" {
        return metadata.refuse("general.architecture", "llama", architecture);
    }
    if let Some(scaling) = metadata.optional::<&str>("llama.rope.scaling.type")?.filter(|&s| s != "none") {
        return metadata.refuse(
            "llama.rope.scaling.type",
            "none (read the Hugging Face folder instead)",
            scaling,
        );
    }
    // A factor without a type is linear scaling to llama.cpp.
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        if let Some(factor) = metadata.optional::<f64>(key)?.filter(|&f| f != 0.0 && f != 1.0) {
            return metadata.refuse(key, "1 (read the Hugging Face folder instead)", factor);
        }
    }
    let hidden_size = metadata.need::<usize>("llama.embedding_length")?;
    let num_attention_heads = metadata.need::<usize>("llama.attention.head_count")?;
    let head_dim = match metadata.optional::<usize>("llama.attention.key_length")? {
        Some(length) => length,
        None => hidden_size / num_attention_heads.max(1),
    };
    for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
        if let Some(other) = metadata.optional::<usize>(key)?.filter(|&n| n != head_dim) {
            return metadata.refuse(key, &format!("the head's size {head_dim}"), other);
        }
    }
    if let Some(experts) = metadata.optional::<usize>("llama.expert_count")?.filter(|&n| n > 0) {
        return metadata.refuse("llama.expert_count", "0 (a dense decoder)", experts);
    }
    let config = DecoderConfig {
        vocab_size: metadata.need::<&[Value]>("tokenizer.ggml.tokens")?.len(),
        hidden_size,
        intermediate_size: metadata.need::<usize>("llama.feed_forward_length")?,
        num_hidden_layers: metadata.need::<usize>("llama.block_count")?,
        num_attention_heads,
        num_key_value_heads: metadata
            .optional::<usize>("llama.attention.head_count_kv")?
            .unwrap_or(num_attention_heads),
        head_dim,
        rms_norm_eps: metadata.need::<f64>("llama.attention.layer_norm_rms_epsilon")?,
        rope_theta: metadata.optional::<f64>("llama.rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: None,
        max_position_embeddings: metadata.need::<usize>("llama.context_length")?,
        // The format does not carry it for this architecture.
        sliding_window: None,
        tie_word_embeddings: !content.tensor_infos.contains_key("output.weight"),
    };
    check_config(&config, metadata.place)?;
    Ok(config)
}

/// `model.layers.3.self_attn.q_proj.weight` is `blk.3.attn_q.weight` in GGUF.
fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => "token_embd.weight".into(),
        "model.norm.weight" => "output_norm.weight".into(),
        "lm_head.weight" => "output.weight".into(),
        _ => [
            ("model.layers.", "blk."),
            ("input_layernorm", "attn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("post_attention_layernorm", "ffn_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ]
        .into_iter()
        .fold(name.to_string(), |name, (hugging_face, gguf)| name.replace(hugging_face, gguf)),
    }
}

fn read_weights(
    content: &Content,
    reader: &mut BufReader<File>,
    config: &DecoderConfig,
    place: &Place,
) -> Result<HashMap<String, Tensor>> {
    let mut weights = HashMap::new();
    for (name, shape) in config.parameter_shapes() {
        let in_file = gguf_name(&name);
        let place = place.clone().field(&in_file);
        let Some(info) = content.tensor_infos.get(&in_file) else {
            return Err(Error::input(place, "a tensor", "nothing"));
        };
        if info.shape.dims() != shape {
            return Err(Error::input(place, format!("shape {shape:?}"), format!("{:?}", info.shape.dims())));
        }
        let tensor = content
            .tensor(reader, &in_file, &Device::Cpu)
            .and_then(|t| t.dequantize(&Device::Cpu))
            .and_then(|t| match &name {
                q if q.ends_with("q_proj.weight") => rotate_half_order(&t, config.num_attention_heads),
                k if k.ends_with("k_proj.weight") => rotate_half_order(&t, config.num_key_value_heads),
                _ => Ok(t),
            })
            .map_err(|e| Error::input(place, "a readable tensor", one_line(e)))?;
        weights.insert(name, tensor);
    }
    // Anything left over (biases, rotary factors, experts) would change what the model computes.
    match content.tensor_infos.len() - weights.len() {
        0 => Ok(weights),
        extra => {
            let expected = "the tensors of a Llama decoder without biases or rotary factors";
            Err(Error::input(place.clone(), expected, format!("{extra} others")))
        }
    }
}

/// GGUF pairs dimension 2i of a head with 2i+1, Hugging Face pairs i with i + head_dim/2.
fn rotate_half_order(weight: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = weight.dims2()?;
    weight
        .reshape((heads, rows / heads / 2, 2, columns))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((rows, columns))
}
