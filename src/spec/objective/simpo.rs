//! Simple Preference Optimization: (12). Length-normalised, without a reference.

use super::PairLogps;
use crate::error::{Error, Result};
use crate::spec::{check, numerics};

/// −log σ( (β/|y_w|) log π_θ(y_w|x) − (β/|y_l|) log π_θ(y_l|x) − γ ).
///
/// The implicit reward is a mean log-probability and not (4): no reference, no Z(x), and no
/// claim on the optimum of (1).
///
/// Source: (12). Twin: `tensor::objective::simpo_loss`.
///
/// Units: sums in nats; lengths in tokens; γ in the units of β times nats a token.
///
/// Errors: `beta` not finite and > 0; `gamma` or a sum not finite; an empty completion.
///
/// ```
/// use lpc::spec::objective::simpo_loss;
/// // Equal means tie, however long the completions are.
/// assert_eq!(simpo_loss(2.0, 0.0, -6.0, 3, -2.0, 1)?, std::f64::consts::LN_2);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn simpo_loss(
    beta: f64,
    gamma: f64,
    chosen_sum: f64,
    chosen_len: usize,
    rejected_sum: f64,
    rejected_len: usize,
) -> Result<f64> {
    check::positive("simpo_loss", "beta", beta)?;
    check::finite("simpo_loss", "gamma", gamma)?;
    let margin = mean_margin(chosen_sum, chosen_len, rejected_sum, rejected_len)?;
    Ok(-numerics::log_sigmoid(beta * margin - gamma))
}

/// ∂ [`simpo_loss`] / ∂ (chosen_sum, rejected_sum): −σ(γ − β·mean margin) · (β/|y_w|, −β/|y_l|).
///
/// Twin: `tensor::objective::simpo_loss` under autograd. Errors: as [`simpo_loss`].
pub fn simpo_gradient(
    beta: f64,
    gamma: f64,
    chosen_sum: f64,
    chosen_len: usize,
    rejected_sum: f64,
    rejected_len: usize,
) -> Result<PairLogps> {
    check::positive("simpo_gradient", "beta", beta)?;
    check::finite("simpo_gradient", "gamma", gamma)?;
    let margin = mean_margin(chosen_sum, chosen_len, rejected_sum, rejected_len)?;
    let slope = -beta * numerics::sigmoid(gamma - beta * margin);
    Ok(PairLogps { chosen: slope / chosen_len as f64, rejected: -slope / rejected_len as f64 })
}

/// log π_θ(y_w|x)/|y_w| − log π_θ(y_l|x)/|y_l|.
///
/// Source: (12). Twin: `tensor::objective::mean_margin`. Units: nats a token.
///
/// Errors: an empty completion; a sum that is not finite.
pub fn mean_margin(
    chosen_sum: f64,
    chosen_len: usize,
    rejected_sum: f64,
    rejected_len: usize,
) -> Result<f64> {
    let mean = |sum: f64, sum_name: &str, len: usize, len_name: &str| {
        check::finite("mean_margin", sum_name, sum)?;
        if len == 0 {
            return Err(Error::argument("mean_margin", len_name, len, "at least 1 token"));
        }
        Ok(sum / len as f64)
    };
    Ok(mean(chosen_sum, "chosen_sum", chosen_len, "chosen_len")?
        - mean(rejected_sum, "rejected_sum", rejected_len, "rejected_len")?)
}
