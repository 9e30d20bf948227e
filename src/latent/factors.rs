//! h_z = Σ_f w_f(x) e_f with the built-in world's true weights: what a latent could know at most.

use super::layout::Init;
use super::words::object;
use super::{Drawn, Heads, Kind, LatentInputs, Layout, Noise, PriorLatent, Reader, Seen, Words, missing};
use crate::config::LatentAtTest;
use crate::data::world::Factor;
use crate::tensor::codebook::linear_latent;
use crate::{Error, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// F, of the built-in world.
pub const FACTORS: usize = Factor::ALL.len();

struct Factors {
    output_std: f64,
}

#[derive(Debug)]
struct FactorHeads {
    /// e_f [F, d], a row a factor.
    vectors: Tensor,
}

pub(super) fn kind(output_std: f64) -> Box<dyn Kind> {
    Box::new(Factors { output_std })
}

impl Kind for Factors {
    fn layout(&self, hidden_size: usize) -> Layout {
        let mut layout = Layout::default();
        let std = self.output_std / (FACTORS as f64).sqrt();
        layout.push("factors", [FACTORS, hidden_size], Init::Normal { std });
        layout
    }

    fn heads(&self, parameters: &Reader<'_>) -> Result<Arc<dyn Heads>> {
        Ok(Arc::new(FactorHeads { vectors: parameters.get("factors")? }))
    }

    fn words(&self) -> Words {
        let names = Factor::ALL.map(Factor::name);
        let ones = ["1.0"; FACTORS].join(", ");
        Words {
            title:
                "preference training told the true weights of every prompt's factors, in the place of codes"
                    .into(),
            at_test: "of a prompt whose factors all weigh 1; only the built-in world knows the true weights",
            python: format!(
                "weights = h_x.new_tensor([[{ones}]]) # {}\nlatent = weights @ lpc[\"factors\"]\n",
                names.join(", ")
            ),
            parameters: object([
                ("factors", names.to_vec().into()),
                ("h_z", "true weights of the prompt's factors @ factors".into()),
            ]),
        }
    }
}

impl Heads for FactorHeads {
    fn needs_factor_weights(&self) -> bool {
        true
    }

    fn draw(&self, seen: &Seen<'_>, _inputs: Option<&LatentInputs>) -> Result<Drawn<'_>> {
        let weights = seen.factor_weights.ok_or_else(|| missing("the pairs' factor weights"))?;
        Ok(Drawn::One { h_z: linear_latent(weights, &self.vectors)?, divergence: None, codes: None })
    }

    fn at_test(
        &self,
        _at_test: LatentAtTest,
        _prompt_hidden: &Tensor,
        factor_weights: Option<&Tensor>,
        _noise: &mut dyn FnMut(Noise) -> Result<Tensor>,
    ) -> Result<PriorLatent> {
        let weights = factor_weights.ok_or_else(|| {
            let expected = "pairs of the built-in world, which carry their true weights";
            Error::argument("latent.mode = \"factors\"", "factor weights", "none", expected)
        })?;
        Ok(PriorLatent::Latent(linear_latent(weights, &self.vectors)?))
    }
}
