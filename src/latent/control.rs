//! A control for LPC: h_z = MLP(h_x), with as many parameters as a codebook and its networks.

use super::input::{self, Input};
use super::layout::Init;
use super::words::{object, of_prompt, python_network};
use super::{Drawn, Heads, Kind, LatentInputs, Layout, Noise, PriorLatent, Reader, Seen, Words, codes};
use crate::Result;
use crate::config::{HeadsInput, LatentAtTest};
use crate::tensor::latent::{Mlp, control_latent};
use candle_core::Tensor;
use std::sync::Arc;

struct Control {
    match_codes: usize,
    output_std: f64,
    input: HeadsInput,
}

#[derive(Debug)]
struct ControlHeads {
    network: Mlp,
    input: Input,
}

pub(super) fn kind(match_codes: usize, output_std: f64, input: HeadsInput) -> Box<dyn Kind> {
    Box::new(Control { match_codes, output_std, input })
}

/// The width at which the network, of (2d + 1)·width + d parameters, has as many as LPC's codebook,
/// prior and posterior at K codes: to the nearest.
fn width(hidden_size: usize, match_codes: usize) -> usize {
    let parameters = codes::layout(hidden_size, match_codes, 0.0).count();
    let of_one = 2 * hidden_size + 1;
    (parameters - hidden_size + of_one / 2) / of_one
}

impl Kind for Control {
    fn layout(&self, hidden_size: usize) -> Layout {
        let (d, mut layout) = (hidden_size, Layout::default());
        let width = width(d, self.match_codes);
        // A coordinate of h_z is about `output_std` times its inputs' size as training begins, as LPC's,
        // a mixture of codes N(0, `codebook_std`²), is at most `codebook_std`.
        let weights = Init::Normal { std: self.output_std / (width as f64).sqrt() };
        layout.push_network("control", [d, width, d], Some([weights, Init::Normal { std: 0.0 }]));
        input::push(&mut layout, self.input, d, 1);
        layout
    }

    fn heads(&self, parameters: &Reader<'_>) -> Result<Arc<dyn Heads>> {
        let input = Input::read(parameters, self.input, 1)?;
        Ok(Arc::new(ControlHeads { network: parameters.network("control")?, input }))
    }

    fn words(&self) -> Words {
        Words {
            title: format!(
                "preference training with a control for Latent Preference Coding: no codes, but a network of the prompt \
                 with as many parameters as {} codes and their networks have",
                self.match_codes
            ),
            at_test: "a network of the prompt's last state",
            python: format!("{}latent = {}\n", input::python(self.input), python_network("control")),
            parameters: object([
                ("control", of_prompt()),
                ("h_z", "control".into()),
                ("networks read", input::words(self.input).into()),
            ]),
        }
    }
}

impl Heads for ControlHeads {
    fn draw(&self, seen: &Seen<'_>, _inputs: Option<&LatentInputs>) -> Result<Drawn<'_>> {
        let h_z = control_latent(&self.network, &self.input.prompt(seen.prompt_hidden)?)?;
        Ok(Drawn::One { h_z, divergence: None, codes: None })
    }

    fn at_test(
        &self,
        _at_test: LatentAtTest,
        prompt_hidden: &Tensor,
        _factor_weights: Option<&Tensor>,
        _noise: &mut dyn FnMut(Noise) -> Result<Tensor>,
    ) -> Result<PriorLatent> {
        Ok(PriorLatent::Latent(control_latent(&self.network, &self.input.prompt(prompt_hidden)?)?))
    }
}
