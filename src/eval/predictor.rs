//! The predictive distribution of a policy, plain or with a latent whose z follows from the context alone.

use crate::config::Recipe;
use crate::error::{Error, Result};
use crate::eval::preference::prior_latent;
use crate::latent::PriorLatent;
use crate::machine::exp::{exp, exp_in_place, max, sum};
use crate::passes::cached::Inference;
use crate::passes::policy::{PairPolicy, Policy};
use candle_core::Tensor;
use rayon::prelude::*;

/// Number of scores in one step over the vocabulary. So many fit into the first cache of the CPU.
const STRETCH: usize = 1024;

/// A policy for inference. It is not trained.
pub struct Predictor<'a> {
    pub inference: Inference<'a>,
    policy: &'a Policy,
    recipe: Option<&'a Recipe>,
    /// This code is h_z, instead of the prior's choice.
    code: Option<usize>,
    /// e_k·Wᵀ, [K, V]: what code k adds to every score. Empty if codes are not mixed.
    biases: Vec<f32>,
}

/// The latent z, given a context.
#[derive(Debug, Clone)]
pub enum ContextLatent {
    Plain,
    /// h_z, [d].
    Latent(Vec<f32>),
    /// log p(k|x), and later log p(k|x, y_<t), [K].
    Mixture(Vec<f64>),
}

impl<'a> Predictor<'a> {
    /// `recipe` says what z is at test time (its `evaluation`), unless `code` forces one code.
    ///
    /// Errors: the code does not exist, or the latent needs the true factor weights.
    pub fn new(policy: &'a Policy, recipe: Option<&'a Recipe>, code: Option<usize>) -> Result<Self> {
        let codes = policy.codes().map_or(Ok(0), |heads| heads.codebook.dim(0))?;
        if let Some(code) = code.filter(|&code| code >= codes) {
            let expected =
                if codes == 0 { "a model with codes".into() } else { format!("0 to {}", codes - 1) };
            return Err(Error::argument("predictor", "code", code, expected));
        }
        if policy.heads.as_ref().is_some_and(|heads| heads.needs_factor_weights()) {
            let expected = "a mode whose h_z follows from the context alone";
            return Err(Error::argument("predictor", "latent.mode", "factors", expected));
        }
        let inference = Inference::new(policy.passes, &policy.decoder)?;
        let exact = recipe.is_some_and(|r| r.evaluation.latent == crate::config::LatentAtTest::Exact);
        let mut biases = vec![];
        if let Some(heads) = policy.codes().filter(|_| exact && code.is_none()) {
            inference.logits(&heads.codebook.flatten_all()?.to_vec1::<f32>()?, &mut biases)?;
        }
        Ok(Self { inference, policy, recipe, code, biases })
    }

    /// z of each context, from the hidden states of their last tokens, [B, d].
    ///
    /// `seed` and `streams` name each one's sample.
    pub fn latents(
        &self,
        hidden: &Tensor,
        seed: u64,
        streams: impl Iterator<Item = String>,
    ) -> Result<Vec<ContextLatent>> {
        let all = |latent: ContextLatent| Ok(vec![latent; hidden.dim(0)?]);
        if let (Some(code), Some(heads)) = (self.code, self.policy.codes()) {
            return all(ContextLatent::Latent(heads.codebook.get(code)?.to_vec1()?));
        }
        let Some(recipe) = self.recipe else { return all(ContextLatent::Plain) };
        match prior_latent(recipe, self.policy, hidden, None, seed, streams)? {
            None => all(ContextLatent::Plain),
            Some(PriorLatent::Latent(latent)) => {
                Ok(latent.to_vec2()?.into_iter().map(ContextLatent::Latent).collect())
            }
            Some(PriorLatent::Mixture(logps)) => Ok(logps.into_iter().map(ContextLatent::Mixture).collect()),
        }
    }

    pub fn vocab_size(&self) -> usize {
        self.policy.decoder.config.vocab_size
    }

    /// Scores before any mixture of codes, [n, V], into `scores`: h_z is added where there is one.
    /// `states`: [n, d], one latent each.
    pub fn scores(
        &self,
        mut states: Vec<f32>,
        latents: &[&ContextLatent],
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        let d = self.policy.decoder.config.hidden_size;
        for (state, latent) in states.chunks_mut(d).zip(latents) {
            if let ContextLatent::Latent(latent) = latent {
                state.iter_mut().zip(latent).for_each(|(h, z)| *h += z);
            }
        }
        self.inference.logits(&states, scores)
    }

    /// log Σ_v e^(score_v), and under each code's bias for a mixture. One number, or K.
    pub fn normalisers(&self, scores: &[f32], latent: &ContextLatent) -> Vec<f64> {
        match latent {
            ContextLatent::Plain | ContextLatent::Latent(_) => vec![logsumexp(scores)],
            ContextLatent::Mixture(_) => {
                let biases = self.biases.par_chunks(scores.len());
                let biased = |bias: &[f32]| scores.iter().zip(bias).map(|(s, b)| s + b).collect::<Vec<_>>();
                biases.map(|bias| logsumexp(&biased(bias))).collect()
            }
        }
    }

    /// log-probability of `token` under each code, from the row's scores and their [`Self::normalisers`].
    pub fn logps(&self, scores: &[f32], normalisers: &[f64], token: u32) -> Vec<f64> {
        let (token, vocab) = (token as usize, scores.len());
        let bias = |k: usize| self.biases.get(k * vocab + token).copied().unwrap_or(0.0);
        normalisers.iter().enumerate().map(|(k, n)| f64::from(scores[token] + bias(k)) - n).collect()
    }

    /// Scores whose softmax is the predictive distribution: of a mixture, Σ_k w_k softmax(score + b_k)
    /// with the codes' weights as they stand.
    ///
    /// Numerics: if no code changes any score, the result is exactly the given scores.
    pub(super) fn predictive(&self, scores: &mut [f32], normalisers: &[f64], latent: &ContextLatent) {
        let ContextLatent::Mixture(weights) = latent else { return };
        let gains: Vec<f64> = weights.iter().zip(normalisers).map(|(w, n)| w - n).collect();
        let highest = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let gains: Vec<f32> = gains.iter().map(|g| (g - highest) as f32).collect();
        let vocab = scores.len();
        let reference = log_sum(&mut vec![0.0; gains.len()], &gains);
        scores.par_chunks_mut(STRETCH).enumerate().for_each(|(stretch, scores)| {
            let mut terms = vec![0f32; gains.len()];
            for (i, score) in scores.iter_mut().enumerate() {
                let v = stretch * STRETCH + i;
                terms.iter_mut().enumerate().for_each(|(k, t)| *t = gains[k] + self.biases[k * vocab + v]);
                let mixed = log_sum_of(&mut terms);
                *score = (f64::from(*score) + (mixed - reference)) as f32;
            }
        });
    }
}

impl ContextLatent {
    /// After a token whose log-probability under each code is `logps`: Bayes.
    pub(super) fn observe(&mut self, logps: &[f64]) {
        if let Self::Mixture(weights) = self {
            weights.iter_mut().zip(logps).for_each(|(w, l)| *w += l);
        }
    }
}

fn log_sum(buffer: &mut [f32], values: &[f32]) -> f64 {
    buffer.copy_from_slice(values);
    log_sum_of(buffer)
}

/// log Σ e^x, which overwrites x.
fn log_sum_of(values: &mut [f32]) -> f64 {
    let shift = max(values);
    exp_in_place(values, 1.0, shift);
    f64::from(shift) + sum(values).ln()
}

/// log Σ e^x in bounded memory.
fn logsumexp(scores: &[f32]) -> f64 {
    let shift = max(scores);
    let stretch = |scores: &[f32]| {
        let mut buffer = [0f32; STRETCH];
        buffer.iter_mut().zip(scores).for_each(|(b, s)| *b = exp(s - shift));
        sum(&buffer[..scores.len()])
    };
    f64::from(shift) + scores.chunks(STRETCH).map(stretch).sum::<f64>().ln()
}

/// The first of the largest values.
pub(super) fn first_largest(scores: &[f32]) -> usize {
    let highest = max(scores);
    scores.iter().position(|s| *s == highest).unwrap_or(0)
}
