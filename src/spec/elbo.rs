//! The evidence bound on (6): (7), and its analogues (12) and (13).

use super::{check, latent, numerics};
use crate::error::Result;
use ndarray::{Array1, ArrayRef1};

/// One sample's estimate: objective + λ·KL(q ‖ p).
///
/// With DPO and a discrete sample from q its mean is (7). Training puts a relaxed sample here, and
/// as α → 1 the prior's: then it estimates neither (6) nor (7).
///
/// Source: (7), (12), (13). Twin: `tensor::elbo::negative_elbo_sampled`. Units: nats.
///
/// Errors: `kl_weight` not finite and ≥ 0; a loss or KL that is not finite.
pub fn negative_elbo_sampled(objective_loss: f64, kl: f64, kl_weight: f64) -> Result<f64> {
    check::at_least_0("negative_elbo_sampled", "kl_weight", kl_weight)?;
    check::finite("negative_elbo_sampled", "objective_loss", objective_loss)?;
    check::finite("negative_elbo_sampled", "kl", kl)?;
    Ok(objective_loss + kl_weight * kl)
}

/// Σ_k q_k·ℓ_k + λ·KL(q ‖ p): (7) with its expectation taken exactly.
///
/// For λ = 1 it is at least [`super::marginal::marginal_loss`] and exceeds it by
/// [`super::marginal::bound_gap`], whatever the losses; for ℓ_k = −log σ(β·Δ_k) that is (6). For
/// λ < 1, the paper's 0.05 among them, it bounds nothing.
///
/// Source: (7), (12), (13). Twin: `tensor::elbo::negative_elbo_exact`.
///
/// Shapes: code_losses [K] (the objective at each code alone), posterior_logits [K],
/// prior_logits [K] → scalar. Units: nats.
///
/// Errors: mismatched vectors; `kl_weight` not finite and ≥ 0; a value that is not finite.
///
/// ```
/// use lpc::spec::elbo::negative_elbo_exact;
/// use ndarray::array;
/// let (uniform, losses) = (array![0.0, 0.0], array![1.0, 3.0]);
/// assert_eq!(negative_elbo_exact(&losses, &uniform, &uniform, 1.0)?, 2.0);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn negative_elbo_exact(
    code_losses: &ArrayRef1<f64>,
    posterior_logits: &ArrayRef1<f64>,
    prior_logits: &ArrayRef1<f64>,
    kl_weight: f64,
) -> Result<f64> {
    let kl = latent::kl_divergence(posterior_logits, prior_logits)?;
    let expected = expected_loss("negative_elbo_exact", code_losses, posterior_logits)?;
    negative_elbo_sampled(expected, kl, kl_weight)
}

/// ∂ [`negative_elbo_exact`] / ∂ (code_losses, posterior_logits, prior_logits):
/// q, then q ⊙ (ℓ − E_q ℓ) + λ ∂KL/∂q, then λ (p − q).
///
/// Shapes: → ([K], [K], [K]). Errors: as [`negative_elbo_exact`].
pub fn negative_elbo_exact_gradient(
    code_losses: &ArrayRef1<f64>,
    posterior_logits: &ArrayRef1<f64>,
    prior_logits: &ArrayRef1<f64>,
    kl_weight: f64,
) -> Result<(Array1<f64>, Array1<f64>, Array1<f64>)> {
    let op = "negative_elbo_exact_gradient";
    check::at_least_0(op, "kl_weight", kl_weight)?;
    let expected = expected_loss(op, code_losses, posterior_logits)?;
    let (kl_posterior, kl_prior) = latent::kl_divergence_gradient(posterior_logits, prior_logits)?;
    let q = numerics::softmax(posterior_logits);
    let posterior = &q * &(code_losses - expected) + kl_weight * kl_posterior;
    Ok((q, posterior, kl_weight * kl_prior))
}

fn expected_loss(
    op: &'static str,
    code_losses: &ArrayRef1<f64>,
    posterior_logits: &ArrayRef1<f64>,
) -> Result<f64> {
    check::vector(op, "code_losses", code_losses)?;
    check::shape(op, "code_losses", code_losses, posterior_logits.shape())?;
    check::vector(op, "posterior_logits", posterior_logits)?;
    Ok(numerics::softmax(posterior_logits).dot(code_losses))
}
