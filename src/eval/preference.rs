//! Preference accuracy: is the chosen completion's implicit reward (4) the higher one?

use crate::config::{Latent, LatentAtTest, Recipe};
use crate::data::batch::PairBatch;
use crate::data::tokenize::TokenizedPair;
use crate::model::policy::{PairStates, Policy};
use crate::progress::Task;
use crate::tensor::codebook;
use crate::tensor::gumbel::gumbel_softmax;
use crate::tensor::latent::prior_logits;
use crate::tensor::numerics::softmax;
use crate::tensor::objective::implicit_rewards;
use crate::train::fit::{gumbel_draws, reference_tensors};
use crate::train::interrupt;
use crate::train::loss::exact_latents;
use crate::train::reference::{ReferenceLogps, by_length};
use crate::{Error, Result};
use candle_core::Tensor;

/// A policy's verdict on one pair. Units: nats; rewards as [`implicit_rewards`] scales them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preference {
    /// Reward of chosen minus reward of rejected.
    pub margin: f64,
    pub policy_chosen_logps: f64,
    pub policy_rejected_logps: f64,
    /// (6) of the pair and the gap of its bound (7) at λ = 1; absent for a plain policy.
    pub marginal_loss: Option<f64>,
    pub bound_gap: Option<f64>,
}

impl Preference {
    /// What is not a number is neither right nor wrong.
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
    policy: &Policy,
    pairs: &[TokenizedPair],
    reference: Option<&[ReferenceLogps]>,
    progress: &Task,
) -> Result<Vec<Preference>> {
    let decoder = &policy.decoder;
    let mut verdicts = vec![None; pairs.len()];
    for members in by_length(pairs).chunks(recipe.training.micro_batch_size) {
        interrupt::check("evaluation")?;
        let chunk: Vec<&TokenizedPair> = members.iter().map(|&i| &pairs[i]).collect();
        let batch = PairBatch::new(&chunk, decoder.dtype(), decoder.device())?;
        let states = PairStates::select(&decoder.hidden_values(&batch.rows)?, &batch)?;
        let streams = chunk.iter().map(|p| p.index);
        let latent = prior_latent(recipe, policy, &states.prompt_hidden, recipe.seed, streams)?;
        let logps = policy.pair_logps(&states, &batch, latent.as_ref())?;
        let reference = reference.map(|r| reference_tensors(members.iter().map(|&i| r[i]), decoder.device()));
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

/// h_z [B, d] as the recipe wants it at test time; none for a plain policy.
///
/// `seed` and `streams` name each row's sample.
pub fn prior_latent(
    recipe: &Recipe,
    policy: &Policy,
    prompt_hidden: &Tensor,
    seed: u64,
    streams: impl Iterator<Item = usize>,
) -> Result<Option<Tensor>> {
    let Some(heads) = &policy.heads else { return Ok(None) };
    let logits = prior_logits(&heads.prior, prompt_hidden)?;
    let draws = || {
        let names = streams.map(|i| format!("gumbel/test/{i}"));
        gumbel_draws(seed, names, heads.codebook.dim(0)?, prompt_hidden.device())
    };
    let code_weights = match (recipe.evaluation.latent, recipe.latent) {
        (LatentAtTest::Mean, _) => softmax(&logits)?,
        (LatentAtTest::Sample, Latent::Gumbel { gumbel_tau, .. }) => {
            gumbel_softmax(&logits, &draws()?, gumbel_tau)?
        }
        // What was trained on codes, not on mixtures of them, is given one.
        (LatentAtTest::Sample, _) => one_code(&(&logits + draws()?)?)?,
    };
    Ok(Some(codebook::latent(&code_weights, &heads.codebook)?))
}

/// 1 at each row's largest score, 0 elsewhere.
fn one_code(scores: &Tensor) -> Result<Tensor> {
    let codes = Tensor::arange(0, scores.dim(1)? as u32, scores.device())?;
    let best = scores.argmax_keepdim(1)?;
    Ok(codes.unsqueeze(0)?.broadcast_eq(&best)?.to_dtype(scores.dtype())?)
}
