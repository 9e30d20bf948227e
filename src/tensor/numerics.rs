//! Log-domain helpers. All reductions subtract a detached maximum, so tied maxima share one
//! exact gradient (candle gives each tied maximum the whole of it).

use crate::Result;
use candle_core::{D, Tensor};

/// log σ(x), elementwise.
///
/// Twin: `spec::numerics::log_sigmoid`. Shapes: any → the same.
/// Numerics: −logsumexp(0, −x) about a detached maximum: finite for every finite x, gradient
/// σ(−x) also at x = 0, where a policy still equals its reference.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[0f64, -1e4, 1e4], &Device::Cpu)?;
/// let y = lpc::tensor::numerics::log_sigmoid(&x)?.to_vec1::<f64>()?;
/// assert!((y[0] + 2f64.ln()).abs() < 1e-15 && y[1] == -1e4 && y[2] == 0.0);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    let shift = x.neg()?.relu()?.detach();
    let softplus = (shift.neg()?.exp()? + (x + &shift)?.neg()?.exp()?)?.log()?;
    Ok((softplus + shift)?.neg()?)
}

/// log Σ exp over the last dimension.
///
/// Twin: `spec::numerics::logsumexp`. Shapes: [.., n] → [..].
/// Errors: empty rows.
/// Numerics: shifted by the detached maximum: finite for every finite row. −∞ counts as nothing
/// beside a finite entry; a row of nothing but −∞ gives NaN, as does +∞.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let x = Tensor::new(&[[0f64, 0.0], [1e4, 1e4], [5.0, f64::NEG_INFINITY]], &Cpu)?;
/// let y = lpc::tensor::numerics::logsumexp(&x)?.to_vec1::<f64>()?;
/// assert!((y[0] - 2f64.ln()).abs() < 1e-15 && (y[1] - 1e4 - 2f64.ln()).abs() < 1e-11 && y[2] == 5.0);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn logsumexp(x: &Tensor) -> Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?.detach();
    let sum = x.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?;
    Ok((sum.log()? + max)?.squeeze(D::Minus1)?)
}

/// log softmax over the last dimension.
///
/// Twin: `spec::numerics::log_softmax`. Shapes: [.., n] → [.., n]. Units: nats.
/// Errors: empty rows.
/// Numerics: x − [`logsumexp`], never the logarithm of a probability: a value far below the
/// others stays finite where its softmax underflows.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let y = lpc::tensor::numerics::log_softmax(&Tensor::new(&[[0f64, 3f64.ln()], [0.0, -2e3]], &Cpu)?)?;
/// let y = y.to_vec2::<f64>()?;
/// assert!((y[0][0] - 0.25f64.ln()).abs() < 1e-15 && (y[0][1] - 0.75f64.ln()).abs() < 1e-15);
/// assert_eq!(y[1], [0.0, -2e3]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.broadcast_sub(&logsumexp(logits)?.unsqueeze(D::Minus1)?)?)
}

/// Softmax over the last dimension.
///
/// Twin: `spec::numerics::softmax`. Shapes: [.., n] → [.., n].
/// Errors: empty rows.
/// Numerics: shifted by the detached maximum; −∞ becomes exactly 0, a row of nothing but −∞ NaN.
/// Differentiable everywhere, unlike candle's `softmax_last_dim`.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let y = lpc::tensor::numerics::softmax(&Tensor::new(&[[1e4, 1e4], [f64::NEG_INFINITY, 0.0]], &Cpu)?)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[0.5, 0.5], [0.0, 1.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn softmax(logits: &Tensor) -> Result<Tensor> {
    let max = logits.max_keepdim(D::Minus1)?.detach();
    let exp = logits.broadcast_sub(&max)?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}
