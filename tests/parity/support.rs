//! Random pairs, and who computes with them where.

use candle_core::Device;
use lpc::model::parameters::Parameters;
use std::sync::OnceLock;

/// Who is to compute with a test's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// What any device has.
    Composed,
    /// What f32 on the CPU has.
    Fused,
}

impl Kernels {
    pub fn given(self, parameters: &Parameters) -> Parameters {
        match self {
            Self::Composed => parameters.composed(),
            Self::Fused => parameters.clone(),
        }
    }
}

/// Where composed kernels are tried: the CPU and, with the feature `cuda` on a machine that has one, a GPU.
pub fn places() -> &'static [Device] {
    static PLACES: OnceLock<Vec<Device>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let mut places = vec![Device::Cpu];
        if cfg!(feature = "cuda") {
            match Device::new_cuda(0) {
                Ok(gpu) => places.push(gpu),
                Err(e) => eprintln!("composed kernels on the CPU alone, no GPU: {e}"),
            }
        }
        places
    })
}
