//! Log-probabilities of a completion under the LM head, with and without a latent code: (10).

use super::{check, numerics};
use crate::error::{Error, Result};
use ndarray::{Array1, Array2, ArrayRef1, ArrayRef2, Axis};

/// h_{x,y<t} + h_z at every position t: the latent enters after the last layer and nowhere else,
/// so hidden states do not depend on the code.
///
/// Source: (10). Twin: `tensor::logprob::add_latent`.
///
/// Shapes: hidden [T, d], latent [d] → [T, d].
///
/// Errors: `latent` is not as wide as `hidden`.
pub fn add_latent(hidden: &ArrayRef2<f64>, latent: &ArrayRef1<f64>) -> Result<Array2<f64>> {
    check::shape("add_latent", "latent", latent, &[hidden.ncols()])?;
    Ok(hidden + latent)
}

/// log π(y_t | x, y_<t) for every completion token: `hidden[t]` is the state that predicts
/// `tokens[t]`.
///
/// Source: (10), after [`add_latent`]; without it, the plain policy. Twin: `tensor::logprob::token_logps`.
///
/// Shapes: hidden [T, d], lm_head [V, d], tokens [T] → [T]. Units: nats.
///
/// Errors: empty completion; mismatched shapes; a token outside the vocabulary; a value that is
/// not finite.
///
/// ```
/// use lpc::spec::logprob::token_logps;
/// use ndarray::array;
/// // A zero state leaves both tokens equally likely.
/// let logps = token_logps(&array![[0.0]], &array![[1.0], [-1.0]], &[1])?;
/// assert_eq!(logps[0], -std::f64::consts::LN_2);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn token_logps(hidden: &ArrayRef2<f64>, lm_head: &ArrayRef2<f64>, tokens: &[u32]) -> Result<Array1<f64>> {
    check_completion("token_logps", hidden, lm_head, tokens)?;
    let logits = hidden.dot(&lm_head.t());
    Ok(logits
        .outer_iter()
        .zip(tokens)
        .map(|(row, &token)| numerics::log_softmax(&row)[token as usize])
        .collect())
}

/// log π(y | x) = Σ_t log π(y_t | x, y_<t): a sum, never a mean.
///
/// Source: (4), (5), (10). Twin: `tensor::logprob::completion_logps_sum`.
///
/// Shapes: as [`token_logps`] → scalar. Units: nats. Errors: as [`token_logps`].
pub fn completion_logps_sum(
    hidden: &ArrayRef2<f64>,
    lm_head: &ArrayRef2<f64>,
    tokens: &[u32],
) -> Result<f64> {
    Ok(token_logps(hidden, lm_head, tokens)?.sum())
}

/// ∂ [`completion_logps_sum`] / ∂ (hidden, lm_head).
///
/// With R = onehot(tokens) − softmax(hidden · lm_headᵀ): ∂hidden = R · lm_head and
/// ∂lm_head = Rᵀ · hidden. With a latent, pass `add_latent(hidden, latent)`; ∂latent is then the
/// sum of ∂hidden over positions.
///
/// Twin: `tensor::logprob::completion_logps_sum` under autograd.
///
/// Shapes: → ([T, d], [V, d]). Errors: as [`token_logps`].
pub fn completion_logps_sum_gradient(
    hidden: &ArrayRef2<f64>,
    lm_head: &ArrayRef2<f64>,
    tokens: &[u32],
) -> Result<(Array2<f64>, Array2<f64>)> {
    check_completion("completion_logps_sum_gradient", hidden, lm_head, tokens)?;
    let mut residual = hidden.dot(&lm_head.t());
    for (mut row, &token) in residual.outer_iter_mut().zip(tokens) {
        let probabilities = numerics::softmax(&row);
        row.assign(&-probabilities);
        row[token as usize] += 1.0;
    }
    Ok((residual.dot(lm_head), residual.t().dot(hidden)))
}

/// log π(y | x, z = k) for every code k, each code alone: h_z = e_k.
///
/// Source: the Δ_k of (6). Twin: `tensor::logprob::code_logps`.
///
/// Shapes: hidden [T, d], lm_head [V, d], codebook [K, d] → [K]. Units: nats.
///
/// Errors: as [`token_logps`], and a codebook of another width.
pub fn code_logps(
    hidden: &ArrayRef2<f64>,
    lm_head: &ArrayRef2<f64>,
    codebook: &ArrayRef2<f64>,
    tokens: &[u32],
) -> Result<Array1<f64>> {
    codebook
        .outer_iter()
        .map(|code| completion_logps_sum(&add_latent(hidden, &code)?, lm_head, tokens))
        .collect()
}

/// ∂ Σ_k upstream_k · [`code_logps`]_k / ∂ (hidden, lm_head, codebook).
///
/// Shapes: upstream [K] → ([T, d], [V, d], [K, d]). Errors: as [`code_logps`].
pub fn code_logps_gradient(
    hidden: &ArrayRef2<f64>,
    lm_head: &ArrayRef2<f64>,
    codebook: &ArrayRef2<f64>,
    tokens: &[u32],
    upstream: &ArrayRef1<f64>,
) -> Result<(Array2<f64>, Array2<f64>, Array2<f64>)> {
    check::shape("code_logps_gradient", "upstream", upstream, &[codebook.nrows()])?;
    let mut gradients =
        (Array2::zeros(hidden.dim()), Array2::zeros(lm_head.dim()), Array2::zeros(codebook.dim()));
    for (k, code) in codebook.outer_iter().enumerate() {
        let (hidden_k, lm_head_k) =
            completion_logps_sum_gradient(&add_latent(hidden, &code)?, lm_head, tokens)?;
        gradients.0.scaled_add(upstream[k], &hidden_k);
        gradients.1.scaled_add(upstream[k], &lm_head_k);
        gradients.2.row_mut(k).scaled_add(upstream[k], &hidden_k.sum_axis(Axis(0)));
    }
    Ok(gradients)
}

fn check_completion(
    op: &'static str,
    hidden: &ArrayRef2<f64>,
    lm_head: &ArrayRef2<f64>,
    tokens: &[u32],
) -> Result<()> {
    check::not_empty(op, "tokens", tokens.len())?;
    check::shape(op, "hidden", hidden, &[tokens.len(), lm_head.ncols()])?;
    check::all_finite(op, "hidden", hidden)?;
    check::all_finite(op, "lm_head", lm_head)?;
    match tokens.iter().find(|&&token| token as usize >= lm_head.nrows()) {
        None => Ok(()),
        Some(token) => Err(Error::argument(op, "tokens", token, format!("below {}", lm_head.nrows()))),
    }
}
