//! The likelihood of a preference with its code summed out, (6), and what Bayes' rule makes of it.

use crate::Result;
use crate::tensor::latent::kl_divergence;
use crate::tensor::numerics::{log_softmax, logsumexp};
use candle_core::Tensor;

/// −log Σ_k p_k e^−ℓ_k of each pair.
///
/// With ℓ_k = −log σ(β·Δ_k) this is (6). With SimPO's ℓ_k, e^−ℓ_k = σ(margin) is no likelihood of
/// the two labels unless γ = 0; with IPO's and most of GPO's it is a free energy that the bound
/// (7) at λ = 1 lies above all the same.
///
/// Source: (6). Twin: `spec::marginal::marginal_loss`.
/// Shapes: prior_logits [B, K], code_losses [B, K] → [B]. Units: nats.
/// Errors: shapes that differ.
/// Numerics: log-domain; finite for every finite input.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// // A fair prior over a certain win (ℓ = 0) and a certain loss (ℓ = 10⁴): a coin toss.
/// let (prior, losses) = (Tensor::new(&[[0f64, 0.0]], &Cpu)?, Tensor::new(&[[0f64, 1e4]], &Cpu)?);
/// let loss = lpc::tensor::marginal::marginal_loss(&prior, &losses)?.to_vec1::<f64>()?;
/// assert!((loss[0] - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn marginal_loss(prior_logits: &Tensor, code_losses: &Tensor) -> Result<Tensor> {
    Ok(logsumexp(&log_joint(prior_logits, code_losses)?)?.neg()?)
}

/// log p(z = k | x, y_w ≻ y_l): the posterior that q of (8) approximates.
///
/// Source: Bayes' rule on (6). Twin: `spec::marginal::true_posterior_logps`.
/// Shapes: two [B, K] → [B, K], rows normalised. Units: nats. Errors: shapes that differ.
/// Numerics: log-domain; a code ruled out stays finite.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// // Prior (1/2, 1/2), likelihoods (1/4, 3/4).
/// let losses = Tensor::new(&[[4f64.ln(), (4f64 / 3.0).ln()]], &Cpu)?;
/// let prior = Tensor::new(&[[0f64, 0.0]], &Cpu)?;
/// let posterior = lpc::tensor::marginal::true_posterior_logps(&prior, &losses)?.to_vec2::<f64>()?;
/// assert!((posterior[0][0].exp() - 0.25).abs() < 1e-15 && (posterior[0][1].exp() - 0.75).abs() < 1e-15);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn true_posterior_logps(prior_logits: &Tensor, code_losses: &Tensor) -> Result<Tensor> {
    log_softmax(&log_joint(prior_logits, code_losses)?)
}

/// KL(q ‖ p(z | x, y_w ≻ y_l)): by how much (7) with λ = 1 lies above (6).
///
/// Source: (7), (14). Twin: `spec::marginal::bound_gap`.
/// Shapes: three [B, K] → [B]. Units: nats. Errors: shapes that differ.
/// Numerics: those of [`kl_divergence`]: a gap far below the rounding of its terms may come out
/// as a tiny negative number.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let row = |a: f64, b: f64| Tensor::new(&[[a, b]], &Cpu);
/// // Likelihoods (1/4, 3/4) under a fair prior, and a q that ignores them.
/// let gap = lpc::tensor::marginal::bound_gap(&row(0.0, 0.0)?, &row(0.0, 0.0)?, &row(3f64.ln(), 0.0)?)?;
/// let expected = 0.5 * 2f64.ln() + 0.5 * (2f64 / 3.0).ln();
/// assert!((gap.to_vec1::<f64>()?[0] - expected).abs() < 1e-15);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn bound_gap(posterior_logits: &Tensor, prior_logits: &Tensor, code_losses: &Tensor) -> Result<Tensor> {
    kl_divergence(posterior_logits, &true_posterior_logps(prior_logits, code_losses)?)
}

/// log p_k − ℓ_k.
fn log_joint(prior_logits: &Tensor, code_losses: &Tensor) -> Result<Tensor> {
    Ok((log_softmax(prior_logits)? - code_losses)?)
}
