//! The likelihood that LPC claims to optimise, by enumeration over the codes: (6).
//!
//! K is small and a code shifts only the vocabulary scores, so nothing here needs sampling.

use super::{check, latent, numerics};
use crate::error::Result;
use ndarray::{Array1, ArrayRef1};

/// −log Σ_k p(k|x) σ(β·Δ_k): the negative log-likelihood of the preference, the code summed out.
///
/// Source: (6). Twin: none; training samples one h_z.
///
/// Shapes: prior_logits [K], margins [K] (Δ_k, from `code_logps`; the reference never sees a
/// code) → scalar. Units: nats.
///
/// Errors: `beta` not finite and > 0; mismatched vectors; a value that is not finite.
///
/// ```
/// use lpc::spec::marginal::marginal_loss;
/// use ndarray::array;
/// // One code is right, one is wrong, the prior cannot tell: the pair is a coin toss.
/// let loss = marginal_loss(1.0, &array![0.0, 0.0], &array![1e4, -1e4])?;
/// assert_eq!(loss, std::f64::consts::LN_2);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn marginal_loss(beta: f64, prior_logits: &ArrayRef1<f64>, margins: &ArrayRef1<f64>) -> Result<f64> {
    Ok(-numerics::logsumexp(&log_joint("marginal_loss", beta, prior_logits, margins)?))
}

/// ∂ [`marginal_loss`] / ∂ (prior_logits, margins): p − p*, and −β p* ⊙ σ(−β·Δ) with p* the true
/// posterior. A code learns from a pair in proportion to how well it explains it.
///
/// Shapes: → ([K], [K]). Errors: as [`marginal_loss`].
pub fn marginal_gradient(
    beta: f64,
    prior_logits: &ArrayRef1<f64>,
    margins: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    let posterior = numerics::softmax(&log_joint("marginal_gradient", beta, prior_logits, margins)?);
    let prior = numerics::softmax(prior_logits) - &posterior;
    Ok((prior, -beta * posterior * margins.mapv(|m| numerics::sigmoid(-beta * m))))
}

/// log p(z = k | x, y_w ≻ y_l) = log p_k + log σ(β·Δ_k) + [`marginal_loss`]: what q of (8) approximates.
///
/// Source: Bayes' rule on (6). Twin: none, as for [`marginal_loss`].
///
/// Shapes: [K], [K] → [K], normalised. Errors: as [`marginal_loss`].
pub fn true_posterior_logps(
    beta: f64,
    prior_logits: &ArrayRef1<f64>,
    margins: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    Ok(numerics::log_softmax(&log_joint("true_posterior_logps", beta, prior_logits, margins)?))
}

/// KL(q ‖ p(z | x, y_w ≻ y_l)): by how much (7) with λ = 1 lies above (6). Zero only for the true
/// posterior.
///
/// Source: (7), (14). Twin: none, as for [`marginal_loss`].
///
/// Shapes: posterior_logits [K], prior_logits [K], margins [K] → scalar. Units: nats.
///
/// Errors: as [`marginal_loss`].
pub fn bound_gap(
    beta: f64,
    posterior_logits: &ArrayRef1<f64>,
    prior_logits: &ArrayRef1<f64>,
    margins: &ArrayRef1<f64>,
) -> Result<f64> {
    latent::kl_divergence(posterior_logits, &true_posterior_logps(beta, prior_logits, margins)?)
}

/// log p_k + log σ(β·Δ_k).
fn log_joint(
    op: &'static str,
    beta: f64,
    prior_logits: &ArrayRef1<f64>,
    margins: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    check::positive(op, "beta", beta)?;
    check::vector(op, "prior_logits", prior_logits)?;
    check::shape(op, "margins", margins, prior_logits.shape())?;
    check::all_finite(op, "margins", margins)?;
    Ok(numerics::log_softmax(prior_logits) + margins.mapv(|m| numerics::log_sigmoid(beta * m)))
}
