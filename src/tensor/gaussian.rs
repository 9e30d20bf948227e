//! Diagonal Gaussians where LPC has categoricals: a continuous latent to compare with. Ours.
//!
//! Means and log standard deviations come out of the networks of (8) and (9), side by side.

use crate::tensor::codebook::linear_latent;
use crate::tensor::elbo::SampleNoise;
use crate::{Error, Result};
use candle_core::{D, Tensor};

/// μ and log σ, the two halves of a network's outputs.
///
/// Source: ours. Twin: `spec::gaussian::mean_and_log_std`.
/// Shapes: outputs [B, 2D] → [B, D] each. Units: log σ in nats.
/// Errors: an odd number of outputs.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let outputs = Tensor::new(&[[1f64, 2.0, 3.0, 4.0]], &Cpu)?;
/// let (mean, log_std) = lpc::tensor::gaussian::mean_and_log_std(&outputs)?;
/// assert_eq!(mean.to_vec2::<f64>()?, [[1.0, 2.0]]);
/// assert_eq!(log_std.to_vec2::<f64>()?, [[3.0, 4.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn mean_and_log_std(outputs: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = outputs.dim(D::Minus1)?;
    if n % 2 != 0 {
        return Err(Error::argument("mean_and_log_std", "outputs", n, "as many log σ as means"));
    }
    Ok((outputs.narrow(D::Minus1, 0, n / 2)?, outputs.narrow(D::Minus1, n / 2, n / 2)?))
}

/// z = μ + σ·noise, noise standard normal.
///
/// Source: ours, in the place of (11)'s g. Twin: `spec::gaussian::gaussian_sample`.
/// Shapes: outputs [B, 2D], noise [B, D] → [B, D].
/// Errors: shapes that do not fit.
/// Numerics: e^(log σ) leaves f32 above 88: training then stops as diverged.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::gaussian::gaussian_sample;
/// let z = gaussian_sample(&Tensor::new(&[[1f64, 2f64.ln()]], &Cpu)?, &Tensor::new(&[[-3f64]], &Cpu)?)?;
/// assert!((z.to_vec2::<f64>()?[0][0] + 5.0).abs() < 1e-15); // 1 − 2·3
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gaussian_sample(outputs: &Tensor, noise: &Tensor) -> Result<Tensor> {
    let (mean, log_std) = mean_and_log_std(outputs)?;
    Ok((mean + (log_std.exp()? * noise)?)?)
}

/// (1−α)·z^q + α·z^p.
///
/// Source: (11), for Gaussian samples. Twin: `spec::gaussian::mix_samples`.
/// Shapes: both samples [B, D] → [B, D].
/// Errors: α outside [0, 1]; samples of different shapes.
/// Numerics: exactly the posterior's sample at α = 0 and the prior's at α = 1.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (prior, posterior) = (Tensor::new(&[[4f64]], &Cpu)?, Tensor::new(&[[-8f64]], &Cpu)?);
/// let mixed = lpc::tensor::gaussian::mix_samples(&prior, &posterior, 0.75)?;
/// assert_eq!(mixed.to_vec2::<f64>()?, [[1.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn mix_samples(prior_sample: &Tensor, posterior_sample: &Tensor, prior_weight: f64) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&prior_weight) {
        return Err(Error::argument("mix_samples", "prior_weight", prior_weight, "in [0, 1]"));
    }
    Ok(((posterior_sample * (1.0 - prior_weight))? + (prior_sample * prior_weight)?)?)
}

/// KL(q‖p) of two diagonal Gaussians.
///
/// Source: the KL of (7), for Gaussians. Twin: `spec::gaussian::gaussian_kl`.
/// Shapes: two [B, 2D] → [B]. Units: nats.
/// Errors: shapes that differ.
/// Numerics: ratios of deviations by differences of their logarithms; deviations that differ by
/// less than 1e-4 lose digits of a divergence near 1e-8 in f32.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (q, p) = (Tensor::new(&[[3f64, 2f64.ln()]], &Cpu)?, Tensor::new(&[[1f64, 0.0]], &Cpu)?);
/// let kl = lpc::tensor::gaussian::gaussian_kl(&q, &p)?.to_vec1::<f64>()?;
/// assert!((kl[0] - (2.0 + 1.5 - 2f64.ln())).abs() < 1e-15); // (4 + 2² − 1)/2 − ln 2
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gaussian_kl(posterior_outputs: &Tensor, prior_outputs: &Tensor) -> Result<Tensor> {
    let (mean, log_std) = mean_and_log_std(posterior_outputs)?;
    let (prior_mean, prior_log_std) = mean_and_log_std(prior_outputs)?;
    let log_ratio = (log_std - &prior_log_std)?;
    let shift = ((mean - prior_mean)? * prior_log_std.neg()?.exp()?)?;
    let squares = ((&log_ratio * 2.0)?.exp()? + shift.sqr()?)?;
    Ok((((squares - 1.0)? * 0.5)? - log_ratio)?.sum(D::Minus1)?)
}

/// One draw of the continuous latent: h_z [B, d], and KL(q‖p) [B] in nats.
#[derive(Debug, Clone)]
pub struct GaussianDraw {
    pub latent: Tensor,
    pub kl: Tensor,
}

/// Samples both networks, mixes them by α and projects the mixture.
///
/// Source: (11), for Gaussian samples. Twin: none; `tests/parity` composes `spec`'s steps.
/// Shapes: outputs [B, 2D] each, noise [B, D] each, projection [D, d] → see [`GaussianDraw`].
/// Errors: α outside [0, 1]; shapes that do not fit.
pub fn draw_gaussian(
    prior_outputs: &Tensor,
    posterior_outputs: &Tensor,
    noise: &SampleNoise,
    projection: &Tensor,
    prior_weight: f64,
) -> Result<GaussianDraw> {
    let prior_sample = gaussian_sample(prior_outputs, &noise.prior)?;
    let posterior_sample = gaussian_sample(posterior_outputs, &noise.posterior)?;
    let sample = mix_samples(&prior_sample, &posterior_sample, prior_weight)?;
    let latent = linear_latent(&sample, projection)?;
    Ok(GaussianDraw { latent, kl: gaussian_kl(posterior_outputs, prior_outputs)? })
}
