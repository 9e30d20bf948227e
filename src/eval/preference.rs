//! Preference accuracy: the share of pairs whose chosen completion has the higher implicit reward (4).

use crate::config::Recipe;
use crate::data::tokenize::TokenizedPair;
use crate::interrupt;
use crate::latent::{Noise, PriorLatent, noise_rows};
use crate::model::batch::PairBatch;
use crate::passes::policy::{PairPolicy, PairStates};
use crate::progress::Task;
use crate::tensor::objective::{PairLogps, implicit_rewards};
use crate::train::fit::reference_tensors;
use crate::train::loss::exact_latents;
use crate::train::micro_batches::micro_batches;
use crate::train::reference::{ReferenceLogps, by_length};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// A policy's verdict on one pair. Units: nats; rewards as [`implicit_rewards`] scales them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preference {
    /// Reward of chosen minus reward of rejected.
    pub margin: f64,
    pub policy_chosen_logps: f64,
    pub policy_rejected_logps: f64,
    /// (6) of the pair and the gap of its bound (7) at λ = 1; absent for a policy without codes.
    pub marginal_loss: Option<f64>,
    pub bound_gap: Option<f64>,
}

impl Preference {
    /// Refuses a margin that is not a number: it would be neither right nor wrong.
    fn check(&self, index: usize) -> Result<()> {
        let values = [
            ("margin", Some(self.margin)),
            ("policy_chosen_logps", Some(self.policy_chosen_logps)),
            ("policy_rejected_logps", Some(self.policy_rejected_logps)),
            ("marginal_loss", self.marginal_loss),
            ("bound_gap", self.bound_gap),
        ];
        let values = values.into_iter().filter_map(|(name, v)| v.map(|v| (name, v)));
        match values.into_iter().find(|(_, v)| !v.is_finite()) {
            None => Ok(()),
            Some((name, got)) => {
                let argument = format!("{name} of the pair at position {index}");
                Err(Error::argument("preference accuracy", argument, got, "a finite number"))
            }
        }
    }
}

/// Scores every pair under the recipe's objective; h_z comes from the prompt alone.
///
/// Source: §4.1 with (4). The reference is never conditioned on z.
/// Errors: a margin or log-probability that is not finite.
pub fn score_pairs(
    recipe: &Recipe,
    policy: &dyn PairPolicy,
    pairs: &[TokenizedPair],
    reference: Option<&[ReferenceLogps]>,
    progress: &Task,
) -> Result<Vec<Preference>> {
    let mut verdicts = vec![None; pairs.len()];
    for members in &micro_batches(&by_length(pairs), pairs, &recipe.training, policy.pads()) {
        interrupt::check("evaluation")?;
        let chunk: Vec<&TokenizedPair> = members.iter().map(|&i| &pairs[i]).collect();
        let batch = PairBatch::new(&chunk, policy.dtype(), policy.device())?;
        let states = policy.states(&batch)?;
        let streams = chunk.iter().map(|p| format!("gumbel/test/{}", p.index));
        let weights = batch.factor_weights.as_ref();
        let logps = match prior_latent(recipe, policy, &states.prompt_hidden, weights, recipe.seed, streams)?
        {
            None => policy.pair_logps(&states, &batch, None)?,
            Some(PriorLatent::Latent(latent)) => policy.pair_logps(&states, &batch, Some(&latent))?,
            Some(PriorLatent::Mixture(prior)) => mixture_logps(policy, &states, &batch, &prior)?,
        };
        let reference = reference.map(|r| reference_tensors(members.iter().map(|&i| r[i]), policy.device()));
        let reference = reference.transpose()?;
        let rewards = implicit_rewards(recipe.objective, &logps, reference.as_ref(), &batch.lengths)?;
        let values = |t: &Tensor| t.to_vec1::<f32>();
        let exact = exact_latents(policy, &states, &batch, reference.as_ref(), recipe.objective)?;
        let exact = exact.map(|e| Ok::<_, Error>((values(&e.marginal_loss)?, values(&e.bound_gap)?)));
        let exact = exact.transpose()?;
        let (chosen, rejected) = (values(&rewards.chosen)?, values(&rewards.rejected)?);
        let (chosen_logps, rejected_logps) = (values(&logps.chosen)?, values(&logps.rejected)?);
        for (j, &i) in members.iter().enumerate() {
            let verdict = Preference {
                margin: f64::from(chosen[j]) - f64::from(rejected[j]),
                policy_chosen_logps: chosen_logps[j].into(),
                policy_rejected_logps: rejected_logps[j].into(),
                marginal_loss: exact.as_ref().map(|(loss, _)| loss[j].into()),
                bound_gap: exact.as_ref().map(|(_, gap)| gap[j].into()),
            };
            verdict.check(pairs[i].index)?;
            verdicts[i] = Some(verdict);
        }
        progress.advance(members.len(), String::new);
    }
    Ok(verdicts.into_iter().flatten().collect())
}

/// z at test time, as the recipe chooses it, from the last hidden states of the prompts [B, d]; none for a
/// plain policy.
///
/// `seed` and `streams` name each row's sample.
/// `factor_weights` [B, F] are the true ones, where known.
/// Errors: the recipe asks for the likelihood of every code, but the latent has no codes; or the policy needs the true
/// factor weights and there are none.
pub fn prior_latent(
    recipe: &Recipe,
    policy: &dyn PairPolicy,
    prompt_hidden: &Tensor,
    factor_weights: Option<&Tensor>,
    seed: u64,
    streams: impl Iterator<Item = String>,
) -> Result<Option<PriorLatent>> {
    recipe.latent.validate_at_test(recipe.evaluation.latent)?;
    let Some(heads) = policy.heads() else { return Ok(None) };
    let mut streams = Some(streams);
    let mut noise = |noise: Noise| {
        let streams = streams.take().into_iter().flatten();
        noise_rows(seed, streams, noise, prompt_hidden.device())
    };
    heads.at_test(recipe.evaluation.latent, prompt_hidden, factor_weights, &mut noise).map(Some)
}

/// log Σ_k p(k|x) π(y|x, k) of both completions.
fn mixture_logps(
    policy: &dyn PairPolicy,
    states: &PairStates,
    batch: &PairBatch,
    prior: &[Vec<f64>],
) -> Result<PairLogps> {
    let heads = policy
        .codes()
        .ok_or_else(|| Error::argument("preference accuracy", "latent", "exact", "a policy with codes"))?;
    let codes = policy.code_pair_logps(states, batch, &heads.codebook)?;
    let mix = |logps: &Tensor| -> Result<Tensor> {
        let rows = logps.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let mixed = rows.iter().zip(prior).map(|(codes, prior)| mixture(prior, codes));
        Ok(Tensor::from_iter(mixed, logps.device())?.to_dtype(logps.dtype())?)
    };
    Ok(PairLogps { chosen: mix(&codes.chosen)?, rejected: mix(&codes.rejected)? })
}

/// log Σ_k p_k e^(l_k) / Σ_k p_k. If all l_k are equal, the result is exactly that value.
///
/// ```
/// let half = 0.5f64.ln();
/// let mixed = lpc::eval::preference::mixture(&[half, half], &[0.25f64.ln(), 0.75f64.ln()]);
/// assert!((mixed - half).abs() < 1e-15);
/// ```
pub fn mixture(log_weights: &[f64], logps: &[f64]) -> f64 {
    let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let heaviest = highest(&mut log_weights.iter().copied());
    // Where the likeliest code has no weight left, sums about it would lose the rest.
    let top = highest(&mut log_weights.iter().zip(logps).map(|(w, l)| w - heaviest + l));
    if !top.is_finite() {
        return top;
    }
    let same = logps.iter().all(|l| *l == logps[0]);
    if same {
        return logps[0];
    }
    let total: f64 = log_weights.iter().map(|w| (w - heaviest).exp()).sum();
    let mixed: f64 = log_weights.iter().zip(logps).map(|(w, l)| (w - heaviest + l - top).exp()).sum();
    top + (mixed / total).ln()
}
