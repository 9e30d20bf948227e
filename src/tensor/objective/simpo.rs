//! Simple Preference Optimization, (12).

use super::{PairLengths, PairLogps, require_positive};
use crate::tensor::numerics::log_sigmoid;
use crate::{Error, Result};
use candle_core::Tensor;

/// β·(mean token log-prob of chosen − of rejected) − γ, the argument of σ in (12).
///
/// Source: (12). Twin: `spec::objective::simpo_margin`. Shapes: four [B] → [B]. Units: nats.
/// Errors: β not finite and > 0, γ not finite. No reference enters.
pub fn simpo_margin(beta: f64, gamma: f64, policy: &PairLogps, lengths: &PairLengths) -> Result<Tensor> {
    require_positive("simpo_margin", "beta", beta)?;
    if !gamma.is_finite() {
        return Err(Error::argument("simpo_margin", "gamma", gamma, "finite"));
    }
    let chosen = (&policy.chosen / &lengths.chosen)?;
    let rejected = (&policy.rejected / &lengths.rejected)?;
    Ok((((chosen - rejected)? * beta)? - gamma)?)
}

/// −log σ(margin), with the margin of [`simpo_margin`].
///
/// Source: (12). Twin: `spec::objective::simpo_loss`. Shapes: [B] → [B]. Units: nats.
pub fn simpo_loss(margin: &Tensor) -> Result<Tensor> {
    Ok(log_sigmoid(margin)?.neg()?)
}
