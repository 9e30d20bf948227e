//! One step's loss and every gradient in files, for PyTorch to calculate the same (`torch_parity.py`).

use crate::Arguments;
use crate::steps::{BETA, loss_of};
use candle_core::{Device as Place, Tensor};
use half::bf16;
use lpc::config::{Latent, Precision};
use lpc::data::tokenize::TokenizedPair;
use lpc::files::{write_json, write_tensors};
use lpc::machine::device::Device;
use lpc::model::config::DecoderConfig;
use lpc::model::gradients::Gradients;
use lpc::model::parameters::Parameters;
use lpc::passes::gpu::{Flat, Formats, Gpu, Room};
use lpc::passes::trainable::Trainable;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Pairs of the step.
const PAIRS: usize = 4;

pub fn write(
    (device, place): (&Arc<Device>, &Place),
    config: &DecoderConfig,
    formats: Formats,
    pairs: &[TokenizedPair],
    (folder, a): (&Path, &Arguments),
) -> Result<(), Box<dyn std::error::Error>> {
    // The shortest, so that PyTorch's f32 model has room beside its gradients.
    let mut members: Vec<&TokenizedPair> = pairs.iter().collect();
    members.sort_by_key(|pair| pair.row_tokens());
    let members = &members[..PAIRS.min(members.len())];
    let row = members.iter().map(|pair| pair.row_tokens()).max().ok_or("no pairs")?;
    let gpu = Gpu::new(device, config, formats, Room { tokens: a.pack, row, scores: Room::SCORES })?;
    gpu.weights.draw(1)?;
    let model =
        Trainable::Flat { decoder: Flat::new(gpu), heads: Parameters::default(), device: place.clone() };
    let policy = model.policy(config, &Latent::None {}, Precision::Bf16)?;
    let mut gradients = Gradients::default();
    let loss = loss_of(policy.as_ref(), model.parameters(), members, &mut gradients, members.len())?;
    let decoder = model.flat().ok_or("a decoder in flat memory")?.lock();
    // Products read bf16 numbers, so PyTorch gets those; a tensor at a time is in the host's memory twice.
    let (mut weights, mut found) = (vec![], vec![]);
    for (name, shape) in config.parameter_shapes() {
        let numbers: Vec<bf16> = decoder.weights.get(&name)?.into_iter().map(bf16::from_f32).collect();
        weights.push((name.clone(), Tensor::from_vec(numbers, shape.as_slice(), &Place::Cpu)?));
        let gradient = decoder.weights.gradient_of(&name)?;
        found.push((name, Tensor::from_vec(gradient, shape.as_slice(), &Place::Cpu)?));
    }
    write_tensors(&folder.join("model.safetensors"), weights, None)?;
    write_tensors(&folder.join("gradients.safetensors"), found, None)?;
    let ids: Vec<_> = members.iter().map(|pair| [&pair.prompt, &pair.chosen, &pair.rejected]).collect();
    let step = json!({ "shape": a.shape, "beta": BETA, "loss": loss / members.len() as f64, "pairs": ids });
    write_json(&folder.join("step.json"), &step)?;
    // Its keys are those of transformers.
    write_json(&folder.join("shape.json"), &serde_json::to_value(config)?)?;
    Ok(())
}
