//! Generalized Preference Optimization (Tang et al. 2024): one function f of x = β·Δ.

use crate::config::Gpo;
use crate::error::{Error, Result};
use crate::spec::{check, numerics};

/// f(β·Δ).
///
/// Source: Tang et al. 2024, Table 1. Twin: `tensor::objective::gpo_loss`.
///
/// Units: `margin` in nats, from summed log-probabilities.
///
/// Errors: `beta` not finite and > 0; `margin` not finite; a value beyond f64, which only the
/// exponential loss has (β·Δ < −709): an error rather than a silent clamp.
///
/// ```
/// use lpc::{config::Gpo, spec::objective::gpo_loss};
/// assert_eq!(gpo_loss(Gpo::Hinge, 0.5, 1.0)?, 0.5);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gpo_loss(member: Gpo, beta: f64, margin: f64) -> Result<f64> {
    let x = scaled_margin("gpo_loss", member, beta, margin)?;
    Ok(match member {
        Gpo::Logistic => -numerics::log_sigmoid(x),
        Gpo::Squared => (x - 1.0).powi(2),
        Gpo::Hinge => (1.0 - x).max(0.0),
        Gpo::Exponential => (-x).exp(),
        Gpo::TruncatedSquared => (1.0 - x).max(0.0).powi(2),
        Gpo::Savage => numerics::sigmoid(-x).powi(2),
    })
}

/// ∂ [`gpo_loss`] / ∂margin = β f′(β·Δ). At the hinge's corner x = 1 the subgradient is 0.
///
/// Twin: `tensor::objective::gpo_loss` under autograd. Errors: as [`gpo_loss`].
pub fn gpo_gradient(member: Gpo, beta: f64, margin: f64) -> Result<f64> {
    let x = scaled_margin("gpo_gradient", member, beta, margin)?;
    let slope = match member {
        Gpo::Logistic => -numerics::sigmoid(-x),
        Gpo::Squared => 2.0 * (x - 1.0),
        Gpo::Hinge if x < 1.0 => -1.0,
        Gpo::Hinge => 0.0,
        Gpo::Exponential => -(-x).exp(),
        Gpo::TruncatedSquared => -2.0 * (1.0 - x).max(0.0),
        Gpo::Savage => -2.0 * numerics::sigmoid(-x).powi(2) * numerics::sigmoid(x),
    };
    Ok(beta * slope)
}

fn scaled_margin(op: &'static str, member: Gpo, beta: f64, margin: f64) -> Result<f64> {
    check::positive(op, "beta", beta)?;
    check::finite(op, "margin", margin)?;
    let x = beta * margin;
    let representable = member != Gpo::Exponential || (-x).exp().is_finite();
    if representable {
        Ok(x)
    } else {
        Err(Error::argument(op, "beta * margin", x, "at least -709 (e^-x overflows)"))
    }
}
