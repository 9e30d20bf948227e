//! LPC's own parameters beside the decoder: codebook, prior network, posterior network.

use crate::model::parameters::Parameters;
use crate::tensor::latent::Mlp;
use crate::{Result, seed};
use candle_core::{Device, Tensor};
use rand::Rng;

/// Names of the heads' parameters begin with this.
pub const PREFIX: &str = "lpc.";

/// Codebook [K, d] and the networks of (8) and (9).
#[derive(Debug, Clone)]
pub struct Heads {
    pub codebook: Tensor,
    pub prior: Mlp,
    pub posterior: Mlp,
}

/// Adds freshly initialised heads to `parameters`: weights N(0, 0.02²), biases 0, codebook
/// N(0, `codebook_std`²). The networks are `hidden_size` wide.
pub fn init_heads(
    parameters: &mut Parameters,
    hidden_size: usize,
    codes: usize,
    codebook_std: f64,
    rng: &mut impl Rng,
) -> Result<()> {
    let d = hidden_size;
    let mut normal = |name: &str, rows: usize, cols: usize, std: f64| -> Result<()> {
        let values: Vec<f32> = seed::normal(rng, rows * cols).into_iter().map(|v| (v * std) as f32).collect();
        parameters.insert(&format!("{PREFIX}{name}"), Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)
    };
    normal("codebook", codes, d, codebook_std)?;
    for (network, inputs) in [("prior", d), ("posterior", 2 * d)] {
        normal(&format!("{network}.w1"), d, inputs, 0.02)?;
        normal(&format!("{network}.w2"), codes, d, 0.02)?;
    }
    for network in ["prior", "posterior"] {
        for (name, n) in [("b1", d), ("b2", codes)] {
            let zeros = Tensor::from_vec(vec![0f32; n], n, &Device::Cpu)?;
            parameters.insert(&format!("{PREFIX}{network}.{name}"), zeros)?;
        }
    }
    Ok(())
}

impl Heads {
    /// Errors: a parameter that is missing or has another shape, by name.
    pub fn new(parameters: &Parameters, hidden_size: usize, codes: usize) -> Result<Self> {
        let d = hidden_size;
        let get = |name: String, shape: &[usize]| parameters.get(&format!("{PREFIX}{name}"), shape);
        let network = |name: &str, inputs: usize| -> Result<Mlp> {
            Ok(Mlp {
                w1: get(format!("{name}.w1"), &[d, inputs])?,
                b1: get(format!("{name}.b1"), &[d])?,
                w2: get(format!("{name}.w2"), &[codes, d])?,
                b2: get(format!("{name}.b2"), &[codes])?,
            })
        };
        Ok(Self {
            codebook: get("codebook".into(), &[codes, d])?,
            prior: network("prior", d)?,
            posterior: network("posterior", 2 * d)?,
        })
    }
}
