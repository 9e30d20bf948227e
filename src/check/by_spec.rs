//! The numbers of `spec`: closed forms, and every code on its own.

use super::input::{Latent, Pair, Problem};
use super::{Gradients, PairNumbers};
use crate::error::Result;
use crate::spec::codebook::{linear_latent, linear_latent_gradient};
use crate::spec::gaussian::{gaussian_kl, gaussian_sample, mix_samples};
use crate::spec::gradient::{LatentRule, LpcPair, LpcSettings, loss_at_latent, lpc_loss};
use crate::spec::latent::{control_latent, control_latent_gradient};
use crate::spec::objective::PairLogps;
use ndarray::{Array2, Axis};
use std::collections::BTreeMap;

pub fn numbers(problem: &Problem) -> Result<(Vec<PairNumbers>, Gradients)> {
    let mut gradients = Sums { share: 1.0 / problem.pairs.len() as f64, of: BTreeMap::new() };
    let numbers = problem.pairs.iter().map(|pair| match rule(problem.latent) {
        Some(latent) => with_codes(problem, pair, latent, &mut gradients),
        None => at_latent(problem, pair, &mut gradients),
    });
    let numbers = numbers.collect::<Result<_>>()?;
    let rows = |m: Array2<f64>| m.outer_iter().map(|row| row.to_vec()).collect();
    Ok((numbers, Gradients(gradients.of.into_iter().map(|(name, m)| (name, rows(m))).collect())))
}

/// Means over the pairs.
struct Sums {
    share: f64,
    of: BTreeMap<&'static str, Array2<f64>>,
}

impl Sums {
    fn add(&mut self, name: &'static str, gradient: &Array2<f64>) {
        let sum = self.of.entry(name).or_insert_with(|| Array2::zeros(gradient.dim()));
        sum.scaled_add(self.share, gradient);
    }
}

fn with_codes(problem: &Problem, pair: &Pair, latent: LatentRule, sums: &mut Sums) -> Result<PairNumbers> {
    let settings = LpcSettings { objective: problem.objective, latent };
    let found = lpc_loss(&borrowed(problem, pair), &settings)?;
    if problem.latent.has_codes() {
        sums.add("codebook", &found.gradients.codebook);
    }
    sums.add("lm_head", &found.gradients.lm_head);
    // The exact rules report expectations in these places, over no h_z that exists.
    let at_one_h_z = matches!(latent, LatentRule::None | LatentRule::Gumbel { .. });
    let sampled = matches!(latent, LatentRule::Gumbel { .. });
    let with_posterior = found.codes.is_some() && pair.has_posterior;
    Ok(PairNumbers {
        loss: found.loss,
        margin: at_one_h_z.then_some(found.margin),
        kl: with_posterior.then_some(found.kl),
        policy_chosen_logps: at_one_h_z.then_some(found.policy.chosen),
        policy_rejected_logps: at_one_h_z.then_some(found.policy.rejected),
        latent: None,
        code_weights: sampled.then(|| found.code_weights.to_vec()),
        code_margins: found.codes.as_ref().map(|c| c.margins.to_vec()),
        exact_posterior: found.codes.as_ref().map(|c| c.exact_posterior.to_vec()),
        bound_gap: found.codes.as_ref().filter(|_| with_posterior).map(|c| c.bound_gap),
    })
}

/// The latents that LPC is compared with: the objective at their h_z, and the Gaussian's λ·KL.
fn at_latent(problem: &Problem, pair: &Pair, sums: &mut Sums) -> Result<PairNumbers> {
    let (weights, kl, kl_weight) = match problem.latent {
        Latent::Gaussian { prior_weight, kl_weight } => {
            let prior = gaussian_sample(&pair.prior, &pair.prior_noise)?;
            let posterior = gaussian_sample(&pair.posterior, &pair.posterior_noise)?;
            let kl = gaussian_kl(&pair.posterior, &pair.prior)?;
            (mix_samples(&prior, &posterior, prior_weight)?, Some(kl), kl_weight)
        }
        // The control has a network instead of weights; the others are not calculated here (see `rule`).
        Latent::Factors {}
        | Latent::Control {}
        | Latent::None {}
        | Latent::Gumbel { .. }
        | Latent::ExactElbo { .. }
        | Latent::Marginal {} => (pair.factor_weights.clone(), None, 0.0),
    };
    let network = problem.network.as_ref().filter(|_| problem.latent == Latent::Control {});
    let h_z = match network {
        Some(network) => control_latent(network, &pair.prompt_hidden)?,
        None => linear_latent(&weights, &problem.vectors)?,
    };
    let found = loss_at_latent(&borrowed(problem, pair), problem.objective, &h_z)?;
    match network {
        Some(network) => {
            let (to_network, _) = control_latent_gradient(network, &pair.prompt_hidden, &found.latent)?;
            sums.add("inner_weight", &to_network.inner_weight);
            sums.add("inner_bias", &to_network.inner_bias.insert_axis(Axis(0)));
            sums.add("outer_weight", &to_network.outer_weight);
            sums.add("outer_bias", &to_network.outer_bias.insert_axis(Axis(0)));
        }
        None => {
            let (_, to_vectors) = linear_latent_gradient(&weights, &problem.vectors, &found.latent)?;
            sums.add(if kl.is_some() { "projection" } else { "vectors" }, &to_vectors);
        }
    }
    sums.add("lm_head", &found.lm_head);
    Ok(PairNumbers {
        loss: found.loss + kl_weight * kl.unwrap_or(0.0),
        margin: Some(found.margin),
        kl,
        policy_chosen_logps: Some(found.policy.chosen),
        policy_rejected_logps: Some(found.policy.rejected),
        latent: Some(h_z.to_vec()),
        code_weights: None,
        code_margins: None,
        exact_posterior: None,
        bound_gap: None,
    })
}

/// None: no rule about codes.
fn rule(latent: Latent) -> Option<LatentRule> {
    Some(match latent {
        Latent::None {} => LatentRule::None,
        Latent::Gumbel { gumbel_tau, prior_weight, kl_weight } => {
            LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight }
        }
        Latent::ExactElbo { kl_weight } => LatentRule::ExactElbo { kl_weight },
        Latent::Marginal {} => LatentRule::Marginal,
        Latent::Gaussian { .. } | Latent::Control {} | Latent::Factors {} => return None,
    })
}

fn borrowed<'a>(problem: &'a Problem, pair: &'a Pair) -> LpcPair<'a> {
    LpcPair {
        chosen_hidden: &pair.chosen.hidden,
        rejected_hidden: &pair.rejected.hidden,
        chosen_tokens: &pair.chosen.tokens,
        rejected_tokens: &pair.rejected.tokens,
        lm_head: &problem.lm_head,
        codebook: &problem.vectors,
        prior_logits: &pair.prior,
        posterior_logits: &pair.posterior,
        prior_noise: &pair.prior_noise,
        posterior_noise: &pair.posterior_noise,
        reference: PairLogps { chosen: pair.reference_chosen_logps, rejected: pair.reference_rejected_logps },
    }
}
