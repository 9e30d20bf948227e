//! The LM head under every code at once, (10), for the exact likelihood (6) and bound (7).
//!
//! A code is a bias over the vocabulary, so sums of e^(score + bias) are a product of two matrices of exponentials.
//! The states' are kept as two bf16 numbers each, so are the biases': about what f32 has.

use super::head::{Asked, chunks};
use super::pack::{Grouped, PACKS};
use super::{Gpu, Run};
use crate::machine::device::kernels::{
    Coded, code_biases, code_gradient, code_logps, code_shares, code_terms, exponentials, gather_backward,
    to_bf16,
};
use crate::machine::device::{Memory, Numbers, Operand, Out};
use crate::{Error, Result};
use half::bf16;
use std::ops::Range;

/// What the codes need beside the head's workspace; made when codes are first scored.
pub(super) struct CodeWork {
    codes: usize,
    codebook: Memory<bf16>,
    /// [K, V]
    biases: Memory<f32>,
    /// e^(bias − largest), [2, K, V]: numbers and what they lack.
    exponentials: Memory<bf16>,
    bias_largest: Memory<f32>,
    /// Of a chunk of states, [chunk, V].
    other: Memory<bf16>,
    largest: Memory<f32>,
    /// [tokens, 2, K], then [tokens, K] each.
    products: Memory<f32>,
    sums: Memory<f32>,
    normalisers: Memory<f32>,
    logps: Memory<f32>,
    d_logps: Memory<f32>,
    shares: Memory<bf16>,
    /// [V, K]
    summed: Memory<f32>,
    d_biases: Memory<f32>,
    rounded: Memory<bf16>,
    d_codebook: Memory<f32>,
}

/// Log-probabilities under every code that may go back.
pub struct CodesScored {
    asked: Asked,
    codebook: Vec<f32>,
    run: Run,
    number: u64,
}

impl CodeWork {
    fn new(gpu: &Gpu, codes: usize) -> Result<Self> {
        let (device, tokens, c) = (&gpu.device, gpu.room.tokens, &gpu.config);
        let (d, vocab) = (c.hidden_size, c.vocab_size);
        const NAME: &str = "codes";
        let wide = |n: usize| Memory::<f32>::zeros(device, NAME, n);
        let half = |n: usize| Memory::<bf16>::zeros(device, NAME, n);
        Ok(Self {
            codes,
            codebook: half(codes * d)?,
            biases: wide(codes * vocab)?,
            exponentials: half(2 * codes * vocab)?,
            bias_largest: wide(codes)?,
            other: half(gpu.head.d_scores.len())?,
            largest: wide(tokens)?,
            products: wide(2 * tokens * codes)?,
            sums: wide(tokens * codes)?,
            normalisers: wide(tokens * codes)?,
            logps: wide(tokens * codes)?,
            d_logps: wide(tokens * codes)?,
            shares: half(tokens * codes)?,
            summed: wide(vocab * codes)?,
            d_biases: wide(vocab * codes)?,
            rounded: half(vocab * codes)?,
            d_codebook: wide(codes * d)?,
        })
    }
}

impl Gpu {
    /// [`Self::token_logps`] of states without a shift, under each code alone. Shapes: codebook [K, d] → [n, K].
    /// Waits for the device.
    ///
    /// Source: (6), (10). Errors: those of it; a codebook of another width; shifts.
    pub fn code_logps(
        &mut self,
        run: Run,
        asked: Asked,
        codebook: &[f32],
    ) -> Result<(Vec<f32>, CodesScored)> {
        self.check(run, &asked)?;
        let d = self.config.hidden_size;
        if asked.shifts.is_some() || codebook.is_empty() || !codebook.len().is_multiple_of(d) {
            let expected = format!("rows of {d} numbers, and no shifts");
            return Err(Error::argument("head", "codebook", codebook.len(), expected));
        }
        self.score_codes(&asked, codebook)?;
        let work = self.code_work()?;
        let logps = work.logps.at(..asked.tokens.len() * work.codes).read()?;
        Ok((logps, CodesScored { asked, codebook: codebook.to_vec(), run, number: self.scored }))
    }

    fn code_work(&self) -> Result<&CodeWork> {
        self.codes.as_ref().ok_or_else(|| Error::argument("head", "codes", "not scored", "scored"))
    }

    fn score_codes(&mut self, asked: &Asked, codebook: &[f32]) -> Result<()> {
        let codes = codebook.len() / self.config.hidden_size;
        if self.codes.as_ref().is_none_or(|work| work.codes != codes) {
            self.codes = None;
            self.codes = Some(CodeWork::new(self, codes)?);
        }
        self.ask(asked)?;
        let (w, vocab) = (self.code_work()?, self.config.vocab_size);
        let book = Memory::of(&self.device, PACKS, codebook)?;
        to_bf16(book.all(), w.codebook.all())?;
        self.device.multiply(w.book(self), self.lm_head().t(), w.biases.all(), false)?;
        let [high, low] = w.halves(vocab);
        exponentials(w.biases.all(), high, low, w.bias_largest.all())?;
        for range in chunks(asked.tokens.len(), vocab, self.room) {
            let (rows, cells) = (range.len(), range.start * codes..range.end * codes);
            let scores = self.scores(&range)?;
            let (high, low) = (self.head.d_scores.at(..rows * vocab), w.other.at(..rows * vocab));
            exponentials(scores, high, low, w.largest.at(range.clone()))?;
            // High parts times both of the biases', and low parts times the high ones.
            let products = w.products.at(..2 * rows * codes);
            let both = Operand::new(w.exponentials.all(), 2 * codes, vocab);
            self.device.multiply(Operand::new(high, rows, vocab), both.t(), products, false)?;
            let first = Out::each(Numbers::F32(products), 0).strided(2 * codes);
            let biases = Operand::new(w.halves(vocab)[0], codes, vocab);
            self.device.multiply(Operand::new(low, rows, vocab), biases.t(), first, true)?;
            code_logps(w.coded(self, &range), products, w.logps.at(cells))?;
        }
        Ok(())
    }

    /// Adds the gradients of the head and of the pack's states, from that of the log-probabilities [n, K].
    /// Shapes: → [K, d], that of the codebook.
    ///
    /// What other calls have left in the workspace is calculated again.
    ///
    /// Errors: the run of an earlier forward pass.
    pub fn code_logps_backward(&mut self, scored: &CodesScored, d_logps: &[f32]) -> Result<Vec<f32>> {
        self.pack(scored.run)?;
        if scored.number != self.scored {
            self.score_codes(&scored.asked, &scored.codebook)?;
        }
        let (w, n, vocab) = (self.code_work()?, scored.asked.tokens.len(), self.config.vocab_size);
        let (codes, cells) = (w.codes, n * w.codes);
        w.d_logps.at(..cells).write(d_logps)?;
        code_shares(w.d_logps.at(..cells), w.sums.at(..cells), w.shares.at(..cells))?;
        let sums = w.sums.at(..cells).read()?;
        w.d_biases.all().clear()?;
        w.summed.all().clear()?;
        for range in chunks(n, vocab, self.room) {
            let (rows, cells) = (range.len(), range.start * codes..range.end * codes);
            self.scores(&range)?;
            let shares = Operand::new(w.shares.at(cells.clone()), rows, codes);
            let (mixed, d_scores) = (w.other.at(..rows * vocab), self.head.d_scores.at(..rows * vocab));
            let biases = Operand::new(w.halves(vocab)[0], codes, vocab);
            self.device.multiply(shares, biases, mixed, false)?;
            let (coded, d_logps) = (w.coded(self, &range), w.d_logps.at(cells.clone()));
            code_gradient(coded, d_logps, mixed, d_scores)?;
            self.scores_backward(&range, d_scores)?;
            self.device.multiply(Operand::new(mixed, rows, vocab).t(), shares, w.summed.all(), true)?;
            if sums[cells].iter().any(|sum| *sum <= 0.0) {
                code_terms(coded, d_logps, w.d_biases.all())?;
            }
        }
        self.states_backward(&scored.asked.rows)?;
        code_biases(w.halves(vocab), w.summed.all(), w.d_biases.all(), codes)?;
        let grouped = Grouped::new(&self.device, &scored.asked.tokens)?;
        let d_biases = Numbers::F32(w.d_biases.all());
        gather_backward(w.d_logps.at(..cells), grouped.by_token(), d_biases, codes)?;
        to_bf16(w.d_biases.all(), w.rounded.all())?;
        let d_biases = Operand::new(w.rounded.all(), vocab, codes);
        self.device.multiply(d_biases.t(), self.lm_head(), w.d_codebook.all(), false)?;
        let gradient = self.weights.gradient(&self.weights.layout.head());
        self.device.multiply(d_biases, w.book(self), gradient, true)?;
        w.d_codebook.all().read()
    }
}

impl CodeWork {
    /// [K, d]
    fn book(&self, gpu: &Gpu) -> Operand<'_> {
        Operand::new(self.codebook.all(), self.codes, gpu.config.hidden_size)
    }

    /// Of the biases' exponentials, [K, V] each.
    fn halves(&self, vocab: usize) -> [crate::machine::device::View<'_, bf16>; 2] {
        let n = self.codes * vocab;
        [self.exponentials.at(..n), self.exponentials.at(n..)]
    }

    fn coded<'a>(&'a self, gpu: &'a Gpu, range: &Range<usize>) -> Coded<'a> {
        let cells = range.start * self.codes..range.end * self.codes;
        Coded {
            scores: gpu.head.scores.at(..range.len() * gpu.config.vocab_size),
            largest: self.largest.at(range.clone()),
            biases: self.biases.all(),
            bias_largest: self.bias_largest.all(),
            tokens: gpu.head.tokens.at(range.clone()),
            sums: self.sums.at(cells.clone()),
            normalisers: self.normalisers.at(cells),
        }
    }
}
