//! Simple Preference Optimization, (12).

use super::{PairLengths, PairLogps, require_positive};
use crate::tensor::numerics::log_sigmoid;
use crate::{Error, Result};
use candle_core::Tensor;

/// β·(mean token log-prob of chosen − of rejected) − γ, the argument of σ in (12).
///
/// No reference enters.
///
/// Source: (12). Twin: `spec::objective::simpo_margin`. Shapes: four [B] → [B].
/// Units: nats times β; γ in the same.
/// Errors: β not finite and > 0; γ not finite; shapes that differ.
/// Numerics: lengths are at least 1; 0 tokens give NaN or −∞.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::objective::{PairLengths, PairLogps, simpo_margin};
/// let one = |x: f64| Tensor::new(&[x], &Cpu);
/// let policy = PairLogps { chosen: one(-6.0)?, rejected: one(-4.0)? };
/// let lengths = PairLengths { chosen: one(3.0)?, rejected: one(1.0)? };
/// let margin = simpo_margin(2.0, 1.0, &policy, &lengths)?;
/// assert_eq!(margin.to_vec1::<f64>()?, [3.0]); // 2 · (−2 + 4) − 1
/// # Ok::<(), lpc::Error>(())
/// ```
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
/// Numerics: finite for every finite margin; gradient −σ(−margin).
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let loss = lpc::tensor::objective::simpo_loss(&Tensor::new(&[0f64, -1e4], &Cpu)?)?.to_vec1::<f64>()?;
/// assert!((loss[0] - 2f64.ln()).abs() < 1e-15 && loss[1] == 1e4);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn simpo_loss(margin: &Tensor) -> Result<Tensor> {
    Ok(log_sigmoid(margin)?.neg()?)
}
