//! Log-domain helpers. All reductions subtract a detached maximum, so tied maxima share one
//! exact gradient (candle gives each tied maximum the whole of it).

use crate::Result;
use candle_core::{D, Tensor};

/// log σ(x), elementwise.
///
/// Twin: `spec::numerics::log_sigmoid`.
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
/// Numerics: shifted by the detached maximum; a row needs one finite entry.
pub fn logsumexp(x: &Tensor) -> Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?.detach();
    let sum = x.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?;
    Ok((sum.log()? + max)?.squeeze(D::Minus1)?)
}

/// log softmax over the last dimension.
///
/// Twin: `spec::numerics::log_softmax`. Shapes: [.., n] → [.., n].
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.broadcast_sub(&logsumexp(logits)?.unsqueeze(D::Minus1)?)?)
}

/// Softmax over the last dimension.
///
/// Twin: `spec::numerics::softmax`. Shapes: [.., n] → [.., n].
/// Numerics: differentiable everywhere, unlike candle's `softmax_last_dim`.
pub fn softmax(logits: &Tensor) -> Result<Tensor> {
    let max = logits.max_keepdim(D::Minus1)?.detach();
    let exp = logits.broadcast_sub(&max)?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}
