//! Who computes: operations written by hand, or candle's own, composed. This is the one place that
//! decides.

use candle_core::{DType, Tensor};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// candle's operations: any device. In f32 the decoder's backward pass is by hand, in other dtypes
    /// autograd's: the oracle.
    Composed,
    /// Forward and backward by hand on slices: f32 on the CPU.
    Fused,
}

impl Kernels {
    /// The fastest for numbers such as these.
    pub fn of(tensor: &Tensor) -> Self {
        match (tensor.device().is_cpu(), tensor.dtype()) {
            (true, DType::F32) => Self::Fused,
            _ => Self::Composed,
        }
    }
}
