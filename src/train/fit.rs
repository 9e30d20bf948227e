//! The training loop: a recipe, a base model and pairs in; a trained model out.

use crate::config::{PriorWeight, Recipe};
use crate::data::tokenize::TokenizedPair;
use crate::interrupt;
use crate::latent::{LatentInputs, Noise, noise_rows};
use crate::model::batch::PairBatch;
use crate::model::config::DecoderConfig;
use crate::model::gradients::Gradients;
use crate::model::parameters::Parameters;
use crate::passes::policy::PairPolicy;
use crate::passes::trainable::Trainable;
use crate::progress::Task;
use crate::tensor::elbo::SampleNoise;
use crate::tensor::latent::prior_weight;
use crate::tensor::objective::PairLogps;
use crate::train::checkpoint;
use crate::train::loss::{ExactLatents, exact_latents, pair_losses};
use crate::train::metrics::{MetricsFile, StepMetrics};
use crate::train::micro_batches::micro_batches;
use crate::train::optim::{AdamW, linear_schedule};
use crate::train::reference::ReferenceLogps;
use crate::train::step::{StepSums, forward_backward};
use crate::{Error, Result, seed};
use candle_core::{DType, Device, Tensor};
use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

/// What one training run works on.
pub struct FitInputs<'a> {
    pub recipe: &'a Recipe,
    pub config: &'a DecoderConfig,
    pub pairs: &'a [TokenizedPair],
    /// One a pair, for objectives with a reference.
    pub reference: Option<&'a [ReferenceLogps]>,
}

/// How a finished run ended.
pub struct Fitted {
    pub steps: usize,
    pub last: Option<StepMetrics>,
    /// Time at work, that of an interrupted part included.
    pub seconds: f64,
}

/// Optimiser steps of a recipe on `pairs` pairs.
pub fn steps(recipe: &Recipe, pairs: usize) -> usize {
    recipe.training.epochs * pairs.div_ceil(recipe.training.batch_size)
}

/// Trains `model` in place. Files in `run`: metrics.jsonl, and a checkpoint from which a
/// later call with the same inputs goes on to the same numbers.
///
/// Errors: interrupted or diverged (a checkpoint is left), a disk that is full.
pub fn fit(inputs: &FitInputs<'_>, model: &Trainable, run: &Path, progress: &Task) -> Result<Fitted> {
    let FitInputs { recipe, config, pairs, .. } = inputs;
    let training = &recipe.training;
    let (policy, parameters) = (model.policy(config, &recipe.latent, training.dtype)?, model.parameters());
    let heads_learning_rate = recipe.latent.heads_learning_rate();
    let heads_learning_rate = heads_learning_rate.unwrap_or(training.learning_rate);
    let mut optimiser = AdamW::new(parameters, training, heads_learning_rate)?.with(model.flat());
    let started = Instant::now();
    let (mut done, mut before) = (0, 0.0);
    if let Some(resumed) = checkpoint::resume(run, parameters, &mut optimiser)? {
        resumed.damaged.iter().for_each(|what| progress.line(format!("an older checkpoint is used: {what}")));
        (done, before) = (resumed.steps_done, resumed.seconds);
        progress.advance(done, String::new);
    }
    let (mut metrics, mut last) = MetricsFile::resume(run, done)?;
    let (steps, per_epoch) = (steps(recipe, pairs.len()), pairs.len().div_ceil(training.batch_size));
    if (0..steps).all(|step| linear_schedule(step, steps, training.warmup_ratio) == 0.0) {
        let expected = "enough pairs for a step whose learning rate is not 0";
        return Err(Error::argument("fit", "steps", steps, expected));
    }
    let seconds = || before + started.elapsed().as_secs_f64();
    // What is kept already: a large model's checkpoint takes a while.
    let kept = Cell::new(done);
    let keep = |metrics: &MetricsFile, optimiser: &AdamW, steps_done| {
        metrics.sync()?;
        if kept.replace(steps_done) == steps_done && checkpoint::path(run).is_file() {
            return Ok(());
        }
        checkpoint::save(run, parameters, optimiser, steps_done, seconds())
    };
    for step in done..steps {
        if interrupt::requested() {
            keep(&metrics, &optimiser, step)?;
            return Err(Error::Interrupted {
                resume: format!("{} is at step {step} of {steps}", run.display()),
            });
        }
        let begun = Instant::now();
        let epoch = step / per_epoch;
        let batch = batch_of(recipe.seed, epoch, step % per_epoch, training.batch_size, pairs);
        let alpha = match recipe.latent.prior_weight() {
            Some(PriorWeight::Fixed { value }) => value,
            _ => prior_weight(step, steps)?,
        };
        let mut gradients = Gradients::default();
        let now = Now { epoch, alpha, gap: (step + 1) % GAP_EVERY == 0 || step + 1 == steps };
        let sums = accumulate(inputs, policy.as_ref(), parameters, &batch, now, &mut gradients)?;
        let schedule = linear_schedule(step, steps, training.warmup_ratio);
        let norm = if sums.loss.is_finite() {
            optimiser.step(&gradients.into_tensors(parameters)?, schedule)?
        } else {
            f64::NAN
        };
        for (what, got) in [("loss", sums.loss), ("gradient norm", norm)] {
            if !got.is_finite() {
                return Err(Error::Diverged { step, what, got, kept: checkpoint::describe(run) });
            }
        }
        let line = StepMetrics::new(step, &sums, norm, schedule, alpha, begun.elapsed().as_secs_f64());
        metrics.push(&line)?;
        progress.advance(1, || format!("loss {:.3} acc {:.2}", line.loss, line.accuracy));
        last = Some(line);
        // Also after the last step: what follows may be interrupted too.
        if (step + 1) % training.checkpoint_every == 0 || step + 1 == steps {
            keep(&metrics, &optimiser, step + 1)?;
        }
    }
    Ok(Fitted { steps, last, seconds: seconds() })
}

/// The pairs of one optimiser step, shortest first so that micro-batches pad little.
fn batch_of(seed: u64, epoch: usize, index: usize, size: usize, pairs: &[TokenizedPair]) -> Vec<usize> {
    let order = seed::permutation(&mut seed::stream(seed, &format!("data/{epoch}")), pairs.len());
    let mut batch: Vec<usize> = order.into_iter().skip(index * size).take(size).collect();
    batch.sort_by_key(|&i| (pairs[i].row_tokens(), i));
    batch
}

/// Steps between those whose metrics have the exact gap of the bound: it takes every code's pass.
const GAP_EVERY: usize = 32;

/// Where training is.
#[derive(Clone, Copy)]
struct Now {
    epoch: usize,
    /// α of (11).
    alpha: f64,
    /// Whether the step's metrics have the gap.
    gap: bool,
}

/// Gradients of the batch's mean loss, over its micro-batches.
fn accumulate(
    inputs: &FitInputs<'_>,
    policy: &dyn PairPolicy,
    parameters: &Parameters,
    batch: &[usize],
    now: Now,
    gradients: &mut Gradients,
) -> Result<StepSums> {
    let FitInputs { recipe, pairs, reference, .. } = inputs;
    let Now { epoch, alpha, gap } = now;
    let mut total = StepSums::default();
    for micro in &micro_batches(batch, pairs, &recipe.training, policy.pads()) {
        let members: Vec<&TokenizedPair> = micro.iter().map(|&i| &pairs[i]).collect();
        let rows = PairBatch::new(&members, policy.dtype(), policy.device())?;
        let reference = reference.map(|r| reference_tensors(micro.iter().map(|&i| r[i]), policy.device()));
        let reference = reference.transpose()?;
        // A stream for each pair and network: the draws do not depend on the batching.
        let draw = |network: &str, noise: Noise| {
            let names = members.iter().map(|p| format!("{}/{network}/{epoch}/{}", noise.stream, p.index));
            noise_rows(recipe.seed, names, noise, policy.device())
        };
        let latent = match policy.heads().and_then(|heads| heads.noise()) {
            None => None,
            Some(noise) => {
                let noise =
                    SampleNoise { prior: draw("prior", noise)?, posterior: draw("posterior", noise)? };
                Some(LatentInputs { noise, prior_weight: alpha })
            }
        };
        let recompute = recipe.training.recompute;
        let pass = policy.forward(&rows, recompute)?;
        let sums = forward_backward(pass, parameters, gradients, |states| {
            let outputs =
                pair_losses(policy, states, &rows, reference.as_ref(), recipe.objective, latent.as_ref())?;
            let mean = (outputs.loss.sum_all()? / batch.len() as f64)?;
            let mut sums = outputs.sums(&rows)?;
            if gap {
                let states = states.detached();
                let exact = exact_latents(policy, &states, &rows, reference.as_ref(), recipe.objective)?;
                let sum = |e: ExactLatents| e.bound_gap.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>();
                sums.bound_gap = exact.map(sum).transpose()?;
            }
            Ok((mean, sums))
        })?;
        total.add(&sums);
    }
    Ok(total)
}

/// A batch's reference log-probabilities as tensors.
pub fn reference_tensors(logps: impl Iterator<Item = ReferenceLogps>, device: &Device) -> Result<PairLogps> {
    let (chosen, rejected): (Vec<f32>, Vec<f32>) = logps.map(|r| (r.chosen, r.rejected)).unzip();
    Ok(PairLogps { chosen: Tensor::new(chosen, device)?, rejected: Tensor::new(rejected, device)? })
}
