//! What LPC claims to optimise, by enumeration over the codes: (6), for any loss of a code.
//!
//! Everything here is a function of the codes' own losses ℓ_k. What it means depends on them:
//!
//! - ℓ_k = −log σ(β·Δ_k), DPO: e^−ℓ_k = σ(β·Δ_k), and [`marginal_loss`] is (6) as printed, the
//!   negative log-likelihood of the preference with the code summed out.
//! - SimPO: e^−ℓ_k = σ(margin_k), of (12). With γ ≠ 0 the two labels' sum is not 1: no likelihood.
//! - IPO and the other members of GPO: e^−ℓ_k is a Gibbs weight. −log Σ_k p_k e^−ℓ_k is a free
//!   energy: the least value of E_q ℓ + KL(q ‖ p) over all q (Gibbs' variational principle), which
//!   is (7) with λ = 1. So (7) still bounds it, with the same gap; it only bounds no likelihood.
//!
//! K is small and a code shifts only the vocabulary scores, so nothing here needs sampling.

use super::{check, latent, numerics};
use crate::error::Result;
use ndarray::{Array1, ArrayRef1};

/// −log Σ_k p(k|x) e^−ℓ_k.
///
/// Source: (6), with σ(β·Δ_k) = e^−ℓ_k. Twin: `tensor::marginal::marginal_loss`.
///
/// Shapes: prior_logits [K], code_losses [K] (the objective at each code alone; the reference never
/// sees a code) → scalar. Units: nats for the losses of (5) and (12).
///
/// Errors: mismatched vectors; a value that is not finite.
///
/// ```
/// use lpc::spec::marginal::marginal_loss;
/// use ndarray::array;
/// // One code is right, one is wrong, the prior cannot tell: the pair is a coin toss.
/// let loss = marginal_loss(&array![0.0, 0.0], &array![0.0, 1e4])?;
/// assert_eq!(loss, std::f64::consts::LN_2);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn marginal_loss(prior_logits: &ArrayRef1<f64>, code_losses: &ArrayRef1<f64>) -> Result<f64> {
    Ok(-numerics::logsumexp(&log_joint("marginal_loss", prior_logits, code_losses)?))
}

/// ∂ [`marginal_loss`] / ∂ (prior_logits, code_losses): p − p*, and p* itself, the true posterior.
/// A code learns from a pair in proportion to how well it explains it.
///
/// Shapes: → ([K], [K]). Errors: as [`marginal_loss`].
pub fn marginal_gradient(
    prior_logits: &ArrayRef1<f64>,
    code_losses: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    let posterior = numerics::softmax(&log_joint("marginal_gradient", prior_logits, code_losses)?);
    Ok((numerics::softmax(prior_logits) - &posterior, posterior))
}

/// log p(z = k | x, y_w ≻ y_l) = log p_k − ℓ_k + [`marginal_loss`]: what q of (8) approximates. For
/// losses that are no likelihood, the Gibbs posterior.
///
/// Source: Bayes' rule on (6). Twin: `tensor::marginal::true_posterior_logps`.
///
/// Shapes: [K], [K] → [K], normalised. Errors: as [`marginal_loss`].
pub fn true_posterior_logps(
    prior_logits: &ArrayRef1<f64>,
    code_losses: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    Ok(numerics::log_softmax(&log_joint("true_posterior_logps", prior_logits, code_losses)?))
}

/// KL(q ‖ p*), p* ∝ p ⊙ e^−ℓ: by how much (7) with λ = 1 lies above [`marginal_loss`], for any
/// losses. Zero only for the true posterior.
///
/// Source: (7), (14). Twin: `tensor::marginal::bound_gap`.
///
/// Shapes: posterior_logits [K], prior_logits [K], code_losses [K] → scalar. Units: nats.
///
/// Errors: as [`marginal_loss`].
pub fn bound_gap(
    posterior_logits: &ArrayRef1<f64>,
    prior_logits: &ArrayRef1<f64>,
    code_losses: &ArrayRef1<f64>,
) -> Result<f64> {
    latent::kl_divergence(posterior_logits, &true_posterior_logps(prior_logits, code_losses)?)
}

/// log p_k − ℓ_k.
fn log_joint(
    op: &'static str,
    prior_logits: &ArrayRef1<f64>,
    code_losses: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    check::vector(op, "prior_logits", prior_logits)?;
    check::shape(op, "code_losses", code_losses, prior_logits.shape())?;
    check::all_finite(op, "code_losses", code_losses)?;
    Ok(numerics::log_softmax(prior_logits) - code_losses)
}
