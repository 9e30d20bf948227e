//! Identity Preference Optimization, (13).

use super::require_positive;
use crate::Result;
use candle_core::Tensor;

/// (Δ − 1/(2τ))², Δ from summed log-probabilities (TRL averages them; OpenRLHF sums, as here).
///
/// Source: (13). Twin: `spec::objective::ipo_loss`. Shapes: margin [B] → [B]. Units: nats².
/// Errors: τ not finite and > 0.
/// Numerics: a square, so its gradient grows with |Δ| without bound. A heuristic under a latent:
/// not of the form −log p.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let loss = lpc::tensor::objective::ipo_loss(0.5, &Tensor::new(&[3f64, 1.0], &Cpu)?)?;
/// assert_eq!(loss.to_vec1::<f64>()?, [4.0, 0.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn ipo_loss(ipo_tau: f64, margin: &Tensor) -> Result<Tensor> {
    require_positive("ipo_loss", "ipo_tau", ipo_tau)?;
    Ok((margin - 0.5 / ipo_tau)?.sqr()?)
}
