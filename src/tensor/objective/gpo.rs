//! Generalized Preference Optimization (Tang et al. 2024).

use super::require_positive;
use crate::Result;
use crate::config::Gpo;
use crate::tensor::numerics::log_sigmoid;
use candle_core::Tensor;

/// f(β Δ) for the member's f: logistic log(1 + e^−x), squared (x − 1)², hinge max(0, 1 − x),
/// exponential e^−x, truncated squared max(0, 1 − x)², Savage 1/(1 + e^x)².
///
/// Source: Tang et al. 2024, Table 1. Twin: `spec::objective::gpo_loss`. Shapes: margin [B] → [B].
/// Units: margin in nats, from summed log-probabilities.
/// Errors: β not finite and > 0.
/// Numerics: finite for every finite β Δ, but for the exponential, which overflows to ∞ below
/// β Δ = −88 (f32; −709 in f64): `spec` refuses such a margin, training reports it as divergence. At
/// the corner of hinge and truncated squared, β Δ = 1, the gradient is 0.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::{config::Gpo, tensor::objective::gpo_loss};
/// let loss = gpo_loss(Gpo::Hinge, 0.5, &Tensor::new(&[1f64, 2.0, 1e4], &Cpu)?)?;
/// assert_eq!(loss.to_vec1::<f64>()?, [0.5, 0.0, 0.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gpo_loss(member: Gpo, beta: f64, margin: &Tensor) -> Result<Tensor> {
    require_positive("gpo_loss", "beta", beta)?;
    let x = (margin * beta)?;
    Ok(match member {
        Gpo::Logistic => log_sigmoid(&x)?.neg()?,
        Gpo::Squared => (x - 1.0)?.sqr()?,
        Gpo::Hinge => shortfall(&x)?,
        Gpo::Exponential => x.neg()?.exp()?,
        Gpo::TruncatedSquared => shortfall(&x)?.sqr()?,
        Gpo::Savage => (log_sigmoid(&x.neg()?)? * 2.0)?.exp()?,
    })
}

/// max(0, 1 − x). Not candle's relu, whose gradient at 0 is 1.
fn shortfall(x: &Tensor) -> Result<Tensor> {
    let below = x.lt(1.0)?;
    Ok(below.where_cond(&x.affine(-1.0, 1.0)?, &x.zeros_like()?)?)
}
