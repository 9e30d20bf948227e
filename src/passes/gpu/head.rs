//! The LM head: log-probabilities of tokens in chunks of scores, and their gradients.

use super::Gpu;
use crate::machine::device::kernels::{head_gradient, head_logps, to_bf16};
use crate::machine::device::{Device, Memory, Operand, View};
use crate::model::config::DecoderConfig;
use crate::{Error, Result};
use half::bf16;
use std::ops::Range;
use std::sync::Arc;

/// Scores held at a time: 256 MiB, and half of it for their gradients.
const CHUNK_SCORES: usize = 1 << 26;

pub(super) struct HeadWork {
    /// [tokens, d], in f32 and rounded; and their gradient.
    wide: Memory<f32>,
    states: Memory<bf16>,
    d_states: Memory<f32>,
    tokens: Memory<u32>,
    logps: Memory<f32>,
    normalisers: Memory<f32>,
    d_logps: Memory<f32>,
    scores: Memory<f32>,
    d_scores: Memory<bf16>,
}

impl HeadWork {
    pub fn new(device: &Arc<Device>, c: &DecoderConfig, tokens: usize) -> Result<Self> {
        let (states, chunk) = (tokens * c.hidden_size, chunk(c.vocab_size).min(tokens) * c.vocab_size);
        const NAME: &str = "head";
        Ok(Self {
            wide: Memory::zeros(device, NAME, states)?,
            states: Memory::zeros(device, NAME, states)?,
            d_states: Memory::zeros(device, NAME, states)?,
            tokens: Memory::zeros(device, NAME, tokens)?,
            logps: Memory::zeros(device, NAME, tokens)?,
            normalisers: Memory::zeros(device, NAME, tokens)?,
            d_logps: Memory::zeros(device, NAME, tokens)?,
            scores: Memory::zeros(device, NAME, chunk)?,
            d_scores: Memory::zeros(device, NAME, chunk)?,
        })
    }
}

/// States whose scores are held at a time.
fn chunk(vocab: usize) -> usize {
    (CHUNK_SCORES / vocab).max(1)
}

fn chunks(n: usize, vocab: usize) -> impl Iterator<Item = Range<usize>> {
    let step = chunk(vocab);
    (0..n.div_ceil(step)).map(move |i| i * step..n.min((i + 1) * step))
}

/// log-probabilities of tokens from states, which the backward pass still needs.
pub struct Scored {
    tokens: usize,
}

impl Gpu {
    /// log π of the token that follows each state. Shapes: states [n, d] → [n]. Waits for the device.
    ///
    /// Source: (10). Errors: more states than there is room for, or a token outside the vocabulary.
    pub fn token_logps(&mut self, states: &[f32], tokens: &[u32]) -> Result<(Vec<f32>, Scored)> {
        let (n, c) = (tokens.len(), &self.config);
        if n > self.room.tokens {
            return Err(Error::argument("head", "states", n, format!("at most {}", self.room.tokens)));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= c.vocab_size) {
            let expected = format!("below the vocabulary of {}", c.vocab_size);
            return Err(Error::argument("head", "token", token, expected));
        }
        let (w, d) = (&self.head, c.hidden_size);
        w.wide.at(..n * d).write(states)?;
        w.tokens.at(..n).write(tokens)?;
        to_bf16(w.wide.at(..n * d), w.states.at(..n * d))?;
        for range in chunks(n, c.vocab_size) {
            let scores = self.scores(&range)?;
            let (logps, normalisers) = (w.logps.at(range.clone()), w.normalisers.at(range.clone()));
            head_logps(scores, w.tokens.at(range), logps, normalisers)?;
        }
        Ok((w.logps.at(..n).read()?, Scored { tokens: n }))
    }

    fn scores(&self, range: &Range<usize>) -> Result<View<'_, f32>> {
        let (w, d, vocab) = (&self.head, self.config.hidden_size, self.config.vocab_size);
        let states = Operand::new(w.states.at(range.start * d..range.end * d), range.len(), d);
        let head = Operand::new(self.weights.at(&self.weights.layout.head()), vocab, d);
        let scores = w.scores.at(..range.len() * vocab);
        self.device.multiply(states, head.t(), scores, false)?;
        Ok(scores)
    }

    /// The states' gradient from that of their log-probabilities [n]; adds the head's to its sum.
    pub fn token_logps_backward(&mut self, scored: Scored, d_logps: &[f32]) -> Result<Vec<f32>> {
        let (n, d, vocab) = (scored.tokens, self.config.hidden_size, self.config.vocab_size);
        let (w, place) = (&self.head, self.weights.layout.head());
        w.d_logps.at(..n).write(d_logps)?;
        for range in chunks(n, vocab) {
            let (scores, rows) = (self.scores(&range)?, range.len());
            let d_scores = w.d_scores.at(..rows * vocab);
            let (tokens, normalisers) = (w.tokens.at(range.clone()), w.normalisers.at(range.clone()));
            head_gradient(scores, tokens, normalisers, w.d_logps.at(range.clone()), d_scores)?;
            let states = range.start * d..range.end * d;
            let (head, d_states) = (self.weights.at(&place), w.d_states.at(states.clone()));
            let d_scores = Operand::new(d_scores, rows, vocab);
            self.device.multiply(d_scores, Operand::new(head, vocab, d), d_states, false)?;
            let states = Operand::new(w.states.at(states), rows, d);
            self.device.multiply(d_scores.t(), states, self.weights.gradient(&place), true)?;
        }
        w.d_states.at(..n * d).read()
    }
}
