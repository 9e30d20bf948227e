//! Generalized Preference Optimization (Tang et al. 2024): one function f of x = β·Δ.

use crate::error::{Error, Result};
use crate::spec::{check, numerics};

/// The family's members. All but Savage are convex in x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpo {
    /// −log σ(x): DPO.
    Logistic,
    /// (x − 1)²: IPO at β = 2 τ_IPO, up to the factor β².
    Squared,
    /// max(0, 1 − x): SLiC.
    Hinge,
    /// e^−x.
    Exponential,
    /// max(0, 1 − x)².
    TruncatedSquared,
    /// 1 / (1 + e^x)² = σ(−x)²: bounded, hence not convex.
    Savage,
}

impl Gpo {
    pub const ALL: [Self; 6] =
        [Self::Logistic, Self::Squared, Self::Hinge, Self::Exponential, Self::TruncatedSquared, Self::Savage];
}

/// f(β·Δ).
///
/// Source: Tang et al. 2024, Table 1. Twin: none; recipes offer the paper's three.
///
/// Units: `margin` in nats, from summed log-probabilities.
///
/// Errors: `beta` not finite and > 0; `margin` not finite; a value beyond f64, which only the
/// exponential loss has (β·Δ < −709): an error rather than a silent clamp.
///
/// ```
/// use lpc::spec::objective::{Gpo, gpo_loss};
/// assert_eq!(gpo_loss(Gpo::Hinge, 0.5, 1.0)?, 0.5);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gpo_loss(family: Gpo, beta: f64, margin: f64) -> Result<f64> {
    let x = scaled_margin("gpo_loss", family, beta, margin)?;
    Ok(match family {
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
/// Errors: as [`gpo_loss`].
pub fn gpo_gradient(family: Gpo, beta: f64, margin: f64) -> Result<f64> {
    let x = scaled_margin("gpo_gradient", family, beta, margin)?;
    let slope = match family {
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

fn scaled_margin(op: &'static str, family: Gpo, beta: f64, margin: f64) -> Result<f64> {
    check::positive(op, "beta", beta)?;
    check::finite(op, "margin", margin)?;
    let x = beta * margin;
    let representable = family != Gpo::Exponential || (-x).exp().is_finite();
    if representable {
        Ok(x)
    } else {
        Err(Error::argument(op, "beta * margin", x, "at least -709 (e^-x overflows)"))
    }
}
