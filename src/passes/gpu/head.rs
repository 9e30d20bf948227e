//! The LM head: log-probabilities of tokens in chunks of scores, and their gradients.

use super::pack::{Grouped, PACKS};
use super::{Gpu, Room, Run};
use crate::machine::device::kernels::{gather, gather_backward, gather_shifted, head_gradient, head_logps};
use crate::machine::device::{Device, Memory, Numbers, Operand, View};
use crate::model::config::DecoderConfig;
use crate::{Error, Result};
use half::bf16;
use std::ops::Range;
use std::sync::Arc;

pub(super) struct HeadWork {
    /// [tokens, d], rounded; and their gradient.
    pub states: Memory<bf16>,
    pub d_states: Memory<f32>,
    pub tokens: Memory<u32>,
    logps: Memory<f32>,
    normalisers: Memory<f32>,
    d_logps: Memory<f32>,
    pub scores: Memory<f32>,
    pub d_scores: Memory<bf16>,
}

impl HeadWork {
    pub fn new(device: &Arc<Device>, c: &DecoderConfig, room: Room) -> Result<Self> {
        let tokens = room.tokens;
        let chunk = chunk(c.vocab_size, room).min(tokens) * c.vocab_size;
        let states = tokens * c.hidden_size;
        const NAME: &str = "head";
        Ok(Self {
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

pub(super) fn chunks(n: usize, vocab: usize, room: Room) -> impl Iterator<Item = Range<usize>> {
    let step = chunk(vocab, room);
    (0..n.div_ceil(step)).map(move |i| i * step..n.min((i + 1) * step))
}

/// What a pack's states are asked: state `rows[i]`, and a shift where there are any, of `tokens[i]`.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub rows: Vec<u32>,
    pub tokens: Vec<u32>,
    pub shifts: Option<Shifts>,
}

/// What is added to states: row `of[i]` of `numbers` [b, d] to the i-th.
#[derive(Debug, Clone)]
pub struct Shifts {
    pub of: Vec<u32>,
    pub numbers: Vec<f32>,
}

/// Log-probabilities that may go back.
pub struct Scored {
    asked: Asked,
    run: Run,
    /// Whose states lie in the workspace.
    number: u64,
}

impl Gpu {
    /// log π of tokens. Shapes: → [n]. Waits for the device.
    ///
    /// Source: (10). Errors: the run of an earlier forward pass; more states than there is room for; a row, a
    /// shift or a token that there is not.
    pub fn token_logps(&mut self, run: Run, asked: Asked) -> Result<(Vec<f32>, Scored)> {
        self.check(run, &asked)?;
        self.score(&asked)?;
        let logps = self.head.logps.at(..asked.tokens.len()).read()?;
        Ok((logps, Scored { asked, run, number: self.scored }))
    }

    /// Adds the gradients of the head and of the pack's states, from that of the log-probabilities [n].
    /// Shapes: → [b, d], that of the shifts; empty without any.
    ///
    /// What other calls have left in the workspace is calculated again.
    ///
    /// Errors: the run of an earlier forward pass.
    pub fn token_logps_backward(&mut self, scored: &Scored, d_logps: &[f32]) -> Result<Vec<f32>> {
        self.pack(scored.run)?;
        if scored.number != self.scored {
            self.score(&scored.asked)?;
        }
        let (n, d, vocab) = (scored.asked.tokens.len(), self.config.hidden_size, self.config.vocab_size);
        let w = &self.head;
        w.d_logps.at(..n).write(d_logps)?;
        for range in chunks(n, vocab, self.room) {
            let (scores, rows) = (self.scores(&range)?, range.len());
            let d_scores = w.d_scores.at(..rows * vocab);
            let (tokens, normalisers) = (w.tokens.at(range.clone()), w.normalisers.at(range.clone()));
            head_gradient(scores, tokens, normalisers, w.d_logps.at(range.clone()), d_scores)?;
            self.scores_backward(&range, d_scores)?;
        }
        self.states_backward(&scored.asked.rows)?;
        let Some(shifts) = &scored.asked.shifts else { return Ok(vec![]) };
        let d_shifts = Memory::zeros(&self.device, PACKS, shifts.numbers.len())?;
        let grouped = Grouped::new(&self.device, &shifts.of)?;
        gather_backward(w.d_states.at(..n * d), grouped.by_token(), Numbers::F32(d_shifts.all()), d)?;
        d_shifts.all().read()
    }

    pub(super) fn check(&self, run: Run, asked: &Asked) -> Result<()> {
        let (n, pack) = (asked.tokens.len(), self.pack(run)?.tokens());
        let all_below = |list: &[u32], limit: usize| list.iter().all(|i| (*i as usize) < limit);
        let refused =
            |what: &str, got: usize, expected: String| Err(Error::argument("head", what, got, expected));
        if n > self.room.tokens {
            return refused("states", n, format!("at most {}", self.room.tokens));
        }
        if asked.rows.len() != n || !all_below(&asked.rows, pack) {
            return refused("rows", asked.rows.len(), format!("a row for each of {n} tokens, below {pack}"));
        }
        if let Some(token) = asked.tokens.iter().find(|token| **token as usize >= self.config.vocab_size) {
            let expected = format!("below the vocabulary of {}", self.config.vocab_size);
            return refused("token", *token as usize, expected);
        }
        if let Some(shifts) = &asked.shifts {
            let d = self.config.hidden_size;
            let rows = shifts.numbers.len() / d;
            if shifts.of.len() != n || shifts.numbers.len() != rows * d || !all_below(&shifts.of, rows) {
                return refused("shifts", shifts.of.len(), format!("a row of {rows} for each of {n} tokens"));
            }
        }
        Ok(())
    }

    /// Puts the states that were asked, and their tokens, into the workspace.
    pub(super) fn ask(&mut self, asked: &Asked) -> Result<()> {
        self.scored += 1;
        let (w, n, d) = (&self.head, asked.tokens.len(), self.config.hidden_size);
        let pack = self.pack.as_ref().map_or(0, |pack| pack.tokens());
        w.tokens.at(..n).write(&asked.tokens)?;
        let rows = Memory::of(&self.device, PACKS, &asked.rows)?;
        let (hidden, states) = (self.work.hidden.at(..pack * d), w.states.at(..n * d));
        let Some(Shifts { of, numbers }) = &asked.shifts else {
            return gather(Numbers::F32(hidden), rows.all(), Numbers::Bf16(states));
        };
        let of = Memory::of(&self.device, PACKS, of)?;
        let shifts = Memory::of(&self.device, PACKS, numbers)?;
        gather_shifted(hidden, rows.all(), shifts.all(), of.all(), states)
    }

    fn score(&mut self, asked: &Asked) -> Result<()> {
        self.ask(asked)?;
        let w = &self.head;
        for range in chunks(asked.tokens.len(), self.config.vocab_size, self.room) {
            let scores = self.scores(&range)?;
            let (logps, normalisers) = (w.logps.at(range.clone()), w.normalisers.at(range.clone()));
            head_logps(scores, w.tokens.at(range), logps, normalisers)?;
        }
        Ok(())
    }

    /// The head's scores of some states in the workspace.
    pub(super) fn scores(&self, range: &Range<usize>) -> Result<View<'_, f32>> {
        let (w, d, vocab) = (&self.head, self.config.hidden_size, self.config.vocab_size);
        let states = Operand::new(w.states.at(range.start * d..range.end * d), range.len(), d);
        let scores = w.scores.at(..range.len() * vocab);
        self.device.multiply(states, self.lm_head().t(), scores, false)?;
        Ok(scores)
    }

    /// [V, d]
    pub(super) fn lm_head(&self) -> Operand<'_> {
        let numbers = self.weights.at(&self.weights.layout.head());
        Operand::new(numbers, self.config.vocab_size, self.config.hidden_size)
    }

    /// Writes the gradient of some states in the workspace, and adds the head's.
    pub(super) fn scores_backward(&self, range: &Range<usize>, d_scores: View<'_, bf16>) -> Result<()> {
        let (w, d, vocab) = (&self.head, self.config.hidden_size, self.config.vocab_size);
        let (rows, states) = (range.len(), range.start * d..range.end * d);
        let d_scores = Operand::new(d_scores, rows, vocab);
        self.device.multiply(d_scores, self.lm_head(), w.d_states.at(states.clone()), false)?;
        let states = Operand::new(w.states.at(states), rows, d);
        self.device.multiply(d_scores.t(), states, self.weights.gradient(&self.weights.layout.head()), true)
    }

    /// Adds the gradient of the states in the workspace to that of the pack's, whose `rows` they are.
    pub(super) fn states_backward(&self, rows: &[u32]) -> Result<()> {
        let (d, pack) = (self.config.hidden_size, self.pack.as_ref().map_or(0, |pack| pack.tokens()));
        let grouped = Grouped::new(&self.device, rows)?;
        let d_hidden = Numbers::F32(self.work.d_hidden.at(..pack * d));
        gather_backward(self.head.d_states.at(..rows.len() * d), grouped.by_token(), d_hidden, d)
    }
}
