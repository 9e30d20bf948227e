//! DPO's updates, timed.

use crate::pairs::{packs, tokens};
use crate::{Arguments, say};
use candle_core::{DType, Device as Place};
use lpc::config::Latent;
use lpc::data::tokenize::TokenizedPair;
use lpc::machine::device::Device;
use lpc::machine::device::kernels::Step;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::passes::gpu::{Asked, Formats, Gpu, Room};
use lpc::train::budget::bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

const BETA: f64 = 0.1;

/// Seconds of the parts of an update.
#[derive(Default)]
struct Spent {
    forward: f64,
    head: f64,
    backward: f64,
    update: f64,
}

/// A pack's gradients; the sum of its losses, of a reference that says 0.
fn pack(gpu: &mut Gpu, pairs: &[&TokenizedPair], device: &Device, spent: &mut Spent) -> lpc::Result<f64> {
    let batch = PairBatch::new(pairs, DType::F32, &Place::Cpu)?;
    let predictors: Vec<u32> = batch.predictors.to_vec1()?;
    let start = Instant::now();
    let run = gpu.forward(&batch.rows)?;
    device.wait()?;
    let forward = start.elapsed().as_secs_f64();
    let asked = Asked { rows: predictors, tokens: batch.targets.clone(), shifts: None };
    let (logps, scored) = gpu.token_logps(run, asked)?;
    let head = start.elapsed().as_secs_f64();
    let mut sums = vec![0f64; 2 * pairs.len()];
    let places = batch.token_completion.iter().map(|c| *c as usize);
    places.clone().zip(&logps).for_each(|(at, logp)| sums[at] += f64::from(*logp));
    let margin = |b: usize| BETA * (sums[b] - sums[pairs.len() + b]);
    // d/dmargin of -log sigma(margin), for chosen and with the other sign for rejected.
    let slope = |b: usize| -BETA / (1.0 + margin(b).exp());
    let d_logps: Vec<f32> =
        places.map(|at| if at < pairs.len() { slope(at) } else { -slope(at - pairs.len()) } as f32).collect();
    gpu.token_logps_backward(&scored, &d_logps)?;
    gpu.backward(run, &[], &[])?;
    device.wait()?;
    spent.forward += forward;
    spent.head += head - forward;
    spent.backward += start.elapsed().as_secs_f64() - head;
    // log(1 + e^-m), also for large margins of either sign.
    let loss = |m: f64| (-m).max(0.0) + (-m.abs()).exp().ln_1p();
    Ok((0..pairs.len()).map(|b| loss(margin(b))).sum())
}

pub fn measure(
    device: &Arc<Device>,
    config: &DecoderConfig,
    formats: Formats,
    pairs: &[TokenizedPair],
    a: &Arguments,
) -> Result<(), Box<dyn std::error::Error>> {
    let row = pairs.iter().map(tokens).max().ok_or("no pairs")?;
    let room = Room { tokens: a.pack, row, scores: Room::SCORES };
    let start = Instant::now();
    let mut gpu = Gpu::new(device, config, formats, room)?;
    gpu.weights.draw(1)?;
    device.wait()?;
    say(
        "model",
        json!({ "shape": a.shape, "parameters": config.count(), "formats": format!("{formats:?}"),
            "seconds": start.elapsed().as_secs_f64(), "planned_gib": bytes(config, &Latent::None {}, formats, room)?.peak as f64 / 2f64.powi(30) }),
    );
    let before = device.trace().operations;
    let (begun, mut updates) = (Instant::now(), 0);
    while updates < 2 || begun.elapsed().as_secs_f64() < a.seconds {
        let first = updates * a.batch % pairs.len().saturating_sub(a.batch).max(1);
        let batch = &pairs[first..(first + a.batch).min(pairs.len())];
        let packs = packs(batch, a.pack);
        let (start, mut spent, mut loss) = (Instant::now(), Spent::default(), 0.0);
        for members in &packs {
            loss += pack(&mut gpu, members, device, &mut spent)?;
        }
        let passed = start.elapsed().as_secs_f64();
        let norm = gpu.weights.square_sum()?.sqrt();
        if !(norm.is_finite() && norm > 0.0 && loss.is_finite()) {
            return Err(format!("a norm of {norm} and a loss of {loss}").into());
        }
        let step = Step {
            clip: (1.0 / (norm + 1e-6)).min(1.0) as f32,
            beta1: 0.9,
            beta2: 0.95,
            step_size: 5e-7,
            second_scale: 1.0,
            epsilon: 1e-8,
            keep: 1.0,
        };
        gpu.weights.update(&step, updates as u32)?;
        device.wait()?;
        let seconds = start.elapsed().as_secs_f64();
        spent.update = seconds - passed;
        let row_tokens: usize = batch.iter().map(tokens).sum();
        say(
            "update",
            json!({ "pairs": batch.len(), "packs": packs.len(), "row_tokens": row_tokens, "seconds": seconds,
                "tokens_per_second": row_tokens as f64 / seconds, "pairs_per_second": batch.len() as f64 / seconds,
                "forward": spent.forward, "head": spent.head, "backward": spent.backward, "optimiser": spent.update,
                "loss": loss / batch.len() as f64, "norm": norm, "used_gib": device.used()? as f64 / 2f64.powi(30),
                "tflops": (device.trace().operations - before) as f64 / begun.elapsed().as_secs_f64() / 1e12 }),
        );
        updates += 1;
    }
    Ok(())
}
