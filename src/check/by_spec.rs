//! The numbers of `spec`: closed forms, and every code on its own.

use super::input::{Latent, Pair, Problem};
use super::{Gradients, PairNumbers};
use crate::error::Result;
use crate::spec::gradient::{LatentRule, LpcPair, LpcSettings, lpc_loss};
use crate::spec::objective::PairLogps;
use ndarray::Array2;

pub fn numbers(problem: &Problem) -> Result<(Vec<PairNumbers>, Gradients)> {
    let settings = LpcSettings { objective: problem.objective, latent: rule(problem.latent) };
    let (mut codebook, mut lm_head) =
        (Array2::zeros(problem.codebook.dim()), Array2::zeros(problem.lm_head.dim()));
    let mut numbers = Vec::with_capacity(problem.pairs.len());
    let share = 1.0 / problem.pairs.len() as f64;
    for pair in &problem.pairs {
        let found = lpc_loss(&borrowed(problem, pair), &settings)?;
        codebook.scaled_add(share, &found.gradients.codebook);
        lm_head.scaled_add(share, &found.gradients.lm_head);
        // The exact rules report expectations in these places, over no h_z that exists.
        let at_one_h_z = matches!(problem.latent, Latent::None {} | Latent::Gumbel { .. });
        let sampled = matches!(problem.latent, Latent::Gumbel { .. });
        let with_posterior = found.codes.is_some() && pair.has_posterior;
        numbers.push(PairNumbers {
            loss: found.loss,
            margin: at_one_h_z.then_some(found.margin),
            kl: with_posterior.then_some(found.kl),
            policy_chosen_logps: at_one_h_z.then_some(found.policy.chosen),
            policy_rejected_logps: at_one_h_z.then_some(found.policy.rejected),
            code_weights: sampled.then(|| found.code_weights.to_vec()),
            code_margins: found.codes.as_ref().map(|c| c.margins.to_vec()),
            exact_posterior: found.codes.as_ref().map(|c| c.exact_posterior.to_vec()),
            bound_gap: found.codes.as_ref().filter(|_| with_posterior).map(|c| c.bound_gap),
        });
    }
    let rows = |m: &Array2<f64>| m.outer_iter().map(|row| row.to_vec()).collect();
    let codebook = (problem.latent != Latent::None {}).then(|| rows(&codebook));
    Ok((numbers, Gradients { codebook, lm_head: rows(&lm_head) }))
}

fn rule(latent: Latent) -> LatentRule {
    match latent {
        Latent::None {} => LatentRule::None,
        Latent::Gumbel { gumbel_tau, prior_weight, kl_weight } => {
            LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight }
        }
        Latent::ExactElbo { kl_weight } => LatentRule::ExactElbo { kl_weight },
        Latent::Marginal {} => LatentRule::Marginal,
    }
}

fn borrowed<'a>(problem: &'a Problem, pair: &'a Pair) -> LpcPair<'a> {
    LpcPair {
        chosen_hidden: &pair.chosen.hidden,
        rejected_hidden: &pair.rejected.hidden,
        chosen_tokens: &pair.chosen.tokens,
        rejected_tokens: &pair.rejected.tokens,
        lm_head: &problem.lm_head,
        codebook: &problem.codebook,
        prior_logits: &pair.prior_logits,
        posterior_logits: &pair.posterior_logits,
        prior_noise: &pair.prior_noise,
        posterior_noise: &pair.posterior_noise,
        reference: PairLogps { chosen: pair.reference_chosen_logps, rejected: pair.reference_rejected_logps },
    }
}
