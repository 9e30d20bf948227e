//! LPC's own parameters beside the decoder: codebook, prior network, posterior network.

use crate::model::parameters::Parameters;
use crate::tensor::latent::Mlp;
use crate::{Result, seed};
use candle_core::{Device, Tensor};
use rand::Rng;

/// Names of the heads' parameters begin with this.
pub const PREFIX: &str = "lpc.";

/// What the parameters of the two networks begin with.
pub const NETWORKS: [&str; 2] = ["lpc.prior.", "lpc.posterior."];

/// Codebook [K, d] and the networks of (8) and (9).
#[derive(Debug, Clone)]
pub struct Heads {
    pub codebook: Tensor,
    pub prior: Mlp,
    pub posterior: Mlp,
}

/// Adds freshly initialised heads to `parameters`: the networks as `torch.nn.Linear` begins,
/// weights and biases uniform within ±1/√inputs and `hidden_size` wide; the codebook
/// N(0, `codebook_std`²).
pub fn init_heads(
    parameters: &mut Parameters,
    hidden_size: usize,
    codes: usize,
    codebook_std: f64,
    rng: &mut impl Rng,
) -> Result<()> {
    let d = hidden_size;
    let mut put = |name: String, values: Vec<f64>, shape: &[usize]| -> Result<()> {
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        parameters.insert(&format!("{PREFIX}{name}"), Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    let codebook = seed::normal(rng, codes * d).into_iter().map(|v| v * codebook_std).collect();
    put("codebook".into(), codebook, &[codes, d])?;
    for (network, network_inputs) in [("prior", d), ("posterior", 2 * d)] {
        for (layer, inputs, outputs) in [(1, network_inputs, d), (2, d, codes)] {
            let bound = (inputs as f64).powf(-0.5);
            let mut uniform =
                |n: usize| (0..n).map(|_| (2.0 * seed::open_unit(rng) - 1.0) * bound).collect::<Vec<f64>>();
            let (weights, biases) = (uniform(outputs * inputs), uniform(outputs));
            put(format!("{network}.w{layer}"), weights, &[outputs, inputs])?;
            put(format!("{network}.b{layer}"), biases, &[outputs])?;
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
