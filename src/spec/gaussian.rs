//! A continuous latent: diagonal Gaussians in the place of the codes' categoricals.
//!
//! Ours, for the question why the latent is discrete. The networks of (8) and (9) give 2D numbers
//! instead of K logits: the mean μ, then log σ. Samples are mixed by α as in (11), and
//! h_z = Σ_i z_i e_i is [`super::codebook::linear_latent`].

use super::check;
use crate::error::{Error, Result};
use ndarray::{Array1, ArrayRef1, ArrayView1, Axis, concatenate, s};

/// μ and log σ, the two halves of a network's outputs.
///
/// Source: ours. Twin: `tensor::gaussian::mean_and_log_std`.
///
/// Shapes: outputs [2D] → ([D], [D]). Units: log σ in nats.
///
/// Errors: nothing or an odd number of outputs; a value that is not finite.
pub fn mean_and_log_std(outputs: &ArrayRef1<f64>) -> Result<(ArrayView1<'_, f64>, ArrayView1<'_, f64>)> {
    halves("mean_and_log_std", outputs)
}

/// A sample by reparametrisation: z = μ + σ ⊙ noise, noise ~ N(0, 1).
///
/// Source: ours, in the place of (11)'s g. Twin: `tensor::gaussian::gaussian_sample`.
///
/// Shapes: outputs [2D], noise [D] → [D].
///
/// Errors: as [`mean_and_log_std`]; noise of another length or not finite.
///
/// ```
/// use lpc::spec::gaussian::gaussian_sample;
/// use ndarray::array;
/// // μ = (1, 0), σ = (1, e).
/// let z = gaussian_sample(&array![1.0, 0.0, 0.0, 1.0], &array![-0.5, 2.0])?;
/// assert_eq!(z, array![0.5, 2.0 * 1f64.exp()]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gaussian_sample(outputs: &ArrayRef1<f64>, noise: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    let (mean, log_std) = halves("gaussian_sample", outputs)?;
    check::shape("gaussian_sample", "noise", noise, mean.shape())?;
    check::all_finite("gaussian_sample", "noise", noise)?;
    Ok(log_std.exp() * noise + mean)
}

/// ∂ [`gaussian_sample`] / ∂ outputs: (upstream, upstream ⊙ σ ⊙ noise).
///
/// Twin: `tensor::gaussian::gaussian_sample` under autograd.
///
/// Shapes: upstream [D] → [2D]. Errors: as [`gaussian_sample`]; upstream of another length.
pub fn gaussian_sample_gradient(
    outputs: &ArrayRef1<f64>,
    noise: &ArrayRef1<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    let (mean, log_std) = halves("gaussian_sample_gradient", outputs)?;
    check::shape("gaussian_sample_gradient", "noise", noise, mean.shape())?;
    check::shape("gaussian_sample_gradient", "upstream", upstream, mean.shape())?;
    let to_log_std = log_std.exp() * noise * upstream;
    Ok(concatenate![Axis(0), upstream.view(), to_log_std.view()])
}

/// (1 − α)·z^q + α·z^p: [`super::codebook::mix_codes`] for samples of any sign.
///
/// Source: (11), for Gaussian samples. Twin: `tensor::gaussian::mix_samples`.
///
/// Shapes: prior_sample [D], posterior_sample [D] → [D].
///
/// Errors: samples of different lengths or not finite; α outside [0, 1].
pub fn mix_samples(
    prior_sample: &ArrayRef1<f64>,
    posterior_sample: &ArrayRef1<f64>,
    prior_weight: f64,
) -> Result<Array1<f64>> {
    check::fraction("mix_samples", "prior_weight", prior_weight)?;
    check::vector("mix_samples", "prior_sample", prior_sample)?;
    check::shape("mix_samples", "posterior_sample", posterior_sample, prior_sample.shape())?;
    check::all_finite("mix_samples", "posterior_sample", posterior_sample)?;
    Ok(prior_sample * prior_weight + posterior_sample * (1.0 - prior_weight))
}

/// ∂ [`mix_samples`] / ∂ (prior_sample, posterior_sample): (α·upstream, (1 − α)·upstream).
///
/// Twin: `tensor::gaussian::mix_samples` under autograd.
///
/// Shapes: upstream [D] → ([D], [D]). Errors: α outside [0, 1].
pub fn mix_samples_gradient(
    prior_weight: f64,
    upstream: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    check::fraction("mix_samples_gradient", "prior_weight", prior_weight)?;
    Ok((upstream * prior_weight, upstream * (1.0 - prior_weight)))
}

/// KL(q ‖ p) of diagonal Gaussians, the posterior first. With δ = log σ_q − log σ_p and
/// r = (μ_q − μ_p)/σ_p it is Σ_i ½(e^{2δ_i} − 1) − δ_i + ½ r_i².
///
/// Source: the KL of (7), for Gaussians. Twin: `tensor::gaussian::gaussian_kl`.
///
/// Shapes: posterior_outputs [2D], prior_outputs [2D] → scalar. Units: nats.
///
/// Errors: as [`mean_and_log_std`]; outputs of different lengths.
///
/// Numerics: `exp_m1` keeps the digits of nearly equal deviations, whose terms cancel to δ².
///
/// ```
/// use lpc::spec::gaussian::gaussian_kl;
/// use ndarray::array;
/// // Two unit Gaussians whose means are 3 apart: 3²/2.
/// assert_eq!(gaussian_kl(&array![3.0, 0.0], &array![0.0, 0.0])?, 4.5);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gaussian_kl(posterior_outputs: &ArrayRef1<f64>, prior_outputs: &ArrayRef1<f64>) -> Result<f64> {
    let Apart { delta, shift, .. } = Apart::new("gaussian_kl", posterior_outputs, prior_outputs)?;
    Ok(delta.iter().zip(&shift).map(|(d, r)| 0.5 * (2.0 * d).exp_m1() - d + 0.5 * r * r).sum())
}

/// ∂ [`gaussian_kl`] / ∂ (posterior_outputs, prior_outputs): (r/σ_p, e^{2δ} − 1) and
/// (−r/σ_p, 1 − e^{2δ} − r²).
///
/// Twin: `tensor::gaussian::gaussian_kl` under autograd.
///
/// Shapes: → ([2D], [2D]). Errors: as [`gaussian_kl`].
pub fn gaussian_kl_gradient(
    posterior_outputs: &ArrayRef1<f64>,
    prior_outputs: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    let Apart { delta, shift, prior_log_std } =
        Apart::new("gaussian_kl_gradient", posterior_outputs, prior_outputs)?;
    let to_mean = &shift * (-prior_log_std).exp();
    let wider = delta.mapv(|d| (2.0 * d).exp_m1());
    let to_prior_log_std = -&wider - &shift * &shift;
    Ok((
        concatenate![Axis(0), to_mean.view(), wider.view()],
        concatenate![Axis(0), (-&to_mean).view(), to_prior_log_std.view()],
    ))
}

/// What two Gaussians differ by.
struct Apart {
    /// log σ_q − log σ_p
    delta: Array1<f64>,
    /// (μ_q − μ_p)/σ_p
    shift: Array1<f64>,
    prior_log_std: Array1<f64>,
}

impl Apart {
    fn new(op: &'static str, posterior: &ArrayRef1<f64>, prior: &ArrayRef1<f64>) -> Result<Self> {
        check::shape(op, "prior_outputs", prior, posterior.shape())?;
        let (mean, log_std) = halves(op, posterior)?;
        let (prior_mean, prior_log_std) = halves(op, prior)?;
        Ok(Self {
            delta: &log_std - &prior_log_std,
            shift: (&mean - &prior_mean) * (-&prior_log_std).exp(),
            prior_log_std: prior_log_std.to_owned(),
        })
    }
}

fn halves<'a>(
    op: &'static str,
    outputs: &'a ArrayRef1<f64>,
) -> Result<(ArrayView1<'a, f64>, ArrayView1<'a, f64>)> {
    check::vector(op, "outputs", outputs)?;
    let n = outputs.len();
    if !n.is_multiple_of(2) {
        return Err(Error::argument(op, "outputs", format!("{n} numbers"), "a mean and a log std each"));
    }
    Ok((outputs.slice(s![..n / 2]), outputs.slice(s![n / 2..])))
}
