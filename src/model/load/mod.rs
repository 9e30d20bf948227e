//! Real models: GGUF files, Hugging Face folders, the hub. Whatever the source, weights come
//! out as f32 on the CPU under their Hugging Face names.

pub mod gguf;
pub mod hub;
pub mod huggingface;

use crate::config::ModelSource;
use crate::error::{Error, Place, Result};
use crate::machine::device::kernels::{draw_parameter, join_master};
use crate::machine::device::{self, Memory};
use crate::model::config::DecoderConfig;
use crate::text::tokenizer::TextTokenizer;
use candle_core::{Device, Tensor};
use huggingface::WeightFiles;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::io::Read;

/// What is said of weights in Python's pickle format.
const PICKLED: &str = "pickled weights, which run code when read; convert them in Python: \
                       AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)";

fn is_pickled(name: &str) -> bool {
    [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|suffix| name.ends_with(suffix))
}

/// Weights by Hugging Face name (`model.layers.0.self_attn.q_proj.weight`); no `lm_head.weight` when the head is the
/// embedding.
#[derive(Debug, Clone)]
pub enum Weights {
    Tensors(HashMap<String, Tensor>),
    /// Not read yet.
    Files(WeightFiles),
    /// To be drawn at random.
    Drawn {
        seed: u32,
    },
}

/// A decoder as it was published.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: DecoderConfig,
    pub weights: Weights,
    pub tokenizer: TextTokenizer,
    /// SHA-256 of the files that were read.
    pub fingerprint: String,
    /// For a report: what this is, in a few words.
    pub description: String,
    /// As the model states it: `apache-2.0`, say.
    pub licence: Option<String>,
}

impl Loaded {
    /// The weights as f32 tensors: read or drawn, if they are not in memory.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn tensors(&self) -> Result<Cow<'_, HashMap<String, Tensor>>> {
        match &self.weights {
            Weights::Tensors(tensors) => Ok(Cow::Borrowed(tensors)),
            Weights::Files(files) => files.tensors().map(Cow::Owned),
            Weights::Drawn { seed } => drawn(&self.config, *seed).map(Cow::Owned),
        }
    }
}

/// The weights that flat memory would draw.
fn drawn(config: &DecoderConfig, seed: u32) -> Result<HashMap<String, Tensor>> {
    let device = device::Device::host();
    let shapes: BTreeMap<String, Vec<usize>> = config.parameter_shapes().collect();
    let draw = |(number, (name, shape)): (u32, (String, Vec<usize>))| {
        let n = shape.iter().product();
        let (halves, rests) = (Memory::zeros(&device, "drawn", n)?, Memory::zeros(&device, "drawn", n)?);
        let inputs = if shape.len() > 1 { shape[1] } else { 1 };
        draw_parameter((halves.all(), rests.all()), inputs, seed, number)?;
        let whole = Memory::<f32>::zeros(&device, "drawn", n)?;
        join_master(halves.all(), rests.all(), whole.all())?;
        Ok((name, Tensor::from_vec(whole.all().read()?, shape, &Device::Cpu)?))
    };
    (0..).zip(shapes).map(draw).collect()
}

/// Reads a published model.
///
/// # Errors
/// The source is the built-in world (which makes its own decoder), a file is missing, damaged or
/// hostile, or the model is not a Llama or Mistral decoder as [`DecoderConfig`] describes them.
pub fn load(source: &ModelSource) -> Result<Loaded> {
    match source {
        ModelSource::World { .. } => Err(no_published_model()),
        ModelSource::Gguf { path } => gguf::load(path),
        ModelSource::Folder { path } => huggingface::load(path),
        ModelSource::Hub { id, revision } => hub::load(id, revision),
        ModelSource::Random { path, seed } => {
            let drawn = huggingface::draw(path, *seed)?;
            Ok(Loaded { weights: Weights::Tensors(drawn.tensors()?.into_owned()), ..drawn })
        }
    }
}

/// [`load()`], but where it can be the weights stay in their files.
///
/// # Errors
/// As [`load()`].
pub fn open(source: &ModelSource) -> Result<Loaded> {
    match source {
        ModelSource::Folder { path } => huggingface::open(path),
        ModelSource::Hub { id, revision } => hub::open(id, revision),
        ModelSource::Random { path, seed } => huggingface::draw(path, *seed),
        ModelSource::World { .. } | ModelSource::Gguf { .. } => load(source),
    }
}

/// Reads a published model's tokenizer alone.
///
/// # Errors
/// As [`load()`], as far as the tokenizer is concerned.
pub fn load_tokenizer(source: &ModelSource) -> Result<TextTokenizer> {
    match source {
        ModelSource::World { .. } => Err(no_published_model()),
        ModelSource::Gguf { path } => gguf::load_tokenizer(path),
        ModelSource::Folder { path } | ModelSource::Random { path, .. } => huggingface::load_tokenizer(path),
        ModelSource::Hub { id, revision } => hub::load_tokenizer(id, revision),
    }
}

fn no_published_model() -> Error {
    Error::argument("load", "model.kind", "world", "a published model: gguf, folder or hub")
}

/// Refuses shapes no decoder can have, before anything is computed from them.
fn check_config(config: &DecoderConfig, place: &Place) -> Result<()> {
    // Far above any real model, and every product of two sizes stays inside 64 bits.
    const LARGEST: usize = 1 << 28;
    const MOST_LAYERS: usize = 1 << 12;
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("num_hidden_layers", config.num_hidden_layers),
        ("num_attention_heads", config.num_attention_heads),
        ("num_key_value_heads", config.num_key_value_heads),
        ("head_dim", config.head_dim),
        ("max_position_embeddings", config.max_position_embeddings),
        ("sliding_window", config.sliding_window.unwrap_or(1)),
    ];
    let refuse = |field: &str, expected: &str, got: &dyn Display| {
        Err(Error::input(place.clone().field(field), expected, got))
    };
    for (field, size) in sizes {
        if !(1..=LARGEST).contains(&size) {
            return refuse(field, "a size between 1 and 2^28", &size);
        }
    }
    if config.num_hidden_layers > MOST_LAYERS {
        return refuse("num_hidden_layers", "at most 4096", &config.num_hidden_layers);
    }
    if !config.num_attention_heads.is_multiple_of(config.num_key_value_heads) {
        return refuse(
            "num_key_value_heads",
            "a divisor of the number of heads",
            &config.num_key_value_heads,
        );
    }
    if !config.head_dim.is_multiple_of(2) {
        return refuse("head_dim", "an even size", &config.head_dim);
    }
    for (field, value) in [("rms_norm_eps", config.rms_norm_eps), ("rope_theta", config.rope_theta)] {
        if !(value.is_finite() && value > 0.0) {
            return refuse(field, "a finite number > 0", &value);
        }
    }
    Ok(())
}

/// The embedding must have a row for every token that a text may have and for the one that ends it.
/// An added token above it is let pass until a text holds it.
fn check_vocabulary(tokenizer: &TextTokenizer, config: &DecoderConfig, place: &Place) -> Result<()> {
    let rows = config.vocab_size;
    let tokens = tokenizer.text_vocab_size().max(tokenizer.eos_id() as usize + 1);
    if tokens <= rows {
        return Ok(());
    }
    let got = format!("a tokenizer with ids up to {}", tokens - 1);
    Err(Error::input(place.clone(), format!("ids below the embedding's {rows} rows"), got))
}

/// "30 layers of width 576, 134.5M parameters".
fn describe(config: &DecoderConfig) -> String {
    let parameters: f64 =
        config.parameter_shapes().map(|(_, s)| s.iter().map(|&n| n as f64).product::<f64>()).sum();
    let (layers, width) = (config.num_hidden_layers, config.hidden_size);
    format!("{layers} layers of width {width}, {:.1}M parameters", parameters / 1e6)
}

/// SHA-256 of everything that is left in a reader, in hexadecimal.
fn sha256(mut reader: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}
