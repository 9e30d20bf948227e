//! From two samples over the codes to the latent vector h_z: (11).

use super::{check, numerics};
use crate::error::Result;
use ndarray::{Array1, Array2, ArrayRef1, ArrayRef2};

/// (1 − α)·g^q + α·g^p: at α = 0 the posterior's sample, at α = 1 the prior's.
///
/// Source: (11). Twin: `tensor::codebook::mix_codes`.
///
/// Shapes: prior_sample [K], posterior_sample [K] → code_weights [K].
///
/// Errors: samples that are not distributions over the same codes; α outside [0, 1].
///
/// ```
/// use lpc::spec::codebook::mix_codes;
/// use ndarray::array;
/// let (prior, posterior) = (array![1.0, 0.0], array![0.0, 1.0]);
/// assert_eq!(mix_codes(&prior, &posterior, 0.25)?, array![0.25, 0.75]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn mix_codes(
    prior_sample: &ArrayRef1<f64>,
    posterior_sample: &ArrayRef1<f64>,
    prior_weight: f64,
) -> Result<Array1<f64>> {
    check::fraction("mix_codes", "prior_weight", prior_weight)?;
    check::distribution("mix_codes", "prior_sample", prior_sample)?;
    check::distribution("mix_codes", "posterior_sample", posterior_sample)?;
    check::shape("mix_codes", "posterior_sample", posterior_sample, prior_sample.shape())?;
    Ok(prior_sample * prior_weight + posterior_sample * (1.0 - prior_weight))
}

/// ∂ [`mix_codes`] / ∂ (prior_sample, posterior_sample): (α·upstream, (1 − α)·upstream).
///
/// Twin: `tensor::codebook::mix_codes` under autograd.
///
/// Shapes: upstream [K] → ([K], [K]). Errors: α outside [0, 1].
pub fn mix_codes_gradient(
    prior_weight: f64,
    upstream: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    check::fraction("mix_codes_gradient", "prior_weight", prior_weight)?;
    Ok((upstream * prior_weight, upstream * (1.0 - prior_weight)))
}

/// h_z = Σ_k code_weights_k · e_k.
///
/// Source: (11). Twin: `tensor::codebook::latent`.
///
/// Shapes: code_weights [K], codebook [K, d] → [d].
///
/// Errors: one weight a code is needed, and the weights must be a distribution.
pub fn latent(code_weights: &ArrayRef1<f64>, codebook: &ArrayRef2<f64>) -> Result<Array1<f64>> {
    check::distribution("latent", "code_weights", code_weights)?;
    check::shape("latent", "code_weights", code_weights, &[codebook.nrows()])?;
    check::all_finite("latent", "codebook", codebook)?;
    Ok(code_weights.dot(codebook))
}

/// h_z = Σ_i weights_i · v_i for weights of any sign: [`latent`] where they are no distribution.
///
/// Source: ours. Twin: `tensor::codebook::linear_latent`.
///
/// Shapes: weights [n], vectors [n, d] → [d].
///
/// Errors: one weight a vector is needed; a value that is not finite.
///
/// ```
/// use lpc::spec::codebook::linear_latent;
/// use ndarray::array;
/// assert_eq!(linear_latent(&array![2.0, -1.0], &array![[1.0, 0.0], [0.5, 4.0]])?, array![1.5, -4.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn linear_latent(weights: &ArrayRef1<f64>, vectors: &ArrayRef2<f64>) -> Result<Array1<f64>> {
    check::vector("linear_latent", "weights", weights)?;
    check::shape("linear_latent", "weights", weights, &[vectors.nrows()])?;
    check::all_finite("linear_latent", "vectors", vectors)?;
    Ok(weights.dot(vectors))
}

/// ∂ [`linear_latent`] / ∂ (weights, vectors): (vectors · upstream, weights ⊗ upstream).
///
/// Twin: `tensor::codebook::linear_latent` under autograd.
///
/// Shapes: upstream [d] → ([n], [n, d]). Errors: mismatched shapes.
pub fn linear_latent_gradient(
    weights: &ArrayRef1<f64>,
    vectors: &ArrayRef2<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array2<f64>)> {
    check::shape("linear_latent_gradient", "vectors", vectors, &[weights.len(), upstream.len()])?;
    Ok((vectors.dot(upstream), numerics::outer(weights, upstream)))
}

/// ∂ [`latent`] / ∂ (code_weights, codebook): (codebook · upstream, code_weights ⊗ upstream).
///
/// Twin: `tensor::codebook::latent` under autograd.
///
/// Shapes: upstream [d] → ([K], [K, d]). Errors: mismatched shapes.
pub fn latent_gradient(
    code_weights: &ArrayRef1<f64>,
    codebook: &ArrayRef2<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array2<f64>)> {
    check::shape("latent_gradient", "codebook", codebook, &[code_weights.len(), upstream.len()])?;
    Ok((codebook.dot(upstream), numerics::outer(code_weights, upstream)))
}
