//! What a run reports of every step, one JSON line each.

use crate::train::step::StepSums;
use crate::{Error, Result};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Means over the step's pairs, except where said otherwise.
#[derive(Debug, Clone, Serialize)]
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
    pub tokens_per_second: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub latent: Option<LatentMetrics>,
}

#[derive(Debug, Clone, Serialize)]
pub struct LatentMetrics {
    pub kl: f64,
    /// α of (11).
    pub prior_weight: f64,
    /// exp of the entropy of the step's mean code weights: how many codes are in use.
    pub code_perplexity: f64,
    /// Mean entropy of the prior, nats.
    pub prior_entropy: f64,
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
        let latent = (!sums.code_weights.is_empty()).then(|| {
            let usage = sums.code_weights.iter().map(|w| w / n).filter(|&w| w > 0.0);
            LatentMetrics {
                kl: sums.kl / n,
                prior_weight,
                code_perplexity: usage.map(|w| -w * w.ln()).sum::<f64>().exp(),
                prior_entropy: sums.prior_entropy / n,
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
            tokens_per_second: sums.tokens as f64 / seconds,
            latent,
        }
    }
}

/// `metrics.jsonl` of a run, flushed line by line.
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file with its first `steps_done` lines kept: a resumed run repeats no line.
    pub fn resume(run: &Path, steps_done: usize) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let mut kept = String::new();
        if let Ok(old) = File::open(&path) {
            for line in BufReader::new(old).lines().take(steps_done) {
                kept += &line.map_err(Error::io(&path))?;
                kept.push('\n');
            }
        }
        let write = || -> std::io::Result<File> {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
            file.write_all(kept.as_bytes())?;
            Ok(file)
        };
        let file = write().map_err(Error::io(&path))?;
        Ok(Self { path, file })
    }

    pub fn push(&mut self, metrics: &StepMetrics) -> Result<()> {
        let mut line = serde_json::to_string(metrics).map_err(|e| Error::io(&self.path)(e.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }
}
