//! The numbers of a model that is trained.

use super::gpu::{Export, Flat, FlatPolicy};
use super::policy::{PairPolicy, Policy};
use crate::Result;
use crate::config::{Latent, Precision, Recipe};
use crate::latent::{self, PREFIX};
use crate::model::config::DecoderConfig;
use crate::model::parameters::Parameters;
use crate::model::save::Source;
use crate::text::tokenizer::TextTokenizer;
use candle_core::Device;
use std::collections::HashMap;
use std::path::Path;

/// What a run trains: a decoder, and the heads of its latent.
#[derive(Debug, Clone)]
pub enum Trainable {
    /// All of it in candle's tensors.
    Tensors(Parameters),
    /// The heads in candle's tensors on `device`, the decoder in flat memory.
    Flat { decoder: Flat, heads: Parameters, device: Device },
}

impl From<Parameters> for Trainable {
    fn from(parameters: Parameters) -> Self {
        Self::Tensors(parameters)
    }
}

impl Trainable {
    /// What candle's tensors hold of it.
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::Tensors(parameters) | Self::Flat { heads: parameters, .. } => parameters,
        }
    }

    /// What flat memory holds of it.
    pub fn flat(&self) -> Option<&Flat> {
        match self {
            Self::Tensors(_) => None,
            Self::Flat { decoder, .. } => Some(decoder),
        }
    }

    /// Writes the model, its weights as f32; see [`latent::save_policy`].
    ///
    /// Errors: a file that cannot be written, a device that does not answer.
    pub fn save(
        &self,
        folder: &Path,
        config: &DecoderConfig,
        tokenizer: &TextTokenizer,
        recipe: &Recipe,
    ) -> Result<()> {
        let all = self.parameters().tensors().into_iter();
        let (heads, weights): (HashMap<_, _>, HashMap<_, _>) =
            all.partition(|(name, _)| name.starts_with(PREFIX));
        match self {
            Self::Tensors(_) => {
                latent::save_policy(folder, config, heads, Source::of(config, &weights)?, tokenizer, recipe)
            }
            Self::Flat { decoder, .. } => {
                let export = Export::of(decoder);
                let source = Source { tensors: export.tensors(config), read: &|| export.read() };
                latent::save_policy(folder, config, heads, source, tokenizer, recipe)
            }
        }
    }

    /// Errors: a parameter that is missing or has another shape, by name.
    pub fn policy(
        &self,
        config: &DecoderConfig,
        latent: &Latent,
        precision: Precision,
    ) -> Result<Box<dyn PairPolicy>> {
        Ok(match self {
            Self::Tensors(parameters) => Box::new(Policy::new(config, parameters, latent, precision)?),
            Self::Flat { decoder, heads, device } => {
                let heads = latent::heads(heads, config.hidden_size, latent)?;
                Box::new(FlatPolicy::new(decoder, heads, device))
            }
        })
    }
}
