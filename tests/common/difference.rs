//! How far two tensors are apart.

use candle_core::{DType, Device, Tensor};

/// Wherever they are.
pub fn max_abs_diff(a: &Tensor, b: &Tensor) -> f64 {
    let wide = |t: &Tensor| t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    let diff = (wide(a) - wide(b)).unwrap();
    diff.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}
