//! Relaxed categorical samples (Jang et al. 2017), §3.3. Noise is an argument.

use crate::tensor::numerics::{log_softmax, softmax};
use crate::{Error, Result};
use candle_core::Tensor;

/// A relaxed sample g = softmax((log p + noise)/τ) of the categorical with these logits.
///
/// Source: (11). Twin: `spec::gumbel::gumbel_softmax`.
/// Shapes: logits [B, K], noise [B, K] → [B, K], rows on the simplex.
/// Errors: τ not finite and > 0; shapes that differ.
/// Numerics: log-domain; candle-nn's `gumbel_softmax` is no substitute (it returns an argmax
/// of clipped noise).
///
/// ```
/// use candle_core::{Device, Tensor};
/// let (logits, noise) = (Tensor::new(&[[0f64, 1.0]], &Device::Cpu)?, Tensor::new(&[[0.3, -0.7f64]], &Device::Cpu)?);
/// let g = lpc::tensor::gumbel::gumbel_softmax(&logits, &noise, 1.0)?.to_vec2::<f64>()?;
/// assert!((g[0][0] - 0.5).abs() < 1e-12); // the noise cancels the logits exactly
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gumbel_softmax(logits: &Tensor, noise: &Tensor, gumbel_tau: f64) -> Result<Tensor> {
    if !(gumbel_tau.is_finite() && gumbel_tau > 0.0) {
        return Err(Error::argument("gumbel_softmax", "gumbel_tau", gumbel_tau, "finite and > 0"));
    }
    softmax(&((log_softmax(logits)? + noise)? / gumbel_tau)?)
}
