//! A policy as files: the decoder as others read it, the latent beside it.

use super::kind;
use crate::Result;
use crate::config::Recipe;
use crate::files::{write_json, write_tensors};
use crate::model::config::DecoderConfig;
use crate::model::save::{Source, save_tensors};
use crate::text::tokenizer::TextTokenizer;
use candle_core::Tensor;
use safetensors::View;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Files of LPC's own, beside `model.safetensors`: its parameters, and what they are.
pub const HEADS: &str = "lpc.safetensors";
pub const HEADS_CONFIG: &str = "lpc_config.json";

/// Writes a policy: LPC's heads in `lpc.safetensors` and `lpc_config.json` if it has any, then the
/// decoder as [`save_tensors`].
///
/// # Errors
/// As [`save_tensors`].
pub fn save_policy(
    folder: &Path,
    config: &DecoderConfig,
    heads: HashMap<String, Tensor>,
    decoder: Source<'_, impl View>,
    tokenizer: &TextTokenizer,
    recipe: &Recipe,
) -> Result<()> {
    if let Some(kind) = kind(&recipe.latent) {
        let mut json = json!({
            "hidden_size": config.hidden_size,
            "latent": recipe.latent,
            "latent_at_test": recipe.evaluation.latent,
        });
        if let Value::Object(entries) = &mut json {
            entries.extend(kind.words().parameters);
        }
        write_tensors(&folder.join(HEADS), heads, None)?;
        write_json(&folder.join(HEADS_CONFIG), &json)?;
    }
    save_tensors(folder, config, decoder, tokenizer)
}
