//! DPO's updates in flat memory, plain and with latents, on random weights: tokens a second, memory, and what products and launches take.
//!
//!     cargo bench --features cuda --bench gpu -- --shape llama3-8b --seconds 60
//!     cargo bench --bench gpu -- --shape tiny        the same on the host, to see that it works
//!
//! Prints a line of JSON for each measurement. Lengths are drawn, or those of `--lengths FILE`, a JSON list of
//! [prompt, chosen, rejected].

mod pairs;
mod parity;
mod report;
mod steps;

use candle_core::Device as Place;
use clap::Parser;
use half::bf16;
use lpc::experiment::trainable::fill;
use lpc::machine::device::{Device, Memory, Operand};
use lpc::model::config::DecoderConfig;
use lpc::model::load::huggingface;
use lpc::passes::gpu::{Formats, Gpu, Room};
use lpc::train::budget::FORMATS;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: lpc::machine::allocator::Allocator = lpc::machine::allocator::ALLOCATOR;

#[derive(Parser)]
struct Arguments {
    /// llama3-8b, mistral-7b, smollm2, wide (two layers of Llama 3's) or tiny
    #[arg(long, default_value = "tiny")]
    shape: String,
    /// Tokens that are computed at a time
    #[arg(long, default_value_t = 4096)]
    pack: usize,
    /// Pairs of one update
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Which of `lpc plan`'s formats, from 0
    #[arg(long, default_value_t = 3)]
    formats: usize,
    /// Seconds after which no update begins, for each latent
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Most updates for each latent
    #[arg(long, default_value_t = usize::MAX)]
    updates: usize,
    /// none, gumbel, marginal or elbo, one or several
    #[arg(long, default_value = "none", value_delimiter = ',')]
    latent: Vec<String>,
    /// Instead of updates: read this folder's weights into the device
    #[arg(long, value_name = "FOLDER")]
    load: Option<PathBuf>,
    /// Instead of updates: write one step's loss and gradients into this folder, for torch_parity.py
    #[arg(long, value_name = "FOLDER")]
    parity: Option<PathBuf>,
    /// Instead of measuring: make a page and a table of such lines, in reports/gpu or in --out
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[arg(long, value_name = "FOLDER", default_value = "reports/gpu")]
    out: PathBuf,
    /// A device that holds nothing, to see what the host needs
    #[arg(long)]
    plan: bool,
    #[arg(long)]
    lengths: Option<PathBuf>,
    /// Number of the GPU, where the program is built for one
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn say(what: &str, values: Value) {
    let mut line = json!({ "what": what });
    if let (Some(line), Some(values)) = (line.as_object_mut(), values.as_object()) {
        line.extend(values.clone());
    }
    println!("{line}");
}

/// Ours, and candle's on the same.
fn device(_number: usize) -> lpc::Result<(Arc<Device>, Place)> {
    #[cfg(feature = "cuda")]
    let place = Place::new_cuda(_number)?;
    #[cfg(not(feature = "cuda"))]
    let place = Place::Cpu;
    Ok((Device::beside(&place)?, place))
}

/// Reads a folder's weights, a piece at a time.
fn load(device: &Arc<Device>, folder: &Path, formats: Formats) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let base = huggingface::open(folder)?;
    let hashed = start.elapsed().as_secs_f64();
    let gpu = Gpu::new(device, &base.config, formats, Room { tokens: 8, row: 8, scores: 1 })?;
    fill(&gpu.weights, &base)?;
    device.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    say(
        "load",
        json!({ "parameters": base.config.count(), "hash_seconds": hashed, "seconds": seconds,
            "host_mib": lpc::run::manifest::peak_memory_mib() }),
    );
    Ok(())
}

fn shape(name: &str) -> Option<DecoderConfig> {
    let llama = DecoderConfig::named("llama3-8b")?;
    match name {
        "wide" => Some(DecoderConfig { num_hidden_layers: 2, ..llama }),
        "smollm2" => Some(DecoderConfig {
            vocab_size: 49_152,
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            head_dim: 64,
            tie_word_embeddings: true,
            ..llama
        }),
        "tiny" => Some(DecoderConfig {
            vocab_size: 500,
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 16,
            ..llama
        }),
        other => DecoderConfig::named(other),
    }
}

/// Median seconds of `work`, the device's waits included.
fn timed(device: &Device, times: usize, mut work: impl FnMut() -> lpc::Result<()>) -> lpc::Result<f64> {
    work()?;
    device.wait()?;
    let mut seconds = vec![];
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        device.wait()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[times / 2])
}

/// One product of a block, the head's, a launch, and a copy to the device.
fn parts(device: &Arc<Device>, config: &DecoderConfig, tokens: usize) -> lpc::Result<()> {
    let (d, ff) = (config.hidden_size, config.intermediate_size);
    for (m, k, n) in [(tokens, d, 2 * ff), (tokens, ff, d), (tokens.min(512), d, config.vocab_size)] {
        let [a, b] = [m * k, k * n].map(|len| Memory::<bf16>::zeros(device, "parts", len));
        let (a, b, out) = (a?, b?, Memory::<f32>::zeros(device, "parts", m * n)?);
        let seconds = timed(device, 9, || {
            let (a, b) = (Operand::new(a.all(), m, k), Operand::new(b.all(), n, k).t());
            device.multiply(a, b, out.all(), false)
        })?;
        let tflops = 2e-12 * (m * k) as f64 * n as f64 / seconds;
        say("product", json!({ "m": m, "k": k, "n": n, "ms": 1e3 * seconds, "tflops": tflops }));
    }
    let small = Memory::<f32>::zeros(device, "parts", 256)?;
    let seconds = timed(device, 9, || (0..1000).try_for_each(|_| small.all().clear()))?;
    say("launch", json!({ "microseconds": 1e3 * seconds }));
    let numbers = vec![0f32; 1 << 24];
    let there = Memory::<f32>::zeros(device, "parts", numbers.len())?;
    let seconds = timed(device, 5, || there.all().write(&numbers))?;
    say("copy to the device", json!({ "gb_per_second": 4e-9 * numbers.len() as f64 / seconds }));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a = Arguments::parse();
    if let Some(measured) = &a.report {
        return report::write(measured, &a.out);
    }
    let config = shape(&a.shape).ok_or("an unknown --shape")?;
    let formats = *FORMATS.get(a.formats).ok_or("--formats from 0 to 5")?;
    let (device, place) = if a.plan { (Device::plan(), Place::Cpu) } else { device(a.gpu)? };
    say("device", json!({ "name": device.name()?, "memory_gib": device.memory()? as f64 / 2f64.powi(30) }));
    if let Some(folder) = &a.load {
        return load(&device, folder, formats);
    }
    let pairs = pairs::pairs(a.lengths.as_deref(), &config, a.pack)?;
    if let Some(folder) = &a.parity {
        return parity::write((&device, &place), &config, formats, &pairs, (folder, &a));
    }
    parts(&device, &config, a.pack)?;
    for latent in &a.latent {
        steps::measure(&device, &place, &config, formats, &pairs, (latent, &a))?;
    }
    Ok(())
}
