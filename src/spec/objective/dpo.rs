//! Direct Preference Optimization: (5).

use crate::error::Result;
use crate::spec::{check, numerics};

/// −log σ(β·Δ).
///
/// Source: (5), (2) at the implicit rewards (4). Twin: `tensor::objective::dpo_loss`.
///
/// Units: `margin` in nats, from summed log-probabilities.
///
/// Errors: `beta` not finite and > 0; `margin` not finite.
///
/// Numerics: exact to rounding for any finite β·Δ; linear in −Δ where the pair is badly wrong.
///
/// ```
/// use lpc::spec::objective::dpo_loss;
/// assert_eq!(dpo_loss(0.1, 0.0)?, std::f64::consts::LN_2);
/// let error = dpo_loss(-0.1, 0.0).unwrap_err();
/// assert_eq!(error.to_string(), "dpo_loss: beta = -0.1, expected finite and > 0");
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn dpo_loss(beta: f64, margin: f64) -> Result<f64> {
    check::positive("dpo_loss", "beta", beta)?;
    check::finite("dpo_loss", "margin", margin)?;
    Ok(-numerics::log_sigmoid(beta * margin))
}

/// ∂ [`dpo_loss`] / ∂margin = −β σ(−β·Δ).
///
/// Twin: `tensor::objective::dpo_loss` under autograd. Errors: as [`dpo_loss`].
pub fn dpo_gradient(beta: f64, margin: f64) -> Result<f64> {
    check::positive("dpo_gradient", "beta", beta)?;
    check::finite("dpo_gradient", "margin", margin)?;
    Ok(-beta * numerics::sigmoid(-beta * margin))
}
