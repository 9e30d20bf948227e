//! Log-domain helpers. All reductions subtract a detached maximum, so tied maxima share one
//! exact gradient (candle gives each tied maximum the whole of it).

use crate::Result;
use crate::config::Precision;
use candle_core::{D, DType, Tensor};

/// `x` with every number rounded as factors of this precision are, in its own dtype.
///
/// Shapes: any → the same.
/// Numerics: to the nearest, ties to even; the gradient is rounded too.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1.0f32, 1.0 + 1.0 / 512.0, 257.0], &Device::Cpu)?;
/// let y = lpc::tensor::numerics::rounded(&x, lpc::config::Precision::Bf16)?;
/// assert_eq!(y.to_vec1::<f32>()?, [1.0, 1.0, 256.0]); // 8 bits of significand
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn rounded(x: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => Ok(x.clone()),
        Precision::Bf16 => Ok(x.to_dtype(DType::BF16)?.to_dtype(x.dtype())?),
    }
}

/// a·b of factors rounded to the precision, summed in f32, in the dtype of `a`.
///
/// Shapes: [m, k], [k, n] → [m, n].
/// Numerics: on a GPU the result of a bf16 product is itself rounded to bf16.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use lpc::{config::Precision::Bf16, tensor::numerics::matmul};
/// let (a, b) = (Tensor::new(&[[257f32, 1.0]], &Device::Cpu)?, Tensor::new(&[[1f32], [1.0]], &Device::Cpu)?);
/// assert_eq!(matmul(&a, &b, Bf16)?.to_vec2::<f32>()?, [[257.0]]); // 256 + 1
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn matmul(a: &Tensor, b: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::Bf16 if !a.device().is_cpu() => {
            Ok(a.to_dtype(DType::BF16)?.matmul(&b.to_dtype(DType::BF16)?)?.to_dtype(a.dtype())?)
        }
        _ => Ok(rounded(a, precision)?.matmul(&rounded(b, precision)?)?),
    }
}

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
