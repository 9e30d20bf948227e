//! DPO's updates as training makes them, timed: plain or with a latent.

use crate::{Arguments, say};
use candle_core::{DType, Device as Place, Tensor};
use lpc::config::{Latent, Memory, MomentsKept, Objective, Precision, PriorWeight, Training};
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::{LatentInputs, init_heads, noise_rows};
use lpc::machine::device::Device;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::gradients::Gradients;
use lpc::model::parameters::Parameters;
use lpc::passes::gpu::{Flat, Formats, Gpu, Room};
use lpc::passes::policy::PairPolicy;
use lpc::passes::trainable::Trainable;
use lpc::seed;
use lpc::tensor::elbo::SampleNoise;
use lpc::train::budget::bytes;
use lpc::train::fit::reference_tensors;
use lpc::train::loss::pair_losses;
use lpc::train::micro_batches::micro_batches;
use lpc::train::optim::AdamW;
use lpc::train::reference::ReferenceLogps;
use lpc::train::step::forward_backward;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

pub const BETA: f64 = 0.1;

const OBJECTIVE: Objective = Objective::Dpo { beta: BETA };

/// The paper's 32 codes.
pub fn latent(name: &str) -> Option<Latent> {
    let (codes, codebook_std, kl_weight, heads_learning_rate) = (32, 0.02, 0.05, None);
    Some(match name {
        "none" => Latent::None {},
        "gumbel" => {
            let prior_weight = PriorWeight::Linear {};
            Latent::Gumbel {
                codes,
                gumbel_tau: 1.0,
                kl_weight,
                codebook_std,
                heads_learning_rate,
                heads_input: Default::default(),
                prior_weight,
            }
        }
        "marginal" => {
            Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() }
        }
        "elbo" => Latent::ExactElbo {
            codes,
            kl_weight,
            codebook_std,
            heads_learning_rate,
            heads_input: Default::default(),
        },
        _ => return None,
    })
}

fn training(a: &Arguments) -> Training {
    Training {
        dtype: Precision::Bf16,
        epochs: 1,
        batch_size: a.batch,
        micro_batch_size: a.batch,
        learning_rate: 5e-7,
        warmup_ratio: 0.1,
        weight_decay: 0.0,
        adam_beta1: 0.9,
        adam_beta2: 0.95,
        adam_epsilon: 1e-8,
        max_grad_norm: 1.0,
        recompute: true,
        memory: Memory::Flat { moments: MomentsKept::F32, gradients: Precision::F32, pack: a.pack },
        checkpoint_every: usize::MAX,
    }
}

/// A pack's gradients; the sum of its losses, of a reference that knows nothing.
pub fn loss_of(
    policy: &dyn PairPolicy,
    parameters: &Parameters,
    pairs: &[&TokenizedPair],
    gradients: &mut Gradients,
    batch_size: usize,
) -> lpc::Result<f64> {
    let batch = PairBatch::new(pairs, policy.dtype(), policy.device())?;
    let reference = pairs.iter().map(|_| ReferenceLogps { chosen: 0.0, rejected: 0.0 });
    let reference = reference_tensors(reference, policy.device())?;
    let draw = |noise| {
        let names = pairs.iter().map(|pair| pair.index.to_string());
        noise_rows(1, names, noise, policy.device())
    };
    let noise = policy.heads().and_then(|heads| heads.noise());
    let inputs = match noise {
        None => None,
        Some(noise) => {
            let noise = SampleNoise { prior: draw(noise)?, posterior: draw(noise)? };
            Some(LatentInputs { noise, prior_weight: 0.5 })
        }
    };
    forward_backward(policy.forward(&batch, true)?, parameters, gradients, |states| {
        let outputs = pair_losses(policy, states, &batch, Some(&reference), OBJECTIVE, inputs.as_ref())?;
        let sum: Tensor = outputs.loss.sum_all()?;
        let value = sum.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok(((sum / batch_size as f64)?, value))
    })
}

pub fn measure(
    device: &Arc<Device>,
    place: &Place,
    config: &DecoderConfig,
    formats: Formats,
    pairs: &[TokenizedPair],
    (latent_name, a): (&str, &Arguments),
) -> Result<(), Box<dyn std::error::Error>> {
    let latent = latent(latent_name).ok_or("an unknown --latent")?;
    let row = pairs.iter().map(TokenizedPair::row_tokens).max().ok_or("no pairs")?;
    let room = Room { tokens: a.pack, row, scores: Room::SCORES };
    let start = Instant::now();
    let gpu = Gpu::new(device, config, formats, room)?;
    gpu.weights.draw(1)?;
    let mut heads = Parameters::default();
    init_heads(&mut heads, config.hidden_size, &latent, &mut seed::stream(1, "heads"))?;
    let (decoder, heads) = (Flat::new(gpu), heads.on(place)?);
    let model = Trainable::Flat { decoder, heads, device: place.clone() };
    let policy = model.policy(config, &latent, Precision::Bf16)?;
    let settings = training(a);
    let mut optimiser = AdamW::new(model.parameters(), &settings, 5e-7)?.with(model.flat());
    device.wait()?;
    say(
        "model",
        json!({ "shape": a.shape, "latent": latent_name, "parameters": config.count(), "formats": format!("{formats:?}"),
            "seconds": start.elapsed().as_secs_f64(), "planned_gib": bytes(config, &latent, formats, room)?.peak as f64 / 2f64.powi(30) }),
    );
    let before = device.trace().operations;
    let (begun, mut updates) = (Instant::now(), 0);
    while updates < a.updates.max(1) && (updates < 2 || begun.elapsed().as_secs_f64() < a.seconds) {
        let first = updates * a.batch % pairs.len().saturating_sub(a.batch).max(1);
        let batch = &pairs[first..(first + a.batch).min(pairs.len())];
        let all: Vec<usize> = (0..batch.len()).collect();
        let packs = micro_batches(&all, batch, &settings, false);
        let (start, mut gradients, mut loss) = (Instant::now(), Gradients::default(), 0.0);
        for members in &packs {
            let members: Vec<&TokenizedPair> = members.iter().map(|&i| &batch[i]).collect();
            loss += loss_of(policy.as_ref(), model.parameters(), &members, &mut gradients, batch.len())?;
        }
        device.wait()?;
        let passed = start.elapsed().as_secs_f64();
        let norm = optimiser.step(&gradients.into_tensors(model.parameters())?, 1.0)?;
        if !(norm.is_finite() && norm > 0.0 && loss.is_finite()) {
            return Err(format!("a norm of {norm} and a loss of {loss}").into());
        }
        device.wait()?;
        let seconds = start.elapsed().as_secs_f64();
        let row_tokens: usize = batch.iter().map(TokenizedPair::row_tokens).sum();
        say(
            "update",
            json!({ "shape": a.shape, "latent": latent_name, "pairs": batch.len(), "packs": packs.len(), "row_tokens": row_tokens, "seconds": seconds,
                "tokens_per_second": row_tokens as f64 / seconds, "pairs_per_second": batch.len() as f64 / seconds,
                "passes": passed, "optimiser": seconds - passed, "loss": loss / batch.len() as f64, "norm": norm,
                "used_gib": device.used()? as f64 / 2f64.powi(30), "host_mib": lpc::run::manifest::peak_memory_mib(),
                "tflops": (device.trace().operations - before) as f64 / begun.elapsed().as_secs_f64() / 1e12 }),
        );
        updates += 1;
    }
    Ok(())
}
