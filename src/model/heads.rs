//! Parameters beside the decoder: codebook, prior network, posterior network, or what takes their
//! place in a latent to compare LPC with.
//!
//! The last layer of the other latents begins as N(0, `output_std`²/inputs), so that a
//! coordinate of h_z is about `output_std` times its inputs' size, as LPC's, a mixture of codes
//! N(0, `codebook_std`²), is at most `codebook_std`.

use crate::config::{Codes, Latent};
use crate::data::world::Factor;
use crate::model::parameters::Parameters;
use crate::tensor::latent::Mlp;
use crate::{Result, seed};
use candle_core::{Device, Tensor};
use rand::Rng;

/// Names of the heads' parameters begin with this.
pub const PREFIX: &str = "lpc.";

/// What the parameters of the two networks begin with.
pub const NETWORKS: [&str; 2] = ["lpc.prior.", "lpc.posterior."];

/// F, of the built-in world.
pub const FACTORS: usize = Factor::ALL.len();

/// What makes h_z, by kind of latent.
#[derive(Debug, Clone)]
pub enum Heads {
    Codes(CodeHeads),
    /// h_z = MLP(h_x).
    Control(Mlp),
    Gaussian(GaussianHeads),
    /// e_f [F, d], a row a factor of the built-in world.
    Factors(Tensor),
}

/// Codebook [K, d] and the networks of (8) and (9).
#[derive(Debug, Clone)]
pub struct CodeHeads {
    pub codebook: Tensor,
    pub prior: Mlp,
    pub posterior: Mlp,
}

/// The networks of (8) and (9) with μ and log σ in the place of logits, and what makes h_z of z.
#[derive(Debug, Clone)]
pub struct GaussianHeads {
    /// [D, d]
    pub projection: Tensor,
    pub prior: Mlp,
    pub posterior: Mlp,
}

/// How a parameter begins.
enum Init {
    /// Weights and biases of `torch.nn.Linear`: uniform within ±1/√inputs.
    Linear { inputs: usize },
    /// N(0, std²).
    Normal { std: f64 },
}

/// A parameter: name behind [`PREFIX`], shape, beginning. Drawn in this order.
type Layout = Vec<(String, Vec<usize>, Init)>;

fn layout(latent: &Latent, hidden_size: usize) -> Layout {
    let d = hidden_size;
    let mut layout = Layout::new();
    if let Some(Codes { codes, codebook_std }) = latent.codes() {
        layout.push(("codebook".into(), vec![codes, d], Init::Normal { std: codebook_std }));
        push_network(&mut layout, "prior", [d, d, codes]);
        push_network(&mut layout, "posterior", [2 * d, d, codes]);
    }
    if let Latent::Control { match_codes, output_std, .. } = *latent {
        let width = control_width(d, match_codes);
        push_network(&mut layout, "control", [d, width, d]);
        for (name, _, init) in &mut layout {
            match name.as_str() {
                "control.w2" => *init = Init::Normal { std: output_std / (width as f64).sqrt() },
                "control.b2" => *init = Init::Normal { std: 0.0 },
                _ => {}
            }
        }
    }
    if let Latent::Gaussian { dimension, output_std, .. } = *latent {
        let std = output_std / (dimension as f64).sqrt();
        layout.push(("projection".into(), vec![dimension, d], Init::Normal { std }));
        push_network(&mut layout, "prior", [d, d, 2 * dimension]);
        push_network(&mut layout, "posterior", [2 * d, d, 2 * dimension]);
    }
    if let Latent::Factors { output_std, .. } = *latent {
        let std = output_std / (FACTORS as f64).sqrt();
        layout.push(("factors".into(), vec![FACTORS, d], Init::Normal { std }));
    }
    layout
}

/// Parameters of a latent's heads, biases included.
pub fn parameter_count(latent: &Latent, hidden_size: usize) -> usize {
    layout(latent, hidden_size).iter().map(|(_, shape, _)| shape.iter().product::<usize>()).sum()
}

/// The width at which the control's network, of (2d + 1)·width + d parameters, has as many as LPC's
/// codebook, prior and posterior at K codes: to the nearest.
pub fn control_width(hidden_size: usize, match_codes: usize) -> usize {
    let lpc = Latent::Marginal { codes: match_codes, codebook_std: 0.0, heads_learning_rate: None };
    let (d, parameters) = (hidden_size, parameter_count(&lpc, hidden_size));
    let of_one = 2 * d + 1;
    (parameters - d + of_one / 2) / of_one
}

/// A two-layer network of these inputs, width and outputs.
fn push_network(layout: &mut Layout, name: &str, [inputs, width, outputs]: [usize; 3]) {
    for (layer, inputs, outputs) in [(1, inputs, width), (2, width, outputs)] {
        layout.push((format!("{name}.w{layer}"), vec![outputs, inputs], Init::Linear { inputs }));
        layout.push((format!("{name}.b{layer}"), vec![outputs], Init::Linear { inputs }));
    }
}

/// Adds freshly initialised heads to `parameters`: none for a plain policy.
pub fn init_heads(
    parameters: &mut Parameters,
    hidden_size: usize,
    latent: &Latent,
    rng: &mut impl Rng,
) -> Result<()> {
    for (name, shape, init) in layout(latent, hidden_size) {
        let n = shape.iter().product();
        let values: Vec<f64> = match init {
            Init::Normal { std } => seed::normal(rng, n).into_iter().map(|v| v * std).collect(),
            Init::Linear { inputs } => {
                let bound = (inputs as f64).powf(-0.5);
                (0..n).map(|_| (2.0 * seed::open_unit(rng) - 1.0) * bound).collect()
            }
        };
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        parameters.insert(&format!("{PREFIX}{name}"), Tensor::from_vec(values, shape, &Device::Cpu)?)?;
    }
    Ok(())
}

impl Heads {
    /// None for a plain policy. Errors: a parameter that is missing or has another shape, by name.
    pub fn new(parameters: &Parameters, hidden_size: usize, latent: &Latent) -> Result<Option<Self>> {
        let shapes = layout(latent, hidden_size);
        let get = |name: &str| {
            // What a kind reads, its layout lists.
            let shape = shapes.iter().find(|(n, ..)| n == name).map_or(&[][..], |(_, shape, _)| shape);
            parameters.get(&format!("{PREFIX}{name}"), shape)
        };
        let network = |name: &str| -> Result<Mlp> {
            let part = |part: &str| get(&format!("{name}.{part}"));
            Ok(Mlp { w1: part("w1")?, b1: part("b1")?, w2: part("w2")?, b2: part("b2")? })
        };
        Ok(match latent {
            Latent::None {} => None,
            Latent::Gumbel { .. } | Latent::ExactElbo { .. } | Latent::Marginal { .. } => {
                Some(Self::Codes(CodeHeads {
                    codebook: get("codebook")?,
                    prior: network("prior")?,
                    posterior: network("posterior")?,
                }))
            }
            Latent::Control { .. } => Some(Self::Control(network("control")?)),
            Latent::Factors { .. } => Some(Self::Factors(get("factors")?)),
            Latent::Gaussian { .. } => Some(Self::Gaussian(GaussianHeads {
                projection: get("projection")?,
                prior: network("prior")?,
                posterior: network("posterior")?,
            })),
        })
    }
}
