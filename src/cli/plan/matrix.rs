//! What all runs of a matrix take on the cards of the paper's scale.

use super::name;
use crate::config::{DataSource, Latent, ModelSource};
use crate::data::tokenize::TokenizedPair;
use crate::experiment::dataset::TextPairs;
use crate::model::config::DecoderConfig;
use crate::model::load::{Loaded, hub, huggingface};
use crate::passes::gpu::{Formats, Room};
use crate::plan::matrix::{Matrix, Model};
use crate::train::budget::{Bytes, CARDS, Card, FORMATS, GIB, Lengths, choose, disk, update_seconds, work};
use crate::{Error, Result};
use std::fmt::Write;

/// Pairs of UltraFeedback that the paper trains on.
const ULTRAFEEDBACK: usize = 61_967;

/// What is known of a model and of its pairs.
struct Known {
    config: DecoderConfig,
    lengths: Lengths,
    /// Tokens of the longest row.
    row: usize,
    pairs: usize,
    measured: bool,
}

/// The models of a matrix that want a GPU of the paper's scale.
pub fn large(matrix: &Matrix) -> Vec<&Model> {
    let is_large = |model: &&Model| match &model.source {
        ModelSource::Hub { id, .. } => DecoderConfig::named(id).is_some(),
        _ => false,
    };
    matrix.models.iter().filter(is_large).collect()
}

/// A model's shape, from its files or by its name alone.
fn base(model: &Model, files: bool) -> Result<(DecoderConfig, Option<Loaded>)> {
    let by_name = |id: &str| DecoderConfig::named(id).filter(|_| !files);
    let loaded = match &model.source {
        ModelSource::Folder { path } | ModelSource::Random { path, .. } => huggingface::draw(path, 0),
        ModelSource::Hub { id, revision } => match by_name(id) {
            Some(config) => return Ok((config, None)),
            None => hub::draw(id, revision),
        },
        ModelSource::World { .. } | ModelSource::Gguf { .. } => {
            let expected = "a model of the hub or a Hugging Face folder";
            return Err(Error::argument("plan", "models.source", &model.name, expected));
        }
    };
    match (loaded, &model.source) {
        (Ok(loaded), _) => Ok((loaded.config.clone(), Some(loaded))),
        // Without its files the shape of a model of the paper is known.
        (Err(e), ModelSource::Hub { id, .. }) => Ok((DecoderConfig::named(id).ok_or(e)?, None)),
        (Err(e), _) => Err(e),
    }
}

/// `text` is none where the matrix's pairs are not there, or are not to be looked at.
fn known(matrix: &Matrix, model: &Model, text: Option<&TextPairs>) -> Result<Known> {
    let (config, loaded) = base(model, text.is_some())?;
    let (Some(text), Some(loaded)) = (text, loaded) else {
        let row = (2 * matrix.truncation.max_length).min(matrix.training.memory.pack().unwrap_or(usize::MAX));
        let lengths = Lengths::ULTRAFEEDBACK;
        return Ok(Known { config, lengths, row, pairs: ULTRAFEEDBACK, measured: false });
    };
    let data = text.tokenized(&loaded, &matrix.truncation)?;
    let mean = |of: fn(&TokenizedPair) -> usize| {
        data.train.iter().map(of).sum::<usize>() as f64 / data.train.len().max(1) as f64
    };
    let lengths = Lengths {
        prompt: mean(|pair| pair.prompt.len()),
        chosen: mean(|pair| pair.chosen.len()),
        rejected: mean(|pair| pair.rejected.len()),
    };
    let row = data.train.iter().chain(&data.test).map(TokenizedPair::row_tokens).max().unwrap_or(1);
    Ok(Known { config, lengths, row, pairs: data.train.len(), measured: true })
}

/// The first formats that a card has room for; none either where a pair is longer than a pack.
fn formats(known: &Known, latent: &Latent, pack: usize, card: Card) -> Result<Option<(Formats, Bytes)>> {
    if known.row > pack {
        return Ok(None);
    }
    choose(&known.config, latent, Room { tokens: pack, row: known.row, scores: Room::SCORES }, card.gib)
}

/// Memory and hours of a matrix's runs, a model and a card a row. With `files`, by the lengths of its pairs if they
/// and the model's tokenizer are there.
///
/// Errors: a model whose shape is not known.
pub fn of_matrix(matrix: &Matrix, gpus: usize, share: f64, files: bool) -> Result<String> {
    let there = match &matrix.data {
        DataSource::World(_) => true,
        DataSource::Jsonl { folder, .. } => folder.is_dir(),
    };
    let text = (files && there).then(|| TextPairs::load(&matrix.data)).transpose()?;
    let training = &matrix.training;
    let runs_of_model = 2 * matrix.objectives.len() * matrix.seeds.len();
    let mut out = String::from(
        "| model | GPU | kept for each weight | peak, GiB | host, GiB | disk, GiB | a run, hours |\n|---|---|---|---|---|---|---|\n",
    );
    let (mut notes, mut hours) = (String::new(), [0.0; 2]);
    for model in &matrix.models {
        let known = known(matrix, model, text.as_ref())?;
        for (card, hours) in CARDS[..2].iter().zip(&mut hours) {
            let pack = training.memory.pack().unwrap_or(4096);
            let Some((formats, bytes)) = formats(&known, &matrix.latent, pack, *card)? else {
                let why = match known.row > pack {
                    true => format!("a pair of {} tokens, above the pack's {pack}", known.row),
                    false => "nothing fits".into(),
                };
                let _ = writeln!(out, "| {} | {} | {why} | | | | |", model.name, card.name);
                *hours = f64::INFINITY;
                continue;
            };
            let updates = training.epochs * known.pairs.div_ceil(training.batch_size);
            let seconds =
                update_seconds(&known.config, formats, known.lengths, training.batch_size, (*card, share));
            let run = updates as f64 * seconds / 3600.0;
            // The reference's log-probabilities are calculated once a model.
            let reference = known.pairs as f64 * work(&known.config, known.lengths).reference;
            let reference = reference / (card.tflops * 1e12 * share) / 3600.0;
            *hours += runs_of_model as f64 * run + reference;
            let disk = disk(&known.config, formats);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.1} of {:.1} | {:.0} | {:.0} | {run:.1} |",
                model.name,
                card.name,
                name(formats),
                bytes.peak as f64 / GIB,
                card.gib,
                bytes.host as f64 / GIB,
                (disk.base + disk.checkpoints) / GIB,
            );
        }
        let from = if known.measured {
            "its pairs"
        } else {
            "UltraFeedback's pairs by Llama 3's tokenizer, before truncation"
        };
        let _ = writeln!(
            notes,
            "{}: {} pairs of {:.0} tokens on average, by {from}.",
            model.name,
            known.pairs,
            known.lengths.row()
        );
    }
    let runs = runs_of_model * matrix.models.len();
    let waves = runs.div_ceil(gpus);
    let _ = writeln!(
        out,
        "\n{notes}\nHours are those of products at {:.0} % of the card's peak (assumed).",
        100.0 * share
    );
    for (card, hours) in CARDS[..2].iter().zip(hours) {
        let _ = writeln!(
            out,
            "All {runs} runs on {}: {hours:.0} GPU-hours; on {gpus} of them, a run each, some {:.0} hours.",
            card.name,
            hours * waves as f64 / runs as f64
        );
    }
    let kept: f64 = matrix
        .models
        .iter()
        .filter_map(|model| base(model, false).ok())
        .map(|(c, _)| disk(&c, FORMATS[0]).model)
        .sum();
    let _ = writeln!(
        out,
        "Trained models that are kept (--keep-models): {:.0} GiB.",
        runs_of_model as f64 * kept / GIB
    );
    Ok(out)
}
