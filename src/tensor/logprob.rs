//! Log-probabilities of tokens and completions, (10), in plain differentiable operations.

use crate::tensor::numerics::log_softmax;
use crate::{Error, Result};
use candle_core::Tensor;

/// log π(y_t | ·) for each row: the hidden state that predicts a token, and the token.
///
/// Source: (10), with h_z already added to `hidden`. Twin: `spec::logprob::token_logps`.
/// Shapes: hidden [N, d], lm_head [V, d], tokens [N] (u32) → [N]. Units: nats.
/// Errors: no tokens; other shapes than these; a token outside the vocabulary.
/// Numerics: materialises [N, V]; [`crate::tensor::lm_head::token_logps_fused`] does not.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// // A zero state leaves all four tokens equally likely.
/// let (hidden, head) = (Tensor::new(&[[0f64]], &Cpu)?, Tensor::new(&[[1f64], [2.0], [3.0], [4.0]], &Cpu)?);
/// let logps = lpc::tensor::logprob::token_logps(&hidden, &head, &Tensor::new(&[2u32], &Cpu)?)?;
/// assert!((logps.to_vec1::<f64>()?[0] + 4f64.ln()).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn token_logps(hidden: &Tensor, lm_head: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    // Candle's gather takes u32::MAX for padding and returns 0 there.
    check_tokens(hidden, lm_head, &tokens.to_vec1()?)?;
    let logps = log_softmax(&hidden.matmul(&lm_head.t()?)?)?;
    Ok(logps.gather(&tokens.unsqueeze(1)?, 1)?.squeeze(1)?)
}

/// One state of the head's width a token, and every token in the vocabulary.
pub(super) fn check_tokens(hidden: &Tensor, lm_head: &Tensor, tokens: &[u32]) -> Result<()> {
    let n = tokens.len();
    if n == 0 {
        return Err(Error::argument("token_logps", "tokens", "none", "at least 1"));
    }
    let &[vocabulary, d] = lm_head.dims() else {
        return Err(Error::argument("token_logps", "lm_head", shape(lm_head), "[V, d]"));
    };
    if d == 0 || hidden.dims() != [n, d] {
        return Err(Error::argument("token_logps", "hidden", shape(hidden), format!("[{n}, {d}], d > 0")));
    }
    check_below("token_logps", "token", tokens, vocabulary)
}

fn check_below(op: &'static str, argument: &str, indices: &[u32], bound: usize) -> Result<()> {
    match indices.iter().find(|&&i| i as usize >= bound) {
        Some(bad) => Err(Error::argument(op, argument, bad, format!("below {bound}"))),
        None => Ok(()),
    }
}

fn shape(tensor: &Tensor) -> String {
    format!("{:?}", tensor.dims())
}

/// Σ_t log π(y_t|·) of each completion.
///
/// Source: (4), (5), (10). Twin: `spec::logprob::completion_logps_sum`.
/// Shapes: logps [N], completion [N] (u32, which completion a token belongs to) → [completions].
/// Units: nats, summed and not averaged.
/// Errors: a completion without tokens, or beyond `completions`; not one completion a token.
/// Numerics: one fixed order of a few hundred terms, in the dtype of `logps`.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let logps = Tensor::new(&[-1f64, -2.0, -4.0], &Cpu)?;
/// let sums = lpc::tensor::logprob::completion_logps_sum(&logps, &[0, 1, 0], 2)?;
/// assert_eq!(sums.to_vec1::<f64>()?, [-5.0, -2.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn completion_logps_sum(logps: &Tensor, completion: &[u32], completions: usize) -> Result<Tensor> {
    let op = "completion_logps_sum";
    if logps.dims() != [completion.len()] {
        return Err(Error::argument(op, "logps", shape(logps), format!("[{}]", completion.len())));
    }
    check_below(op, "completion", completion, completions)?;
    let mut seen = vec![false; completions];
    completion.iter().for_each(|&c| seen[c as usize] = true);
    if let Some(empty) = seen.iter().position(|s| !s) {
        return Err(Error::argument(op, format!("completion {empty}"), 0, "at least 1 token"));
    }
    let index = Tensor::new(completion, logps.device())?;
    // index_add is sequential, hence reproducible.
    Ok(Tensor::zeros(completions, logps.dtype(), logps.device())?.index_add(&index, logps, 0)?)
}

/// Adds each pair's h_z to the hidden states of its tokens.
///
/// Source: (10). Twin: `spec::logprob::add_latent`.
/// Shapes: hidden [N, d], latent [B, d], pair [N] (u32) → [N, d].
/// Errors: other shapes than these; a pair that `latent` lacks.
/// Numerics: one addition a number; gradients of h_z sum over its pair's tokens.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (hidden, latent) = (Tensor::new(&[[1f64], [2.0], [3.0]], &Cpu)?, Tensor::new(&[[10f64], [20.0]], &Cpu)?);
/// let sum = lpc::tensor::logprob::add_latent(&hidden, &latent, &Tensor::new(&[0u32, 1, 1], &Cpu)?)?;
/// assert_eq!(sum.to_vec2::<f64>()?, [[11.0], [22.0], [23.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn add_latent(hidden: &Tensor, latent: &Tensor, pair: &Tensor) -> Result<Tensor> {
    let pairs = pair.to_vec1()?;
    let &[b, d] = latent.dims() else {
        return Err(Error::argument("add_latent", "latent", shape(latent), "[B, d]"));
    };
    if hidden.dims() != [pairs.len(), d] {
        return Err(Error::argument(
            "add_latent",
            "hidden",
            shape(hidden),
            format!("[{}, {d}]", pairs.len()),
        ));
    }
    check_below("add_latent", "pair", &pairs, b)?;
    Ok((hidden + latent.index_select(pair, 0)?)?)
}
