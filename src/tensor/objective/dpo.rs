//! Direct Preference Optimization, (5).

use super::require_positive;
use crate::Result;
use crate::tensor::numerics::log_sigmoid;
use candle_core::Tensor;

/// −log σ(β Δ).
///
/// Source: (5). Twin: `spec::objective::dpo_loss`. Shapes: margin [B] → [B]. Units: nats.
/// Errors: β not finite and > 0.
/// Numerics: finite for every finite β Δ; gradient −β σ(−β Δ).
///
/// ```
/// use candle_core::{Device, Tensor};
/// let loss = lpc::tensor::objective::dpo_loss(0.1, &Tensor::new(&[0f64], &Device::Cpu)?)?;
/// assert!((loss.to_vec1::<f64>()?[0] - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn dpo_loss(beta: f64, margin: &Tensor) -> Result<Tensor> {
    require_positive("dpo_loss", "beta", beta)?;
    Ok(log_sigmoid(&(margin * beta)?)?.neg()?)
}
