//! Identity Preference Optimization, (13).

use super::require_positive;
use crate::Result;
use candle_core::Tensor;

/// (Δ − 1/(2τ))², Δ from summed log-probabilities (TRL averages them; OpenRLHF sums, as here).
///
/// Source: (13). Twin: `spec::objective::ipo_loss`. Shapes: margin [B] → [B]. Units: nats².
/// Errors: τ not finite and > 0. A heuristic under a latent: not of the form −log p.
pub fn ipo_loss(ipo_tau: f64, margin: &Tensor) -> Result<Tensor> {
    require_positive("ipo_loss", "ipo_tau", ipo_tau)?;
    Ok((margin - 0.5 / ipo_tau)?.sqr()?)
}
