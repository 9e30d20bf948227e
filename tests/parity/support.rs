//! Random pairs, and who computes with them where.

use candle_core::Device;
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::FACTORS;
use lpc::model::parameters::Parameters;
use lpc::seed;
use std::sync::OnceLock;

pub fn pairs(vocab: usize, lengths: &[(usize, usize, usize)], seed: u64) -> Vec<TokenizedPair> {
    let mut rng = seed::stream(seed, "pairs");
    let weights = seed::normal(&mut rng, FACTORS);
    let mut tokens = |n: usize| (0..n).map(|_| seed::below(&mut rng, vocab) as u32).collect::<Vec<_>>();
    lengths
        .iter()
        .enumerate()
        .map(|(index, &(p, c, r))| TokenizedPair {
            index,
            prompt: tokens(p),
            chosen: tokens(c),
            rejected: tokens(r),
            factor_weights: Some(weights.clone()),
            ..TokenizedPair::default()
        })
        .collect()
}

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
