//! What a run reports of every step, one JSON line each.

use crate::error::Place;
use crate::train::step::StepSums;
use crate::train::tensorboard::EventFile;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Means over the step's pairs, except where said otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepMetrics {
    pub step: usize,
    pub loss: f64,
    /// Δ of (5), or the argument of σ in (12).
    pub margin: f64,
    /// Share of pairs whose chosen completion has the higher implicit reward.
    pub accuracy: f64,
    pub chosen_reward: f64,
    pub rejected_reward: f64,
    pub chosen_logps: f64,
    pub rejected_logps: f64,
    /// Norm before clipping.
    pub grad_norm: f64,
    /// The schedule's factor on every peak learning rate.
    pub schedule: f64,
    pub seconds: f64,
    pub tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<LatentMetrics>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LatentMetrics {
    pub kl: f64,
    /// α of (11).
    pub prior_weight: f64,
    /// exp of the entropy of the step's mean code weights: how many codes are in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_perplexity: Option<f64>,
    /// Mean entropy of the prior over codes, nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_entropy: Option<f64>,
    /// Exact gap of the bound (7) at λ = 1, of every 32nd step and the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_gap: Option<f64>,
}

impl StepMetrics {
    pub fn new(
        step: usize,
        sums: &StepSums,
        grad_norm: f64,
        schedule: f64,
        prior_weight: f64,
        seconds: f64,
    ) -> Self {
        let n = sums.pairs as f64;
        let latent = sums.kl.map(|kl| {
            let has_codes = !sums.code_weights.is_empty();
            let usage = sums.code_weights.iter().map(|w| w / n).filter(|&w| w > 0.0);
            LatentMetrics {
                kl: kl / n,
                prior_weight,
                code_perplexity: has_codes.then(|| usage.map(|w| -w * w.ln()).sum::<f64>().exp()),
                prior_entropy: has_codes.then_some(sums.prior_entropy / n),
                bound_gap: sums.bound_gap.map(|gap| gap / n),
            }
        });
        Self {
            step,
            loss: sums.loss / n,
            margin: sums.margin / n,
            accuracy: sums.correct / n,
            chosen_reward: sums.chosen_reward / n,
            rejected_reward: sums.rejected_reward / n,
            chosen_logps: sums.chosen_logps / n,
            rejected_logps: sums.rejected_logps / n,
            grad_norm,
            schedule,
            seconds,
            tokens_per_second: sums.tokens as f64 / seconds,
            latent,
        }
    }
}

impl StepMetrics {
    /// Every number by name, grouped as a dashboard shows them.
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        let mut scalars = vec![
            ("train/loss", self.loss),
            ("train/margin", self.margin),
            ("train/accuracy", self.accuracy),
            ("rewards/chosen", self.chosen_reward),
            ("rewards/rejected", self.rejected_reward),
            ("logps/chosen", self.chosen_logps),
            ("logps/rejected", self.rejected_logps),
            ("optim/grad_norm", self.grad_norm),
            ("optim/schedule", self.schedule),
            ("speed/tokens_per_second", self.tokens_per_second),
        ];
        if let Some(latent) = &self.latent {
            scalars.extend([("latent/kl", latent.kl), ("latent/prior_weight", latent.prior_weight)]);
            scalars.extend(latent.code_perplexity.map(|value| ("latent/code_perplexity", value)));
            scalars.extend(latent.prior_entropy.map(|value| ("latent/prior_entropy", value)));
            scalars.extend(latent.bound_gap.map(|value| ("latent/bound_gap", value)));
        }
        scalars
    }
}

/// `metrics.jsonl` of a run, flushed line by line, and the same for TensorBoard.
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl MetricsFile {
    /// Opens the file with its first `steps_done` lines kept: a resumed run repeats no line.
    /// Also returns the last line kept.
    ///
    /// Errors: fewer lines than the checkpoint's steps.
    pub fn resume(run: &Path, steps_done: usize) -> Result<(Self, Option<StepMetrics>)> {
        let path = run.join("metrics.jsonl");
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::io(&path))?;
        let kept: Vec<&str> =
            text.split_inclusive('\n').filter(|l| l.ends_with('\n')).take(steps_done).collect();
        let place = || Place::file(&path).line(kept.len());
        if kept.len() < steps_done {
            let expected =
                format!("{steps_done} lines, as its checkpoint has steps (delete the run to start over)");
            return Err(Error::input(place(), expected, kept.len()));
        }
        let last = kept.last().map(|line| serde_json::from_str(line)).transpose();
        let last = last.map_err(|e| Error::input(place(), "a step's metrics", e))?;
        // Cut, never rewritten: a crash here loses nothing that the checkpoint counts on.
        let end = kept.iter().map(|line| line.len() as u64).sum();
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(Error::io(&path))?;
        let events = EventFile::resume(run, steps_done)?;
        Ok((Self { path, file, events }, last))
    }

    /// Puts the lines on disk, before a checkpoint counts on them.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }

    pub fn push(&mut self, metrics: &StepMetrics) -> Result<()> {
        let mut line = serde_json::to_string(metrics).map_err(|e| Error::io(&self.path)(e.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))?;
        self.events.push(metrics.step, metrics.scalars())
    }
}
