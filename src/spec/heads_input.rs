//! What the networks of a latent read, where not hidden states as they are: h − μ, or that with every direction
//! made to vary alike. μ and Σ are those of the base model's states, and stay as they are in training.

use super::check;
use crate::error::{Error, Result};
use ndarray::{Array1, Array2, ArrayRef1, ArrayRef2, Axis};

/// Mean μ and covariance Σ of hidden states, with the divisor n.
///
/// Source: ours. Twin: `tensor::heads_input::moments`.
///
/// Shapes: hidden [n, d] → ([d], [d, d]).
///
/// Errors: no state; a value that is not finite.
///
/// Numerics: deviations are taken from the mean before they are multiplied, so a mean far from 0 costs no digits.
///
/// ```
/// use lpc::spec::heads_input::moments;
/// use ndarray::array;
/// let (mean, covariance) = moments(&array![[1.0, 5.0], [3.0, 5.0]])?;
/// assert_eq!((mean, covariance), (array![2.0, 5.0], array![[1.0, 0.0], [0.0, 0.0]]));
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn moments(hidden: &ArrayRef2<f64>) -> Result<(Array1<f64>, Array2<f64>)> {
    const OP: &str = "moments";
    check::not_empty(OP, "hidden", hidden.len())?;
    check::all_finite(OP, "hidden", hidden)?;
    let n = hidden.nrows() as f64;
    let mean = hidden.sum_axis(Axis(0)) / n;
    let deviations = hidden.to_owned() - &mean;
    let covariance = deviations.t().dot(&deviations) / n;
    Ok((mean, covariance))
}

/// (Σ + ε I)^(−1/2) with ε = ridge · tr Σ / d: the symmetric matrix that makes every direction vary alike, as far as
/// it varies by more than ε (ZCA whitening).
///
/// Source: ours. Twin: `tensor::heads_input::whitening`, by another algorithm.
///
/// Shapes: covariance [d, d], symmetric → [d, d].
///
/// Errors: a matrix that is not square or not symmetric, a value that is not finite, no variance, a ridge that is
/// not above 0.
///
/// Numerics: Jacobi's rotations, which find small eigenvalues to their own last digits.
///
/// ```
/// use lpc::spec::heads_input::whitening;
/// use ndarray::array;
/// // ε = 0.1 · (2.95 + 1.0) / 2 = 0.1975 is added to each variance.
/// let w = whitening(&array![[2.95, 0.0], [0.0, 1.0]], 0.1)?;
/// assert!((w[[0, 0]] - 3.1475f64.sqrt().recip()).abs() < 1e-14 && w[[0, 1]] == 0.0);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn whitening(covariance: &ArrayRef2<f64>, ridge: f64) -> Result<Array2<f64>> {
    const OP: &str = "whitening";
    let d = covariance.nrows();
    check::not_empty(OP, "covariance", covariance.len())?;
    check::shape(OP, "covariance", covariance, &[d, d])?;
    check::all_finite(OP, "covariance", covariance)?;
    check::positive(OP, "ridge", ridge)?;
    let largest = covariance.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if covariance.indexed_iter().any(|((i, j), v)| (v - covariance[[j, i]]).abs() > 1e-12 * largest) {
        return Err(Error::argument(OP, "covariance", "another matrix", "a symmetric one"));
    }
    let variance = covariance.diag().sum() / d as f64;
    if variance <= 0.0 {
        return Err(Error::argument(OP, "covariance", "no variance", "states that differ"));
    }
    let (eigenvalues, vectors) = eigen(covariance.to_owned());
    let scales = eigenvalues.mapv(|value| (value.max(0.0) + ridge * variance).sqrt().recip());
    Ok((&vectors * &scales).dot(&vectors.t()))
}

/// matrix · (hidden − mean): what a network reads in the place of `hidden`. No matrix: centring alone.
///
/// Source: ours. Twin: `tensor::heads_input::standardise`.
///
/// Shapes: hidden [d], mean [d], matrix [d, d] → [d].
///
/// Errors: mismatched shapes; a value that is not finite.
///
/// ```
/// use lpc::spec::heads_input::standardise;
/// use ndarray::array;
/// let (hidden, mean) = (array![3.0, 1.0], array![1.0, 2.0]);
/// assert_eq!(standardise(&hidden, &mean, None)?, array![2.0, -1.0]);
/// let matrix = array![[0.5, 0.0], [0.0, 4.0]];
/// assert_eq!(standardise(&hidden, &mean, Some(&matrix))?, array![1.0, -4.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn standardise(
    hidden: &ArrayRef1<f64>,
    mean: &ArrayRef1<f64>,
    matrix: Option<&ArrayRef2<f64>>,
) -> Result<Array1<f64>> {
    const OP: &str = "standardise";
    let d = hidden.len();
    check::vector(OP, "hidden", hidden)?;
    check::shape(OP, "mean", mean, &[d])?;
    check::all_finite(OP, "mean", mean)?;
    let centred = hidden.to_owned() - mean;
    let Some(matrix) = matrix else { return Ok(centred) };
    check::shape(OP, "matrix", matrix, &[d, d])?;
    check::all_finite(OP, "matrix", matrix)?;
    Ok(matrix.dot(&centred))
}

/// ∂ [`standardise`] / ∂ hidden: matrixᵀ · upstream. The statistics are constants.
///
/// Twin: `tensor::heads_input::standardise` under autograd.
///
/// Shapes: upstream [d], matrix [d, d] → [d]. Errors: as [`standardise`].
pub fn standardise_gradient(
    upstream: &ArrayRef1<f64>,
    matrix: Option<&ArrayRef2<f64>>,
) -> Result<Array1<f64>> {
    const OP: &str = "standardise_gradient";
    check::vector(OP, "upstream", upstream)?;
    let Some(matrix) = matrix else { return Ok(upstream.to_owned()) };
    check::shape(OP, "matrix", matrix, &[upstream.len(); 2])?;
    Ok(matrix.t().dot(upstream))
}

/// Eigenvalues and orthonormal eigenvectors, as columns, of a symmetric matrix: Jacobi's cyclic rotations.
fn eigen(mut a: Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let d = a.nrows();
    let mut vectors = Array2::eye(d);
    let size = a.iter().map(|v| v * v).sum::<f64>();
    // Each sweep squares what is left off the diagonal; ten are plenty.
    for _ in 0..64 {
        let off: f64 = a.indexed_iter().filter(|((i, j), _)| i != j).map(|(_, v)| v * v).sum();
        if off <= size * f64::EPSILON * f64::EPSILON {
            break;
        }
        for p in 0..d {
            for q in p + 1..d {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    (a.diag().to_owned(), vectors)
}

/// Turns the plane of two coordinates until their covariance is 0.
fn rotate(a: &mut Array2<f64>, vectors: &mut Array2<f64>, p: usize, q: usize) {
    if a[[p, q]] == 0.0 {
        return;
    }
    let theta = (a[[q, q]] - a[[p, p]]) / (2.0 * a[[p, q]]);
    let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cosine = tangent.hypot(1.0).recip();
    let sine = tangent * cosine;
    let turn = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
    for k in 0..a.nrows() {
        (a[[k, p]], a[[k, q]]) = turn(a[[k, p]], a[[k, q]]);
    }
    for k in 0..a.nrows() {
        (a[[p, k]], a[[q, k]]) = turn(a[[p, k]], a[[q, k]]);
        (vectors[[k, p]], vectors[[k, q]]) = turn(vectors[[k, p]], vectors[[k, q]]);
    }
}
