//! z ~ N(μ, diag σ²) in the place of a code: prior, posterior, their KL and (11) as LPC has them.

use super::input::{self, Input};
use super::layout::Init;
use super::words::{object, of_pair, of_prompt, python_network};
use super::{
    Divergence, Drawn, Heads, Kind, LatentInputs, Layout, Noise, PriorLatent, Reader, Seen, Words, missing,
};
use crate::Result;
use crate::config::{HeadsInput, LatentAtTest};
use crate::tensor::codebook::linear_latent;
use crate::tensor::gaussian::{draw_gaussian, gaussian_sample, mean_and_log_std};
use crate::tensor::latent::{Mlp, posterior_logits, prior_logits};
use candle_core::Tensor;
use std::sync::Arc;

struct Gaussian {
    dimension: usize,
    kl_weight: f64,
    output_std: f64,
    input: HeadsInput,
}

/// The networks of (8) and (9) with μ and log σ in the place of logits, and what makes h_z of z.
#[derive(Debug)]
struct GaussianHeads {
    /// [D, d]
    projection: Tensor,
    prior: Mlp,
    posterior: Mlp,
    input: Input,
    kl_weight: f64,
}

pub(super) fn kind(dimension: usize, kl_weight: f64, output_std: f64, input: HeadsInput) -> Box<dyn Kind> {
    Box::new(Gaussian { dimension, kl_weight, output_std, input })
}

impl Kind for Gaussian {
    fn layout(&self, hidden_size: usize) -> Layout {
        let (d, z, mut layout) = (hidden_size, self.dimension, Layout::default());
        // A coordinate of h_z is about `output_std` as training begins.
        layout.push("projection", [z, d], Init::Normal { std: self.output_std / (z as f64).sqrt() });
        layout.push_network("prior", [d, d, 2 * z], None);
        layout.push_network("posterior", [2 * d, d, 2 * z], None);
        input::push(&mut layout, self.input, d, 2);
        layout
    }

    fn heads(&self, parameters: &Reader<'_>) -> Result<Arc<dyn Heads>> {
        Ok(Arc::new(GaussianHeads {
            projection: parameters.get("projection")?,
            prior: parameters.network("prior")?,
            posterior: parameters.network("posterior")?,
            input: Input::read(parameters, self.input, 2)?,
            kl_weight: self.kl_weight,
        }))
    }

    fn words(&self) -> Words {
        Words {
            title: format!(
                "preference training with a Gaussian latent of {} dimensions in the place of codes",
                self.dimension
            ),
            at_test: "the prior's mean, projected",
            python: format!(
                "{}mean = ({}).chunk(2, -1)[0]\nlatent = mean @ lpc[\"projection\"]\n",
                input::python(self.input),
                python_network("prior")
            ),
            parameters: object([
                ("prior", of_prompt()),
                ("posterior", of_pair()),
                ("outputs", "mean, then log of the standard deviation".into()),
                ("h_z", "z @ projection".into()),
                ("networks read", input::words(self.input).into()),
            ]),
        }
    }
}

impl Heads for GaussianHeads {
    fn noise(&self) -> Option<Noise> {
        Some(Noise::normal(self.projection.dims()[0]))
    }

    fn draw(&self, seen: &Seen<'_>, inputs: Option<&LatentInputs>) -> Result<Drawn<'_>> {
        let LatentInputs { noise, prior_weight } = inputs.ok_or_else(|| missing("noise and α"))?;
        let prior = prior_logits(&self.prior, &self.input.prompt(seen.prompt_hidden)?)?;
        let [chosen, rejected] = [seen.chosen_hidden, seen.rejected_hidden].map(|h| self.input.completion(h));
        let posterior = posterior_logits(&self.posterior, &chosen?, &rejected?)?;
        let draw = draw_gaussian(&prior, &posterior, noise, &self.projection, *prior_weight)?;
        let divergence = Divergence { kl: draw.kl, weight: self.kl_weight };
        Ok(Drawn::One { h_z: draw.latent, divergence: Some(divergence), codes: None })
    }

    fn at_test(
        &self,
        at_test: LatentAtTest,
        prompt_hidden: &Tensor,
        _factor_weights: Option<&Tensor>,
        noise: &mut dyn FnMut(Noise) -> Result<Tensor>,
    ) -> Result<PriorLatent> {
        let outputs = prior_logits(&self.prior, &self.input.prompt(prompt_hidden)?)?;
        let z = match at_test {
            LatentAtTest::Sample => {
                gaussian_sample(&outputs, &noise(Noise::normal(self.projection.dim(0)?))?)?
            }
            LatentAtTest::Mean | LatentAtTest::Exact => mean_and_log_std(&outputs)?.0,
        };
        Ok(PriorLatent::Latent(linear_latent(&z, &self.projection)?))
    }
}
