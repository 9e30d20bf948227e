//! Relaxed and hard samples of a code from logits and given Gumbel noise.

use super::{check, numerics};
use crate::error::Result;
use ndarray::{Array1, ArrayRef1};

/// g = softmax((log p + noise) / τ): a point inside the simplex, a code only as τ → 0.
///
/// Unnormalised logits serve as well as log-probabilities: softmax ignores a common shift.
///
/// Source: (11); Jang et al. 2017. Twin: `tensor::gumbel::gumbel_softmax`.
///
/// Shapes: logits [K], noise [K] (standard Gumbel draws) → [K].
///
/// Errors: empty or mismatched vectors; a value that is not finite; `gumbel_tau` ≤ 0.
///
/// ```
/// use lpc::spec::gumbel::gumbel_softmax;
/// use ndarray::array;
/// let sample = gumbel_softmax(&array![0.0, 1.0], &array![1.0, 0.0], 0.5)?;
/// assert_eq!(sample, array![0.5, 0.5]); // the noise makes up for the logits
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn gumbel_softmax(
    logits: &ArrayRef1<f64>,
    noise: &ArrayRef1<f64>,
    gumbel_tau: f64,
) -> Result<Array1<f64>> {
    check::positive("gumbel_softmax", "gumbel_tau", gumbel_tau)?;
    Ok(numerics::softmax(&(perturbed("gumbel_softmax", logits, noise)? / gumbel_tau)))
}

/// ∂ / ∂logits of [`gumbel_softmax`], given its value: g ⊙ (upstream − ⟨g, upstream⟩) / τ.
///
/// Twin: `tensor::gumbel::gumbel_softmax` under autograd.
///
/// Shapes: sample [K], upstream [K] → [K]. Errors: mismatched vectors; `gumbel_tau` ≤ 0.
pub fn gumbel_softmax_gradient(
    sample: &ArrayRef1<f64>,
    gumbel_tau: f64,
    upstream: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    check::positive("gumbel_softmax_gradient", "gumbel_tau", gumbel_tau)?;
    check::shape("gumbel_softmax_gradient", "upstream", upstream, sample.shape())?;
    Ok((upstream - sample.dot(upstream)) * sample / gumbel_tau)
}

/// The code with the largest perturbed logit, one-hot: an exact draw from softmax(logits), and
/// the τ → 0 limit of [`gumbel_softmax`]. Ties go to the first code.
///
/// Source: the Gumbel-max identity behind (11). Twin: none; training relaxes.
///
/// Shapes: logits [K], noise [K] → [K]. Errors: as [`gumbel_softmax`].
pub fn hard_sample(logits: &ArrayRef1<f64>, noise: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    let scores = perturbed("hard_sample", logits, noise)?;
    let best = (0..scores.len()).reduce(|a, b| if scores[b] > scores[a] { b } else { a });
    Ok(Array1::from_shape_fn(scores.len(), |k| if Some(k) == best { 1.0 } else { 0.0 }))
}

/// [`hard_sample`], to be differentiated by [`straight_through_gradient`]: a code going forwards.
///
/// Over Gumbel noise the mean of any function of it is that function's mean over the codes.
///
/// Source: Jang et al. 2017, ST Gumbel-softmax, the discrete alternative to (11).
///
/// Shapes: logits [K], noise [K] → [K]. Errors: as [`gumbel_softmax`].
pub fn straight_through(
    logits: &ArrayRef1<f64>,
    noise: &ArrayRef1<f64>,
    gumbel_tau: f64,
) -> Result<Array1<f64>> {
    check::positive("straight_through", "gumbel_tau", gumbel_tau)?;
    hard_sample(logits, noise)
}

/// What passes for ∂ / ∂logits of [`straight_through`], whose own derivative is zero wherever it
/// exists: that of [`gumbel_softmax`] at the same noise, with `upstream` taken at the hard sample.
///
/// Biased: even for two codes of equal logits and a linear loss c·z its mean at τ = 1 is two thirds
/// of the true ∂E[c·z] (`paper/derivations.md`, 8). Unbiased only as τ → 0, where its variance is
/// infinite.
///
/// Source: Jang et al. 2017.
///
/// Shapes: logits [K], noise [K], upstream [K] → [K]. Errors: as [`gumbel_softmax`].
pub fn straight_through_gradient(
    logits: &ArrayRef1<f64>,
    noise: &ArrayRef1<f64>,
    gumbel_tau: f64,
    upstream: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    gumbel_softmax_gradient(&gumbel_softmax(logits, noise, gumbel_tau)?, gumbel_tau, upstream)
}

fn perturbed(op: &'static str, logits: &ArrayRef1<f64>, noise: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    check::vector(op, "logits", logits)?;
    check::shape(op, "noise", noise, logits.shape())?;
    check::all_finite(op, "noise", noise)?;
    Ok(logits + noise)
}
