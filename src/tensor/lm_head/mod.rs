//! The LM head without the autograd of a [tokens, vocabulary] matrix: log-probabilities in chunks of
//! rows, with a backward pass of its own.

pub(super) mod fused;

use crate::Result;
use crate::config::Precision;
use crate::machine::exp::{exp_in_place, max, sum};
use crate::tensor::logprob::{check_tokens, token_logps};
use crate::tensor::numerics::rounded;
use candle_core::Tensor;
use std::ops::Range;

/// Scores held at a time: 8 Mi numbers, 32 MiB.
const CHUNK_SCORES: usize = 1 << 23;

/// [`token_logps`] with the same values and gradients in bounded memory.
///
/// Source: (10). Twin: `spec::logprob::token_logps`.
/// Shapes: hidden [N, d], lm_head [V, d], tokens [N] → [N]. Units: nats.
/// Errors: those of [`token_logps`]; numbers that are not f32 on the CPU.
/// Numerics: f32 with each row's maximum subtracted, row sums in f64; with bf16, states and head
/// are rounded to it before the product, and in the backward pass the probabilities.
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
    check_tokens(hidden, lm_head, tokens)?;
    let operation = fused::FusedTokenLogps::new(tokens, precision, hidden.track_op());
    Ok(hidden.contiguous()?.apply_op2(&lm_head.contiguous()?, operation)?)
}

/// [`token_logps`] of factors rounded to the precision: any device, scores in the dtype of `hidden`.
pub fn token_logps_composed(
    hidden: &Tensor,
    lm_head: &Tensor,
    tokens: &[u32],
    precision: Precision,
) -> Result<Tensor> {
    let tokens = Tensor::new(tokens, hidden.device())?;
    token_logps(&rounded(hidden, precision)?, &rounded(lm_head, precision)?, &tokens)
}

/// Stretches of `n` rows whose scores are held at a time: of one size, but for a row, because
/// each costs a pass over the head.
pub(super) fn chunks(n: usize, vocab: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let most = (CHUNK_SCORES / vocab).clamp(1, n);
    let rows = n.div_ceil(n.div_ceil(most));
    (0..n.div_ceil(rows)).map(move |i| i * rows..n.min((i + 1) * rows))
}

/// log Σ exp of a row of scores, which it overwrites.
pub(super) fn logsumexp(row: &mut [f32]) -> f32 {
    let shift = max(row);
    exp_in_place(row, 1.0, shift);
    shift + sum(row).ln() as f32
}
