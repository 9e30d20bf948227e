//! What is measured: SmolLM2-135M's shape with random weights, and pairs of token ids.

use lpc::Result;
use lpc::config::{EmptyCompletion, ModelSource, Truncation};
use lpc::data::pairs;
use lpc::data::tokenize::{TokenizedPair, tokenize};
use lpc::model::config::DecoderConfig;
use lpc::model::load;
use lpc::seed;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

pub const SMOLLM2: DecoderConfig = DecoderConfig {
    vocab_size: 49_152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    head_dim: 64,
    rms_norm_eps: 1e-5,
    rope_theta: 1e5,
    rope_scaling: None,
    max_position_embeddings: 2048,
    sliding_window: None,
    tie_word_embeddings: true,
};

/// Pairs a step, on both sides.
pub const BATCH: usize = 4;

/// Tokens of prompt, chosen and rejected each, where all are of one length.
pub const EQUAL: usize = 96;

pub const TRUNCATION: Truncation = Truncation { max_length: 512, max_prompt_length: 256 };

/// A line of the file that both sides read.
#[derive(Serialize, Deserialize)]
pub struct Line {
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
}

/// Below the ids that the peer keeps for its end, padding and unknown words.
const IDS: usize = 49_149;

pub fn equal(pairs: usize) -> Vec<Line> {
    let mut rng = seed::stream(1, "bench/equal");
    let mut ids = || (0..EQUAL).map(|_| seed::below(&mut rng, IDS) as u32).collect();
    (0..pairs).map(|_| Line { prompt: ids(), chosen: ids(), rejected: ids() }).collect()
}

/// The first pairs of a JSONL file, by the model's own tokenizer and chat template.
pub fn real(file: &Path, model: &Path, count: usize) -> Result<Vec<Line>> {
    let read = pairs::read(file, Some(count), EmptyCompletion::LeaveOut)?;
    let loaded = load::load(&ModelSource::Gguf { path: model.into() })?;
    let tokenized = tokenize(&read.pairs, &loaded.tokenizer, &TRUNCATION)?;
    let bounded = |ids: Vec<u32>| ids.into_iter().map(|id| id.min(IDS as u32 - 1)).collect();
    let line = |p: TokenizedPair| Line {
        prompt: bounded(p.prompt),
        chosen: bounded(p.chosen),
        rejected: bounded(p.rejected),
    };
    Ok(tokenized.into_iter().map(line).collect())
}

pub fn write(path: &Path, lines: &[Line]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        writeln!(file, "{}", serde_json::to_string(line)?)?;
    }
    file.flush()
}

pub fn read(path: &Path) -> std::io::Result<Vec<TokenizedPair>> {
    let lines = BufReader::new(std::fs::File::open(path)?).lines();
    let pair = |(index, line): (usize, std::io::Result<String>)| {
        let Line { prompt, chosen, rejected } = serde_json::from_str(&line?)?;
        Ok(TokenizedPair { index, prompt, chosen, rejected, ..TokenizedPair::default() })
    };
    lines.enumerate().map(pair).collect()
}
