//! The codebook's convex combinations, (11).

use crate::{Error, Result};
use candle_core::Tensor;

/// (1−α)·g^q + α·g^p: weights of the codes in h_z.
///
/// Source: (11). Twin: `spec::codebook::mix_codes`.
/// Shapes: both samples [B, K] → [B, K], rows on the simplex.
/// Errors: α outside [0, 1].
pub fn mix_codes(prior_sample: &Tensor, posterior_sample: &Tensor, prior_weight: f64) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&prior_weight) {
        return Err(Error::argument("mix_codes", "prior_weight", prior_weight, "in [0, 1]"));
    }
    Ok(((posterior_sample * (1.0 - prior_weight))? + (prior_sample * prior_weight)?)?)
}

/// h_z = Σ_k weight_k e_k.
///
/// Source: (11). Twin: `spec::codebook::latent`.
/// Shapes: code_weights [B, K], codebook [K, d] → [B, d].
pub fn latent(code_weights: &Tensor, codebook: &Tensor) -> Result<Tensor> {
    Ok(code_weights.matmul(codebook)?)
}
