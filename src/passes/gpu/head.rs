//! The LM head: log-probabilities of tokens in chunks of scores, and their gradients.

use super::pack::Grouped;
use super::{Gpu, Room, Run, backward};
use crate::machine::device::kernels::{gather, gather_backward, head_gradient, head_logps, to_bf16};
use crate::machine::device::{Device, Memory, Numbers, Operand, View};
use crate::model::config::DecoderConfig;
use crate::{Error, Result};
use half::bf16;
use std::ops::Range;
use std::sync::Arc;

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
    pub fn new(device: &Arc<Device>, c: &DecoderConfig, room: Room) -> Result<Self> {
        let tokens = room.tokens;
        let chunk = chunk(c.vocab_size, room).min(tokens) * c.vocab_size;
        let states = tokens * c.hidden_size;
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

/// States whose scores are held at a time: whole tiles of a product, where there is room for one.
fn chunk(vocab: usize, room: Room) -> usize {
    const TILE: usize = 128;
    let most = (room.scores / vocab).max(1);
    if most > TILE { most / TILE * TILE } else { most }
}

fn chunks(n: usize, vocab: usize, room: Room) -> impl Iterator<Item = Range<usize>> {
    let step = chunk(vocab, room);
    (0..n.div_ceil(step)).map(move |i| i * step..n.min((i + 1) * step))
}

/// Log-probabilities of tokens from states, which the backward pass still needs.
pub struct Scored {
    tokens: usize,
    /// Whose states lie in the workspace.
    number: u64,
}

/// [`Scored`] of a pack's own states.
pub struct ScoredAt {
    scored: Scored,
    states: Vec<u32>,
}

impl Gpu {
    /// log π of the token that follows each state. Shapes: states [n, d] → [n]. Waits for the device.
    ///
    /// Source: (10). Errors: more states than there is room for, or a token outside the vocabulary.
    pub fn token_logps(&mut self, states: &[f32], tokens: &[u32]) -> Result<(Vec<f32>, Scored)> {
        let (w, n) = (&self.head, self.check(tokens)? * self.config.hidden_size);
        w.wide.at(..n).write(states)?;
        to_bf16(w.wide.at(..n), w.states.at(..n))?;
        self.score(tokens)
    }

    /// [`Self::token_logps`] of the pack's states at these rows; only the result leaves the device.
    ///
    /// Errors: those of it; a row that the pack does not have.
    pub fn token_logps_at(
        &mut self,
        run: &Run,
        rows: &[u32],
        tokens: &[u32],
    ) -> Result<(Vec<f32>, ScoredAt)> {
        self.is_last(run)?;
        let (n, d, pack) = (self.check(tokens)?, self.config.hidden_size, run.pack.tokens());
        if rows.len() != n || rows.iter().any(|row| *row as usize >= pack) {
            let expected = format!("a row for each of {n} tokens, below {pack}");
            return Err(Error::argument("head", "rows", rows.len(), expected));
        }
        let ids = Memory::of(&self.device, "packs", rows)?;
        let (hidden, states) = (self.work.hidden.at(..pack * d), self.head.states.at(..n * d));
        gather(Numbers::F32(hidden), ids.all(), Numbers::Bf16(states))?;
        let (logps, scored) = self.score(tokens)?;
        Ok((logps, ScoredAt { scored, states: rows.to_vec() }))
    }

    /// Adds all gradients of a pack from those of its log-probabilities [n].
    pub fn backward_from(&mut self, run: Run, scored: ScoredAt, d_logps: &[f32]) -> Result<()> {
        self.is_last(&run)?;
        let (n, d, pack) = (scored.scored.tokens, self.config.hidden_size, run.pack.tokens());
        self.score_backward(&scored.scored, d_logps)?;
        let grouped = Grouped::new(&self.device, &scored.states)?;
        let d_hidden = self.work.d_hidden.at(..pack * d);
        d_hidden.clear()?;
        let d_states = self.head.d_states.at(..n * d);
        gather_backward(d_states, grouped.by_token(), Numbers::F32(d_hidden), d)?;
        backward::run(self, &run.pack)
    }

    fn check(&self, tokens: &[u32]) -> Result<usize> {
        let vocab = self.config.vocab_size;
        if tokens.len() > self.room.tokens {
            let expected = format!("at most {}", self.room.tokens);
            return Err(Error::argument("head", "states", tokens.len(), expected));
        }
        match tokens.iter().find(|token| **token as usize >= vocab) {
            Some(token) => {
                Err(Error::argument("head", "token", token, format!("below the vocabulary of {vocab}")))
            }
            None => Ok(tokens.len()),
        }
    }

    /// Of the states that lie in the workspace.
    fn score(&mut self, tokens: &[u32]) -> Result<(Vec<f32>, Scored)> {
        self.scored += 1;
        let (w, n) = (&self.head, tokens.len());
        w.tokens.at(..n).write(tokens)?;
        for range in chunks(n, self.config.vocab_size, self.room) {
            let scores = self.scores(&range)?;
            let (logps, normalisers) = (w.logps.at(range.clone()), w.normalisers.at(range.clone()));
            head_logps(scores, w.tokens.at(range), logps, normalisers)?;
        }
        Ok((w.logps.at(..n).read()?, Scored { tokens: n, number: self.scored }))
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
        self.score_backward(&scored, d_logps)?;
        self.head.d_states.at(..scored.tokens * self.config.hidden_size).read()
    }

    fn score_backward(&self, scored: &Scored, d_logps: &[f32]) -> Result<()> {
        if scored.number != self.scored {
            return Err(Error::argument("head", "log-probabilities", "earlier ones", "the last ones"));
        }
        let (n, d, vocab) = (scored.tokens, self.config.hidden_size, self.config.vocab_size);
        let (w, place) = (&self.head, self.weights.layout.head());
        w.d_logps.at(..n).write(d_logps)?;
        for range in chunks(n, vocab, self.room) {
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
        Ok(())
    }
}
