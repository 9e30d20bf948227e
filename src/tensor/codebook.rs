//! The codebook's convex combinations, (11).

use crate::{Error, Result};
use candle_core::Tensor;

/// (1−α)·g^q + α·g^p: weights of the codes in h_z.
///
/// Source: (11). Twin: `spec::codebook::mix_codes`.
/// Shapes: both samples [B, K] → [B, K], rows on the simplex.
/// Errors: α outside [0, 1]; samples of different shapes.
/// Numerics: exactly the posterior's sample at α = 0 and the prior's at α = 1.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (prior, posterior) = (Tensor::new(&[[1f64, 0.0]], &Cpu)?, Tensor::new(&[[0f64, 1.0]], &Cpu)?);
/// let mixed = lpc::tensor::codebook::mix_codes(&prior, &posterior, 0.25)?;
/// assert_eq!(mixed.to_vec2::<f64>()?, [[0.25, 0.75]]);
/// # Ok::<(), lpc::Error>(())
/// ```
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
/// Errors: as many weights as codes are needed.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let codebook = Tensor::new(&[[4f64, 0.0], [0.0, 8.0]], &Cpu)?;
/// let h_z = lpc::tensor::codebook::latent(&Tensor::new(&[[0.25, 0.75]], &Cpu)?, &codebook)?;
/// assert_eq!(h_z.to_vec2::<f64>()?, [[1.0, 6.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn latent(code_weights: &Tensor, codebook: &Tensor) -> Result<Tensor> {
    Ok(code_weights.matmul(codebook)?)
}

/// h_z = Σ_i weight_i v_i, the weights of any sign.
///
/// Source: ours. Twin: `spec::codebook::linear_latent`.
/// Shapes: weights [B, n], vectors [n, d] → [B, d].
/// Errors: as many weights as vectors are needed.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let vectors = Tensor::new(&[[4f64, 0.0], [1.0, 8.0]], &Cpu)?;
/// let h_z = lpc::tensor::codebook::linear_latent(&Tensor::new(&[[-0.5, 3.0]], &Cpu)?, &vectors)?;
/// assert_eq!(h_z.to_vec2::<f64>()?, [[1.0, 24.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn linear_latent(weights: &Tensor, vectors: &Tensor) -> Result<Tensor> {
    Ok(weights.matmul(vectors)?)
}
