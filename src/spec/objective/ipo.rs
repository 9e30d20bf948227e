//! Identity Preference Optimization: (13).

use crate::error::Result;
use crate::spec::check;

/// (Δ − 1/(2 τ_IPO))²: regresses the margin on a finite target, so a won pair stops pulling.
///
/// Not of the form −log p: with a latent code (13) is a heuristic, and no bound on a likelihood.
///
/// Source: (13). Twin: `tensor::objective::ipo_loss`.
///
/// Units: `margin` in nats from **summed** log-probabilities, as OpenRLHF has it and the
/// original code; TRL averages over tokens, which changes what `ipo_tau` means.
///
/// Errors: `ipo_tau` not finite and > 0; `margin` not finite.
pub fn ipo_loss(ipo_tau: f64, margin: f64) -> Result<f64> {
    Ok(distance("ipo_loss", ipo_tau, margin)?.powi(2))
}

/// ∂ [`ipo_loss`] / ∂margin = 2 (Δ − 1/(2 τ_IPO)).
///
/// Twin: `tensor::objective::ipo_loss` under autograd. Errors: as [`ipo_loss`].
pub fn ipo_gradient(ipo_tau: f64, margin: f64) -> Result<f64> {
    Ok(2.0 * distance("ipo_gradient", ipo_tau, margin)?)
}

fn distance(op: &'static str, ipo_tau: f64, margin: f64) -> Result<f64> {
    check::positive(op, "ipo_tau", ipo_tau)?;
    check::finite(op, "margin", margin)?;
    Ok(margin - 1.0 / (2.0 * ipo_tau))
}
