//! What the networks of a latent read, where not hidden states as they are: fixed statistics of the base model
//! centre or whiten them.

use crate::{Error, Result};
use candle_core::{D, DType, Tensor};

/// Steps of [`whitening`]'s iteration, far more than any covariance with a ridge needs.
const MOST_STEPS: usize = 100;

/// Mean and covariance of hidden states, with the divisor n.
///
/// Source: ours. Twin: `spec::heads_input::moments`. Shapes: [n, d] → ([d], [d, d]).
/// Errors: no state.
/// Numerics: in the dtype of the states; the harness gives f64.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (mean, covariance) = lpc::tensor::heads_input::moments(&Tensor::new(&[[1f64], [4.0]], &Cpu)?)?;
/// assert_eq!((mean.to_vec1::<f64>()?, covariance.to_vec2::<f64>()?), (vec![2.5], vec![vec![2.25]]));
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn moments(hidden: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n, _) = hidden.dims2()?;
    if n == 0 {
        return Err(Error::argument("moments", "hidden", "no state", "at least one"));
    }
    let mean = hidden.mean(0)?;
    let away = hidden.broadcast_sub(&mean)?;
    let covariance = (away.t()?.matmul(&away)? / n as f64)?;
    Ok((mean, covariance))
}

/// (Σ + ε I)^(−1/2) with ε = ridge · tr Σ / d.
///
/// Source: ours. Twin: `spec::heads_input::whitening`. Shapes: [d, d] → [d, d].
/// Errors: no variance; a ridge that is not above 0; an iteration that does not settle, as for a matrix that is
/// not symmetric and positive.
/// Numerics: f64 throughout. Newton and Schulz's coupled iteration for the matrix sign: products alone, so that a
/// wide model's takes seconds on whatever multiplies fastest.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let w = lpc::tensor::heads_input::whitening(&Tensor::new(&[[3.9f64, 0.0], [0.0, 0.1]], &Cpu)?, 0.05)?;
/// let w = w.to_vec2::<f64>()?; // ε = 0.05 · 2
/// assert!((w[0][0] - 0.5).abs() < 1e-12 && (w[1][1] - 0.2f64.sqrt().recip()).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn whitening(covariance: &Tensor, ridge: f64) -> Result<Tensor> {
    const OP: &str = "whitening";
    let (d, device) = (covariance.dim(0)?, covariance.device());
    if !ridge.is_finite() || ridge <= 0.0 {
        return Err(Error::argument(OP, "ridge", ridge, "above 0"));
    }
    let covariance = covariance.to_dtype(DType::F64)?;
    let one = Tensor::eye(d, DType::F64, device)?;
    let trace = (&covariance * &one)?.sum_all()?.to_scalar::<f64>()?;
    if trace.is_nan() || trace <= 0.0 {
        return Err(Error::argument(OP, "covariance", "no variance", "states that differ"));
    }
    let raised = (covariance + (&one * (ridge * trace / d as f64))?)?;
    // Within the circle of convergence: eigenvalues between 0 and 1.
    let size = raised.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    let (mut root, mut inverse) = ((raised / size)?, one.clone());
    for _ in 0..MOST_STEPS {
        let product = inverse.matmul(&root)?;
        let away = (&product - &one)?.abs()?.max_all()?.to_scalar::<f64>()?;
        if away < 1e-12 * d as f64 {
            return Ok((inverse / size.sqrt())?);
        }
        let step = (((&one * 3.0)? - product)? * 0.5)?;
        (root, inverse) = (root.matmul(&step)?, step.matmul(&inverse)?);
    }
    Err(Error::argument(OP, "covariance", "no inverse root", "a symmetric matrix without negative variances"))
}

/// (h − μ) · matrix, row by row; no matrix: centring alone. The matrix is symmetric.
///
/// Source: ours. Twin: `spec::heads_input::standardise`. Shapes: hidden [B, d], mean [d], matrix [d, d] → [B, d].
/// Errors: shapes that do not fit.
/// Numerics: plain products in the inputs' dtype.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::heads_input::standardise;
/// let (hidden, mean) = (Tensor::new(&[[3f64, 1.0]], &Cpu)?, Tensor::new(&[1f64, 2.0], &Cpu)?);
/// let matrix = Tensor::new(&[[0.5f64, 0.0], [0.0, 4.0]], &Cpu)?;
/// assert_eq!(standardise(&hidden, &mean, Some(&matrix))?.to_vec2::<f64>()?, [[1.0, -4.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn standardise(hidden: &Tensor, mean: &Tensor, matrix: Option<&Tensor>) -> Result<Tensor> {
    if hidden.dim(D::Minus1)? != mean.dim(0)? {
        let (got, expected) = (format!("{:?}", mean.dims()), format!("as wide as {:?}", hidden.dims()));
        return Err(Error::argument("standardise", "mean", got, expected));
    }
    let centred = hidden.broadcast_sub(mean)?;
    match matrix {
        None => Ok(centred),
        Some(matrix) => Ok(centred.matmul(&matrix.t()?)?),
    }
}
