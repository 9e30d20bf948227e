//! `lpc plan`: what training a model on a GPU takes.

mod matrix;

pub(super) use matrix::{large, of_matrix};

use super::output::print;
use super::values::up_to;
use crate::config::Latent;
use crate::machine::device::kernels::MomentsFormat;
use crate::model::config::DecoderConfig;
use crate::model::load::huggingface::load_config;
use crate::passes::gpu::{Formats, Room};
use crate::plan::matrix::Matrix;
use crate::train::budget::{
    CARDS, Card, Disk, FORMATS, GIB, Lengths, RESERVE_GIB, Work, bytes, disk, needed, update_seconds, work,
};
use crate::{Error, Result};
use clap::Args;
use std::path::{Path, PathBuf};

/// Show how much GPU memory and time training a model takes
///
/// The bytes are those that training in flat memory allocates: it is run here without memory and without
/// computing. The time is the number of operations at an assumed share of the card's peak.
///
/// Example: lpc plan --model llama3-8b --gpu h100
///
/// Example: lpc plan --recipe paper/recipes/table2-paper.toml --gpus 8
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// llama3-8b, mistral-7b, or a Hugging Face folder with config.json
    #[arg(long, value_name = "MODEL", required_unless_present = "recipe")]
    model: Option<String>,
    /// A run matrix, as paper/recipes/table2-paper.toml: each of its models, on the cards of the paper's scale, by the
    /// lengths of its pairs where they and the model's tokenizer are there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "gpu", "codes", "pack", "row", "pairs", "batch", "lengths"])]
    recipe: Option<PathBuf>,
    /// GPUs that train runs side by side, one run each
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to::<usize>(10_000), requires = "recipe")]
    gpus: usize,
    /// h100, h200, a100-80g, 4090, or a memory in GiB
    #[arg(long, value_name = "GPU", default_value = "h100", value_parser = card)]
    gpu: Card,
    /// Codes of the latent; 0 plans a policy without one
    #[arg(long, value_name = "K", default_value = "32", value_parser = clap::value_parser!(u32).range(..=65_536))]
    codes: u32,
    /// Tokens that are computed at a time
    #[arg(long, value_name = "N", default_value = "4096", value_parser = up_to::<usize>(65_536))]
    pack: usize,
    /// Tokens of the longest row: a prompt with both answers
    #[arg(long, value_name = "N", default_value = "2048", value_parser = up_to::<usize>(65_536))]
    row: usize,
    /// Pairs that a run trains on
    #[arg(long, value_name = "N", default_value = "61952", value_parser = up_to::<usize>(1_000_000_000_000))]
    pairs: usize,
    /// Pairs of one update
    #[arg(long, value_name = "N", default_value = "64", value_parser = up_to::<usize>(1_000_000))]
    batch: usize,
    /// Mean tokens of prompt, chosen and rejected [default: those of UltraFeedback by Llama 3's tokenizer]
    #[arg(long, value_name = "P,C,R", value_parser = lengths)]
    lengths: Option<Lengths>,
    /// Share of the card's peak that products reach
    #[arg(long, value_name = "SHARE", default_value = "0.4", value_parser = share)]
    share: f64,
}

fn card(text: &str) -> std::result::Result<Card, String> {
    if let Some(card) = CARDS.into_iter().find(|card| card.name == text) {
        return Ok(card);
    }
    match text.parse::<f64>() {
        // Speed as of the slowest of them.
        Ok(gib) if gib > 0.0 && gib.is_finite() => Ok(Card { name: "own", gib, ..CARDS[3] }),
        _ => Err(format!("expected {} or a number of GiB", CARDS.map(|card| card.name).join(", "))),
    }
}

fn lengths(text: &str) -> std::result::Result<Lengths, String> {
    let numbers: Vec<f64> = text.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    match numbers[..] {
        [prompt, chosen, rejected] if numbers.iter().all(|n| *n >= 1.0 && n.is_finite()) => {
            Ok(Lengths { prompt, chosen, rejected })
        }
        _ => Err("expected three numbers, as 141,261,235".into()),
    }
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a number above 0 and at most 1".into())
}

fn model(name: &str) -> Result<DecoderConfig> {
    match DecoderConfig::named(name) {
        Some(config) => Ok(config),
        None if Path::new(name).join("config.json").is_file() => load_config(Path::new(name)),
        None => {
            let expected = "llama3-8b, mistral-7b, or a folder with config.json";
            Err(Error::argument("plan", "--model", name, expected))
        }
    }
}

fn name(formats: Formats) -> String {
    let moments = match formats.moments {
        MomentsFormat::F32 => "f32 moments",
        MomentsFormat::F32OnHost => "f32 moments in host memory",
        MomentsFormat::Bf16 => "bf16 moments",
        MomentsFormat::EightBit => "8-bit moments",
    };
    format!("{moments}, {} gradients", if formats.exact_gradients { "f32" } else { "bf16" })
}

pub(super) fn run(arguments: PlanArguments) -> Result<()> {
    let PlanArguments { gpu, gpus, pack, row, batch, share, .. } = arguments;
    let Some(name_of_model) = &arguments.model else {
        let recipe = arguments.recipe.unwrap_or_default();
        return print(of_matrix(&Matrix::read(&recipe)?, gpus, share, true)?);
    };
    let config = model(name_of_model)?;
    let latent = match arguments.codes {
        0 => Latent::None {},
        codes => Latent::Marginal {
            codes: codes as usize,
            codebook_std: 0.02,
            heads_learning_rate: None,
            heads_input: Default::default(),
        },
    };
    let room = Room { tokens: pack, row, scores: Room::SCORES };
    // What fits is asked as training asks it.
    let plan = |formats| -> Result<_> {
        let lacks = needed(&config, &latent, formats, room)? - gpu.gib;
        Ok((formats, bytes(&config, &latent, formats, room)?, lacks))
    };
    let plans = FORMATS.map(plan);
    let plans = plans.into_iter().collect::<Result<Vec<_>>>()?;
    let mut text = format!(
        "{}: {:.3} billion parameters. {}: {:.1} GiB, of which {RESERVE_GIB:.1} is left to the driver.\n\n",
        name_of_model,
        config.count() as f64 / 1e9,
        gpu.name,
        gpu.gib
    );
    let lengths = arguments.lengths.unwrap_or(Lengths::ULTRAFEEDBACK);
    let work = work(&config, lengths);
    let speed = gpu.tflops * 1e12 * share;
    let update = |formats| update_seconds(&config, formats, lengths, batch, (gpu, share));
    let mut line = |line: String| text.push_str(&(line + "\n"));
    let chosen = plans.iter().find(|(.., lacks)| *lacks <= 0.0);
    line("| kept for each weight | peak, GiB | host, GiB | fits | an update, s |".into());
    line("|---|---|---|---|---|".into());
    for (formats, bytes, lacks) in &plans {
        let peak = bytes.peak as f64 / GIB;
        let fits = if *lacks <= 0.0 { "yes".into() } else { format!("no: {lacks:.1} too much") };
        let host = bytes.host as f64 / GIB;
        line(format!("| {} | {peak:.1} | {host:.1} | {fits} | {:.1} |", name(*formats), update(*formats)));
    }
    let Some((formats, bytes, _)) = chosen else {
        line("\nNothing fits. Try a smaller --pack and --row, or a GPU with more memory.".into());
        return print(text);
    };
    line(format!("\nWith {}, the first that fits:\n", name(*formats)));
    line("| what | GiB |".into());
    line("|---|---|".into());
    let mut parts: Vec<_> = bytes.by_name.iter().collect();
    parts.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    parts.into_iter().for_each(|(what, n)| line(format!("| {what} | {:.2} |", *n as f64 / GIB)));

    text += "\n";
    text += &times(&arguments, work, speed, update(*formats));
    text += &on_disk(disk(&config, *formats), bytes.host);
    print(text)
}

/// What a pair, an update, a run and the reference's pass take, at `speed` operations a second and with updates
/// of `update` seconds.
fn times(arguments: &PlanArguments, work: Work, speed: f64, update: f64) -> String {
    let PlanArguments { gpu, pairs, batch, share, .. } = arguments;
    let row = arguments.lengths.unwrap_or(Lengths::ULTRAFEEDBACK).row();
    let (updates, rate) = (pairs.div_ceil(*batch) as f64, *batch as f64 * row / update);
    let hours = |seconds: f64| seconds / 3600.0;
    let reference = hours(*pairs as f64 * work.reference / speed);
    format!(
        "A pair has {row:.0} tokens on average and takes {:.1} TFLOP. At {:.0} % of {:.0} TFLOP/s (assumed):\n\
         - an update of {batch} pairs: {update:.1} s, {rate:.0} tokens a second\n\
         - a run of {pairs} pairs, {updates:.0} updates: {:.2} hours\n\
         - the reference's log-probabilities, once a base model: {reference:.2} hours\n",
        work.training / 1e12,
        100.0 * share,
        gpu.tflops,
        hours(updates * update)
    )
}

/// What the machine beside the GPU has to have.
fn on_disk(disk: Disk, host: usize) -> String {
    let gib = |bytes: f64| bytes / GIB;
    format!(
        "On disk: {:.0} GiB for the base model, {:.0} for checkpoints while a run lasts, {:.0} for each trained model that is \
         kept.\nIn the host's memory: {:.0} GiB beside what a program needs.\n",
        gib(disk.base),
        gib(disk.checkpoints),
        gib(disk.model),
        gib(host as f64)
    )
}
