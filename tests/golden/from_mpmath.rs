//! Values and derivatives at 50 digits, rounded once.

use crate::cases;
use crate::fixture::{Tolerance, vector};
use lpc::spec::elbo::*;
use lpc::spec::gumbel::*;
use lpc::spec::latent::*;
use lpc::spec::marginal::*;
use lpc::spec::numerics::*;
use lpc::spec::objective::reward::*;
use lpc::spec::objective::*;

/// 1e-12: e^x keeps |x| roundings, at most some 700 · 1.1e-16 before it underflows.
/// Floor 2e-15: a handful of roundings of the terms that cancelled.
const MPMATH: Tolerance = Tolerance { relative: 1e-12, floor: 2e-15 };

#[test]
fn sigmoids() {
    for c in &cases::MPMATH.sigmoid {
        MPMATH.check_one("sigmoid", sigmoid(c.x), c.sigmoid);
        MPMATH.check_one("log_sigmoid", log_sigmoid(c.x), c.log_sigmoid);
        // Both tails keep relative accuracy: no floor here.
        let error = (log_sigmoid(c.x) - c.log_sigmoid).abs();
        assert!(error <= 1e-12 * c.log_sigmoid.abs(), "log_sigmoid({})", c.x);
    }
}

#[test]
fn softmaxes() {
    for c in &cases::MPMATH.softmax {
        let x = vector(&c.x);
        MPMATH.check_one("logsumexp", logsumexp(&x), c.logsumexp);
        MPMATH.check("softmax", &softmax(&x), &c.softmax);
        MPMATH.check("log_softmax", &log_softmax(&x), &c.log_softmax);
    }
}

#[test]
fn objectives_and_their_slopes() {
    for c in &cases::MPMATH.dpo {
        MPMATH.check_one("dpo", dpo_loss(c.beta, c.margin).unwrap(), c.loss);
        MPMATH.check_one("∂dpo", dpo_gradient(c.beta, c.margin).unwrap(), c.gradient);
    }
    for c in &cases::MPMATH.ipo {
        MPMATH.check_one("ipo", ipo_loss(c.ipo_tau, c.margin).unwrap(), c.loss);
        MPMATH.check_one("∂ipo", ipo_gradient(c.ipo_tau, c.margin).unwrap(), c.gradient);
    }
    for c in &cases::MPMATH.gpo {
        MPMATH.check_one(&c.family, gpo_loss(c.member(), c.beta, c.margin).unwrap(), c.loss);
        MPMATH.check_one(&c.family, gpo_gradient(c.member(), c.beta, c.margin).unwrap(), c.gradient);
    }
    for c in &cases::MPMATH.simpo {
        let policy = PairLogps { chosen: c.chosen_sum, rejected: c.rejected_sum };
        let lengths = PairLengths { chosen: c.chosen_len, rejected: c.rejected_len };
        let margin = simpo_margin(c.beta, c.gamma, policy, lengths).unwrap();
        MPMATH.check_one("simpo", simpo_loss(margin).unwrap(), c.loss);
        let gradient = simpo_gradient(c.beta, c.gamma, policy, lengths).unwrap();
        MPMATH.check("∂simpo", &[gradient.chosen, gradient.rejected], &c.gradient);
    }
}

#[test]
fn samples_divergences_and_bounds() {
    for c in &cases::MPMATH.codes {
        let (q, p) = (vector(&c.posterior_logits), vector(&c.prior_logits));
        let (margins, losses) = (vector(&c.margins), vector(&c.code_losses));

        let sample = gumbel_softmax(&q, &vector(&c.noise), c.gumbel_tau).unwrap();
        MPMATH.check("sample", &sample, &c.sample);
        let gradient = gumbel_softmax_gradient(&sample, c.gumbel_tau, &vector(&c.upstream)).unwrap();
        MPMATH.check("∂sample", &gradient, &c.sample_gradient);

        MPMATH.check_one("kl", kl_divergence(&q, &p).unwrap(), c.kl);
        MPMATH.check_one("kl_from_uniform", kl_from_uniform(&q).unwrap(), c.kl_from_uniform);
        let (to_q, to_p) = kl_divergence_gradient(&q, &p).unwrap();
        MPMATH.check("∂kl/∂q", &to_q, &c.kl_posterior);
        MPMATH.check("∂kl/∂p", &to_p, &c.kl_prior);

        MPMATH.check_one("marginal", marginal_loss(&p, &losses).unwrap(), c.marginal);
        let (to_p, to_losses) = marginal_gradient(&p, &losses).unwrap();
        MPMATH.check("∂marginal/∂p", &to_p, &c.marginal_prior);
        // The fixture's derivative is by Δ_k: DPO's slope carries it there.
        let slopes = margins.mapv(|m| dpo_gradient(c.beta, m).unwrap());
        MPMATH.check("∂marginal/∂margins", &(to_losses * slopes), &c.marginal_margins);
        let posterior = true_posterior_logps(&p, &losses).unwrap();
        MPMATH.check("true posterior", &posterior, &c.true_posterior_logps);
        MPMATH.check_one("gap", bound_gap(&q, &p, &losses).unwrap(), c.bound_gap);

        let lambda = c.kl_weight;
        MPMATH.check_one("elbo", negative_elbo_exact(&losses, &q, &p, lambda).unwrap(), c.elbo);
        let (to_losses, to_q, to_p) = negative_elbo_exact_gradient(&losses, &q, &p, lambda).unwrap();
        MPMATH.check("∂elbo/∂losses", &to_losses, &c.elbo_losses);
        MPMATH.check("∂elbo/∂q", &to_q, &c.elbo_posterior);
        MPMATH.check("∂elbo/∂p", &to_p, &c.elbo_prior);
    }
}

#[test]
fn rewards_and_optimal_policies() {
    for c in &cases::MPMATH.rewards {
        let (reference, rewards) = (vector(&c.reference_logits), vector(&c.rewards));
        MPMATH.check_one("bradley_terry", bradley_terry(rewards[0], rewards[1]).unwrap(), c.bradley_terry);
        MPMATH.check_one("log Z", log_partition(c.beta, &reference, &rewards).unwrap(), c.log_partition);
        let optimum = optimal_policy_logps(c.beta, &reference, &rewards).unwrap();
        MPMATH.check("π*", &optimum, &c.optimal_policy_logps);
        let value = regularised_reward(c.beta, &vector(&c.policy_logits), &reference, &rewards).unwrap();
        MPMATH.check_one("(1)", value, c.regularised_reward);
    }
}

#[test]
fn the_whole_loss_and_its_gradient() {
    cases::MPMATH.lpc.iter().for_each(|case| case.check(MPMATH));
}
