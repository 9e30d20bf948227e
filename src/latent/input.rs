//! What the networks of a latent read: hidden states, or what fixed statistics of the base model make of them. Prompts'
//! last states and completions' have their own statistics, because a completion ends in another token.

use super::layout::Init;
use super::{Layout, Reader};
use crate::Result;
use crate::config::{HeadsInput, Latent};
use crate::model::parameters::Parameters;
use crate::tensor::heads_input::{moments, standardise, whitening};
use candle_core::{DType, Tensor};

/// What the names of the statistics begin with: parameters that training leaves alone.
pub const FIXED: &str = "lpc.input.";

/// Of the mean variance, added to every direction's before whitening. A choice.
pub const RIDGE: f64 = 1e-3;

const SIDES: [&str; 2] = ["prompt", "completion"];

/// Adds the statistics' names; `sides`: how many of [`SIDES`] the latent reads.
pub(super) fn push(layout: &mut Layout, input: HeadsInput, hidden_size: usize, sides: usize) {
    for side in &SIDES[..sides] {
        if input != HeadsInput::Raw {
            layout.push_vector(&format!("input.{side}.mean"), hidden_size, Init::Fixed);
        }
        if input == HeadsInput::Whitened {
            layout.push(&format!("input.{side}.matrix"), [hidden_size; 2], Init::Fixed);
        }
    }
}

/// The base model's last hidden states of training pairs, in f64.
pub struct States {
    /// [n, d]
    pub prompt: Tensor,
    /// Chosen and rejected completions, which no statistic tells apart, [2n, d].
    pub completion: Tensor,
}

/// Gives `parameters` the statistics that the latent reads by; nothing for raw states.
///
/// Errors: states without variance.
pub fn insert_statistics(parameters: &mut Parameters, latent: &Latent, states: &States) -> Result<()> {
    let input = latent.heads_input();
    let sides = if latent.reads_completions() { 2 } else { 1 };
    for (side, states) in SIDES.iter().zip([&states.prompt, &states.completion]).take(sides) {
        let (mean, covariance) = moments(states)?;
        if input != HeadsInput::Raw {
            parameters.insert(&format!("{FIXED}{side}.mean"), mean.to_dtype(DType::F32)?)?;
        }
        if input == HeadsInput::Whitened {
            let matrix = whitening(&covariance, RIDGE)?.to_dtype(DType::F32)?;
            parameters.insert(&format!("{FIXED}{side}.matrix"), matrix)?;
        }
    }
    Ok(())
}

/// The statistics at work.
#[derive(Debug, Clone, Default)]
pub(super) struct Input {
    prompt: Side,
    completion: Side,
}

/// (mean, matrix)
type Side = Option<(Tensor, Option<Tensor>)>;

impl Input {
    /// Errors: a statistic that is missing or has another shape.
    pub(super) fn read(parameters: &Reader<'_>, input: HeadsInput, sides: usize) -> Result<Self> {
        // Constants, whatever the parameters beside them are.
        let get = |name: String| parameters.get(&name).map(|tensor| tensor.detach());
        let side = |name: &str| -> Result<Side> {
            let mean = || get(format!("input.{name}.mean"));
            Ok(match input {
                HeadsInput::Raw => None,
                HeadsInput::Centred => Some((mean()?, None)),
                HeadsInput::Whitened => Some((mean()?, Some(get(format!("input.{name}.matrix"))?))),
            })
        };
        let completion = if sides > 1 { side(SIDES[1])? } else { None };
        Ok(Self { prompt: side(SIDES[0])?, completion })
    }

    pub(super) fn prompt(&self, hidden: &Tensor) -> Result<Tensor> {
        read(&self.prompt, hidden)
    }

    pub(super) fn completion(&self, hidden: &Tensor) -> Result<Tensor> {
        read(&self.completion, hidden)
    }
}

fn read(side: &Side, hidden: &Tensor) -> Result<Tensor> {
    match side {
        None => Ok(hidden.clone()),
        Some((mean, matrix)) => standardise(hidden, mean, matrix.as_ref()),
    }
}

/// What `h_x` is replaced by, in Python.
pub(super) fn python(input: HeadsInput) -> String {
    match input {
        HeadsInput::Raw => String::new(),
        HeadsInput::Centred => "h_x = h_x - lpc[\"input.prompt.mean\"]\n".into(),
        HeadsInput::Whitened => {
            "h_x = (h_x - lpc[\"input.prompt.mean\"]) @ lpc[\"input.prompt.matrix\"].T\n".into()
        }
    }
}

/// In words, for `lpc_config.json` and the card.
pub(super) fn words(input: HeadsInput) -> &'static str {
    match input {
        HeadsInput::Raw => "hidden states as they are",
        HeadsInput::Centred => "hidden states minus the base model's mean (input.*.mean)",
        HeadsInput::Whitened => {
            "hidden states minus the base model's mean, whitened by its covariance (input.*.mean, input.*.matrix)"
        }
    }
}
