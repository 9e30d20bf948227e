//! Which parameters a latent has, how they begin, and where they are read.

use super::{PREFIX, kind};
use crate::config::Latent;
use crate::model::parameters::Parameters;
use crate::tensor::latent::Mlp;
use crate::{Result, seed};
use candle_core::{Device, Tensor};
use rand::Rng;

/// How a parameter begins.
#[derive(Debug, Clone, Copy)]
pub enum Init {
    /// Weights and biases of `torch.nn.Linear`: uniform within ±1/√inputs.
    Linear { inputs: usize },
    /// N(0, std²).
    Normal { std: f64 },
    /// A statistic of the base model, which nobody draws; see [`insert_statistics`](super::insert_statistics).
    Fixed,
}

/// Parameters: name behind [`PREFIX`], shape, beginning. Drawn in this order.
#[derive(Debug, Default)]
pub struct Layout(Vec<(String, Vec<usize>, Init)>);

impl Layout {
    pub(super) fn push(&mut self, name: &str, shape: [usize; 2], init: Init) {
        self.0.push((name.into(), shape.into(), init));
    }

    pub(super) fn push_vector(&mut self, name: &str, width: usize, init: Init) {
        self.0.push((name.into(), vec![width], init));
    }

    /// A two-layer network of these inputs, width and outputs. `last`: how the last layer's weights and
    /// biases begin, where not as `torch.nn.Linear`.
    pub(super) fn push_network(
        &mut self,
        name: &str,
        [inputs, width, outputs]: [usize; 3],
        last: Option<[Init; 2]>,
    ) {
        for (layer, inputs, outputs) in [(1, inputs, width), (2, width, outputs)] {
            let linear = [Init::Linear { inputs }; 2];
            let [weights, biases] = if layer == 2 { last.unwrap_or(linear) } else { linear };
            self.0.push((format!("{name}.w{layer}"), vec![outputs, inputs], weights));
            self.0.push((format!("{name}.b{layer}"), vec![outputs], biases));
        }
    }

    /// Numbers in all, biases included.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|(_, shape, _)| shape.iter().product::<usize>()).sum()
    }
}

/// Numbers of a latent's parameters.
pub fn heads_count(latent: &Latent, hidden_size: usize) -> usize {
    kind(latent).map_or(0, |kind| kind.layout(hidden_size).count())
}

/// Adds freshly initialised heads to `parameters`: none for a plain policy. Statistics of the base model are left out.
pub fn init_heads(
    parameters: &mut Parameters,
    hidden_size: usize,
    latent: &Latent,
    rng: &mut impl Rng,
) -> Result<()> {
    let layout = kind(latent).map(|kind| kind.layout(hidden_size)).unwrap_or_default();
    for (name, shape, init) in layout.0 {
        let n = shape.iter().product();
        let values: Vec<f64> = match init {
            Init::Fixed => continue,
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

/// Parameters by their names behind [`PREFIX`], in the shapes of a layout.
pub struct Reader<'a> {
    parameters: &'a Parameters,
    layout: Layout,
}

impl<'a> Reader<'a> {
    pub(super) fn new(parameters: &'a Parameters, layout: Layout) -> Self {
        Self { parameters, layout }
    }

    /// Errors: the parameter is missing or has another shape than the layout's.
    pub(super) fn get(&self, name: &str) -> Result<Tensor> {
        // What a kind reads, its layout lists.
        let shape = self.layout.0.iter().find(|(n, ..)| n == name).map_or(&[][..], |(_, shape, _)| shape);
        self.parameters.get(&format!("{PREFIX}{name}"), shape)
    }

    /// Errors: as [`Self::get`].
    pub(super) fn network(&self, name: &str) -> Result<Mlp> {
        let part = |part: &str| self.get(&format!("{name}.{part}"));
        Ok(Mlp { w1: part("w1")?, b1: part("b1")?, w2: part("w2")?, b2: part("b2")? })
    }
}
