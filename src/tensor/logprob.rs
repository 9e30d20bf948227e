//! Log-probabilities of tokens and completions, (10), in plain differentiable operations.

use crate::tensor::numerics::log_softmax;
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// log π(y_t | ·) for each row: the hidden state that predicts a token, and the token.
///
/// Source: (10), with h_z already added to `hidden`. Twin: `spec::logprob::token_logps`.
/// Shapes: hidden [N, d], lm_head [V, d], tokens [N] (u32) → [N]. Units: nats.
/// Numerics: materialises [N, V]; [`crate::tensor::lm_head::token_logps_fused`] does not.
pub fn token_logps(hidden: &Tensor, lm_head: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    let logps = log_softmax(&hidden.matmul(&lm_head.t()?)?)?;
    Ok(logps.gather(&tokens.unsqueeze(1)?, 1)?.squeeze(1)?)
}

/// Σ_t log π(y_t|·) of each completion.
///
/// Twin: `spec::logprob::completion_logps_sum`.
/// Shapes: logps [N], completion [N] (u32, which completion a token belongs to) → [completions].
/// Units: nats, summed and not averaged.
/// Errors: a completion without tokens.
pub fn completion_logps_sum(logps: &Tensor, completion: &[u32], completions: usize) -> Result<Tensor> {
    let mut seen = vec![false; completions];
    completion.iter().for_each(|&c| seen[c as usize] = true);
    if let Some(empty) = seen.iter().position(|s| !s) {
        return Err(Error::argument(
            "completion_logps_sum",
            format!("completion {empty}"),
            0,
            "at least 1 token",
        ));
    }
    let index = Tensor::new(completion, logps.device())?;
    // Sums of a few hundred f32 terms; index_add is sequential, hence reproducible.
    Ok(Tensor::zeros(completions, logps.dtype(), logps.device())?.index_add(&index, logps, 0)?)
}

/// Adds each pair's h_z to the hidden states of its tokens.
///
/// Source: (10). Twin: `spec::logprob::add_latent`.
/// Shapes: hidden [N, d], latent [B, d], pair [N] (u32) → [N, d].
pub fn add_latent(hidden: &Tensor, latent: &Tensor, pair: &Tensor) -> Result<Tensor> {
    debug_assert_eq!(pair.dtype(), DType::U32);
    Ok((hidden + latent.index_select(pair, 0)?)?)
}
