//! Simple Preference Optimization: (12). Length-normalised, without a reference.

use super::{PairLengths, PairLogps};
use crate::error::{Error, Result};
use crate::spec::{check, numerics};

/// (β/|y_w|) log π_θ(y_w|x) − (β/|y_l|) log π_θ(y_l|x) − γ: the whole argument of σ in (12).
///
/// Source: (12). Twin: `tensor::objective::simpo_margin`.
///
/// Units: β times nats a token, and γ is in the same.
///
/// Errors: `beta` not finite and > 0; `gamma` or a sum not finite; an empty completion.
pub fn simpo_margin(beta: f64, gamma: f64, policy: PairLogps, lengths: PairLengths) -> Result<f64> {
    check::positive("simpo_margin", "beta", beta)?;
    check::finite("simpo_margin", "gamma", gamma)?;
    let mean = mean_logps("simpo_margin", policy, lengths)?;
    Ok(beta * (mean.chosen - mean.rejected) - gamma)
}

/// −log σ(margin), with the margin of [`simpo_margin`].
///
/// The implicit reward is a mean log-probability and not (4): no reference, no Z(x), and no
/// claim on the optimum of (1).
///
/// Source: (12). Twin: `tensor::objective::simpo_loss`.
///
/// Units: nats. Errors: `margin` not finite.
///
/// ```
/// use lpc::spec::objective::{PairLengths, PairLogps, simpo_loss, simpo_margin};
/// // Equal means tie, however long the completions are.
/// let policy = PairLogps { chosen: -6.0, rejected: -2.0 };
/// let margin = simpo_margin(2.0, 0.0, policy, PairLengths { chosen: 3, rejected: 1 })?;
/// assert_eq!(simpo_loss(margin)?, std::f64::consts::LN_2);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn simpo_loss(margin: f64) -> Result<f64> {
    check::finite("simpo_loss", "margin", margin)?;
    Ok(-numerics::log_sigmoid(margin))
}

/// ∂ [`simpo_loss`] / ∂ (summed log-probabilities), through [`simpo_margin`]:
/// −σ(−margin) · (β/|y_w|, −β/|y_l|).
///
/// Twin: `tensor::objective::simpo_loss` under autograd. Errors: as [`simpo_margin`].
pub fn simpo_gradient(beta: f64, gamma: f64, policy: PairLogps, lengths: PairLengths) -> Result<PairLogps> {
    let slope = -beta * numerics::sigmoid(-simpo_margin(beta, gamma, policy, lengths)?);
    Ok(PairLogps { chosen: slope / lengths.chosen as f64, rejected: -slope / lengths.rejected as f64 })
}

/// log π_θ(y|x)/|y| of both completions.
pub(super) fn mean_logps(op: &'static str, policy: PairLogps, lengths: PairLengths) -> Result<PairLogps> {
    let mean = |side: &str, sum: f64, len: usize| {
        check::finite(op, &format!("policy.{side}"), sum)?;
        if len == 0 {
            return Err(Error::argument(op, format!("lengths.{side}"), len, "at least 1 token"));
        }
        Ok(sum / len as f64)
    };
    Ok(PairLogps {
        chosen: mean("chosen", policy.chosen, lengths.chosen)?,
        rejected: mean("rejected", policy.rejected, lengths.rejected)?,
    })
}
