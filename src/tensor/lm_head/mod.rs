//! The LM head without the [tokens, vocabulary] matrix: log-probabilities in chunks of rows,
//! with a backward pass of its own that recomputes each chunk.

pub(super) mod bf16;

use crate::Result;
use crate::config::Precision;
use crate::tensor::exp::{exp, exp_in_place, max, sum, wide};
use crate::tensor::gemm::{Matrix, Threads, product};
use crate::tensor::logprob::{check_tokens, token_logps};
use crate::tensor::numerics::rounded;
use crate::tensor::slices::{Held, contiguous};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Scores held at a time: 8 Mi numbers, 32 MiB.
const CHUNK_SCORES: usize = 1 << 23;

/// [`token_logps`] with the same values and gradients in bounded memory.
///
/// Source: (10). Twin: `spec::logprob::token_logps`.
/// Shapes: hidden [N, d], lm_head [V, d], tokens [N] → [N]. Units: nats.
/// Errors: those of [`token_logps`].
/// Numerics: f32 with each row's maximum subtracted, row sums in f64; with bf16, states and head
/// are rounded to it before the product, and in the backward pass the probabilities. Off the CPU
/// or in another dtype it is the plain composition.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::{config::Precision::F32, tensor::lm_head::token_logps_fused};
/// let (hidden, head) = (Tensor::new(&[[1f32]], &Cpu)?, Tensor::new(&[[3f32.ln()], [0.0]], &Cpu)?);
/// let logps = token_logps_fused(&hidden, &head, &[0], F32)?.to_vec1::<f32>()?;
/// assert!((logps[0] - 0.75f32.ln()).abs() < 1e-6); // 3 against 1
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn token_logps_fused(
    hidden: &Tensor,
    lm_head: &Tensor,
    tokens: &[u32],
    precision: Precision,
) -> Result<Tensor> {
    if !hidden.device().is_cpu() || hidden.dtype() != DType::F32 {
        let tokens = Tensor::new(tokens, hidden.device())?;
        return token_logps(&rounded(hidden, precision)?, &rounded(lm_head, precision)?, &tokens);
    }
    check_tokens(hidden, lm_head, tokens)?;
    let (hidden, lm_head) = (hidden.contiguous()?, lm_head.contiguous()?);
    Ok(match precision {
        Precision::F32 => hidden.apply_op2(&lm_head, FusedTokenLogps { tokens: tokens.to_vec() })?,
        Precision::Bf16 => hidden.apply_op2(&lm_head, bf16::FusedTokenLogps::new(tokens))?,
    })
}

struct FusedTokenLogps {
    tokens: Vec<u32>,
}

/// Stretches of `n` rows whose scores are held at a time: of one size, but for a row, because
/// each costs a pass over the head.
pub(super) fn chunks(n: usize, vocab: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let most = (CHUNK_SCORES / vocab).clamp(1, n);
    let rows = n.div_ceil(n.div_ceil(most));
    (0..n.div_ceil(rows)).map(move |i| i * rows..n.min((i + 1) * rows))
}

/// Calls `f(rows, scores)` for each stretch of rows, `scores` = hidden·headᵀ.
fn score_chunks(hidden: &[f32], head: &[f32], d: usize, mut f: impl FnMut(Range<usize>, &mut [f32])) {
    let (n, vocab) = (hidden.len() / d, head.len() / d);
    let mut scores = vec![];
    for rows in chunks(n, vocab) {
        scores.resize(rows.len() * vocab, 0f32);
        let states = Matrix::new(&hidden[rows.start * d..rows.end * d], rows.len(), d);
        product(states, Matrix::new(head, vocab, d).t(), &mut scores, false, Threads::All);
        f(rows, &mut scores);
    }
}

/// log Σ exp of a row of scores, which it overwrites.
pub(super) fn logsumexp(row: &mut [f32]) -> f32 {
    let shift = max(row);
    exp_in_place(row, 1.0, shift);
    shift + sum(row).ln() as f32
}

impl CustomOp2 for FusedTokenLogps {
    fn name(&self) -> &'static str {
        "token-logps"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (hidden, head) = (contiguous(s1, l1)?, contiguous(s2, l2)?);
        let (d, vocab) = (l1.dims()[1], l2.dims()[0]);
        let mut logps = vec![0f32; self.tokens.len()];
        score_chunks(hidden, head, d, |rows, scores| {
            let (out, tokens) = (&mut logps[rows.clone()], &self.tokens[rows]);
            out.par_iter_mut().zip(tokens).zip(scores.par_chunks_mut(vocab)).for_each(
                |((out, &token), row)| {
                    *out = row[token as usize] - logsumexp(row);
                },
            );
        });
        Ok((CpuStorage::F32(logps), Shape::from(self.tokens.len())))
    }

    /// d logp_t / d score_v = 1[v = token] − softmax_v, chained through hidden·headᵀ.
    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        logps: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (vocab, d) = head.dims2()?;
        let (upstream, logps) = (grad.to_vec1::<f32>()?, logps.to_vec1::<f32>()?);
        let mut d_hidden = vec![0f32; self.tokens.len() * d];
        let mut d_head = vec![0f32; vocab * d];
        {
            let (hidden, head) = (Held::new(hidden)?, Held::new(head)?);
            let (hidden, head) = (hidden.slice(), head.slice());
            score_chunks(hidden, head, d, |rows, scores| {
                scores
                    .par_chunks_mut(vocab)
                    .zip(&self.tokens[rows.clone()])
                    .zip(&upstream[rows.clone()])
                    .zip(&logps[rows.clone()])
                    .for_each(|(((row, &token), &g), &logp)| {
                        // The forward's normaliser, recovered from its result.
                        let normaliser = row[token as usize] - logp;
                        wide(|| row.iter_mut().for_each(|s| *s = -g * exp(*s - normaliser)));
                        row[token as usize] += g;
                    });
                let states = rows.start * d..rows.end * d;
                let scores = Matrix::new(scores, rows.len(), vocab);
                let head = Matrix::new(head, vocab, d);
                product(scores, head, &mut d_hidden[states.clone()], false, Threads::All);
                let states = Matrix::new(&hidden[states], rows.len(), d);
                product(scores.t(), states, &mut d_head, true, Threads::All);
            });
        }
        Ok((
            Some(Tensor::from_vec(d_hidden, hidden.shape(), hidden.device())?),
            Some(Tensor::from_vec(d_head, head.shape(), head.device())?),
        ))
    }
}
