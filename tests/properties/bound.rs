//! (6) against (7): when the training loss bounds the likelihood, by how much, and when not.
//! Losses of codes are any numbers here, unless a test speaks of likelihoods.

use crate::support::{Draw, ROUNDING, assert_all_close, assert_close, cases};
use lpc::config::Objective;
use lpc::spec::elbo::negative_elbo_exact;
use lpc::spec::latent::kl_divergence;
use lpc::spec::marginal::*;
use lpc::spec::numerics::softmax;
use lpc::spec::objective::*;
use ndarray::{Array1, array};
use proptest::prelude::*;

fn dpo_losses(beta: f64, margins: &Array1<f64>) -> Array1<f64> {
    margins.mapv(|m| dpo_loss(beta, m).unwrap())
}

proptest! {
    #![proptest_config(cases())]

    /// (6) as printed.
    #[test]
    fn the_marginal_is_its_definition(seed in any::<u64>(), k in 1usize..9, beta in 0.01..3.0_f64) {
        let mut draw = Draw::new(seed);
        let (prior, margins) = (draw.vector(k, 1.5), draw.vector(k, 3.0));
        let joint = softmax(&prior) / margins.mapv(|m| 1.0 + (-beta * m).exp());
        let losses = dpo_losses(beta, &margins);
        assert_close(marginal_loss(&prior, &losses).unwrap(), -joint.sum().ln());
        let posterior = true_posterior_logps(&prior, &losses).unwrap();
        assert_all_close(&posterior.exp(), &(&joint / joint.sum()));
    }

    /// What it is for any other loss: −log Σ p e^−ℓ.
    #[test]
    fn the_marginal_is_a_free_energy(seed in any::<u64>(), k in 1usize..9, scale in 0.1..8.0) {
        let mut draw = Draw::new(seed);
        let (prior, losses) = (draw.vector(k, 1.5), draw.vector(k, scale));
        let weights = softmax(&prior) * losses.mapv(|l| (-l).exp());
        assert_close(marginal_loss(&prior, &losses).unwrap(), -weights.sum().ln());
    }

    /// Jensen, with its remainder: −ELBO at λ = 1 is (6) plus KL(q ‖ true posterior), exactly.
    #[test]
    fn at_lambda_1_the_elbo_is_the_marginal_plus_a_divergence(
        seed in any::<u64>(), k in 1usize..9, scale in 0.1..5.0,
    ) {
        let mut draw = Draw::new(seed);
        let (q, p, losses) = (draw.vector(k, scale), draw.vector(k, scale), draw.vector(k, 3.0));
        let marginal = marginal_loss(&p, &losses).unwrap();
        let elbo = negative_elbo_exact(&losses, &q, &p, 1.0).unwrap();
        prop_assert!(elbo >= marginal - ROUNDING * elbo.abs().max(1.0));
        assert_close(elbo - marginal, bound_gap(&q, &p, &losses).unwrap());
    }

    /// Gibbs' variational principle: the least value over q, met by the true posterior alone.
    #[test]
    fn the_true_posterior_closes_the_gap(seed in any::<u64>(), k in 1usize..9, scale in 0.1..5.0) {
        let mut draw = Draw::new(seed);
        let (p, losses) = (draw.vector(k, 1.5), draw.vector(k, scale));
        let q = true_posterior_logps(&p, &losses).unwrap();
        let elbo = negative_elbo_exact(&losses, &q, &p, 1.0).unwrap();
        assert_close(elbo, marginal_loss(&p, &losses).unwrap());
        assert_close(bound_gap(&q, &p, &losses).unwrap(), 0.0);
    }

    /// λ ≥ 1 only adds to a bound. (λ < 1: see the examples below.)
    #[test]
    fn larger_lambdas_still_bound(seed in any::<u64>(), k in 1usize..9, lambda in 1.0..9.0) {
        let mut draw = Draw::new(seed);
        let (q, p, losses) = (draw.vector(k, 1.5), draw.vector(k, 1.5), draw.vector(k, 3.0));
        let loss = negative_elbo_exact(&losses, &q, &p, lambda).unwrap();
        prop_assert!(loss >= marginal_loss(&p, &losses).unwrap() - ROUNDING * loss.abs().max(1.0));
    }

    /// α = 1 takes the expectation under the prior: an upper bound by Jensen for any λ ≥ 0, and no
    /// longer the ELBO of q.
    #[test]
    fn at_alpha_1_the_prior_expectation_bounds_the_marginal(
        seed in any::<u64>(), k in 1usize..9, lambda in 0.0..2.0_f64,
    ) {
        let mut draw = Draw::new(seed);
        let (q, p, losses) = (draw.vector(k, 1.5), draw.vector(k, 1.5), draw.vector(k, 3.0));
        let loss = softmax(&p).dot(&losses) + lambda * kl_divergence(&q, &p).unwrap();
        prop_assert!(loss >= marginal_loss(&p, &losses).unwrap() - ROUNDING * loss.abs().max(1.0));
    }

    /// The bound's search must succeed: at random q, λ = 0.05 is below (6) often enough to be met.
    #[test]
    fn the_papers_lambda_breaks_the_bound_somewhere(seed in any::<u64>(), beta in 0.5..2.0) {
        let mut draw = Draw::new(seed);
        let broken = (0..200).any(|_| {
            let (q, p, margins) = (draw.vector(4, 2.0), draw.vector(4, 1.0), draw.vector(4, 3.0));
            let losses = dpo_losses(beta, &margins);
            let loss = negative_elbo_exact(&losses, &q, &p, 0.05).unwrap();
            loss < marginal_loss(&p, &losses).unwrap() - 1e-3
        });
        prop_assert!(broken);
    }

    /// With the best q for it, every λ < 1 falls below (6) unless all codes tie: (7) is then
    /// −λ log Σ_k p_k e^{−ℓ_k/λ}, a power mean of the likelihoods instead of their mean.
    #[test]
    fn below_lambda_1_the_optimal_posterior_beats_the_likelihood(
        seed in any::<u64>(), k in 2usize..9, beta in 0.1..2.0, lambda in 0.05..0.95_f64,
    ) {
        let mut draw = Draw::new(seed);
        let (p, margins) = (draw.vector(k, 1.0), draw.vector(k, 3.0));
        let losses = dpo_losses(beta, &margins);
        let q = &p - &losses / lambda;
        let loss = negative_elbo_exact(&losses, &q, &p, lambda).unwrap();
        let power: f64 = softmax(&p).iter().zip(&losses).map(|(p, l)| p * (-l / lambda).exp()).sum();
        assert_close(loss, -lambda * power.ln());
        prop_assert!(loss < marginal_loss(&p, &losses).unwrap());
    }

    /// What (7) does bound at λ < 1, for every q: the power mean of the likelihoods with exponent 1/λ, from above.
    #[test]
    fn below_lambda_1_a_power_mean_is_bounded(
        seed in any::<u64>(), k in 2usize..9, beta in 0.1..2.0, lambda in 0.05..1.0_f64,
    ) {
        let mut draw = Draw::new(seed);
        let (q, p, margins) = (draw.vector(k, 2.0), draw.vector(k, 1.0), draw.vector(k, 3.0));
        let losses = dpo_losses(beta, &margins);
        let power: f64 = softmax(&p).iter().zip(&losses).map(|(p, l)| p * (-l / lambda).exp()).sum();
        let loss = negative_elbo_exact(&losses, &q, &p, lambda).unwrap();
        prop_assert!(loss >= -lambda * power.ln() - ROUNDING * loss.abs().max(1.0));
    }

    #[test]
    fn one_code_is_the_plain_objective(
        loss in -20.0..20.0, logit in -9.0..9.0, other in -9.0..9.0, lambda in 0.0..2.0_f64,
    ) {
        let (p, q, losses) = (array![logit], array![other], array![loss]);
        assert_close(marginal_loss(&p, &losses).unwrap(), loss);
        assert_close(negative_elbo_exact(&losses, &q, &p, lambda).unwrap(), loss);
        prop_assert_eq!(bound_gap(&q, &p, &losses).unwrap(), 0.0);
    }
}

/// By hand: p = (1/2, 1/2), σ = (0.9, 0.1), q all on the good code. (6) is −log 0.5 = 0.693; (7) is
/// −log 0.9 + λ log 2, which at the paper's λ = 0.05 is 0.140, far below the likelihood it should bound.
#[test]
fn the_papers_lambda_is_not_a_bound() {
    let losses = dpo_losses(1.0, &array![9f64.ln(), -(9f64.ln())]);
    let (p, q) = (array![0.0, 0.0], array![0.0, -800.0]);
    let marginal = marginal_loss(&p, &losses).unwrap();
    assert_close(marginal, std::f64::consts::LN_2);
    let loss = |lambda| negative_elbo_exact(&losses, &q, &p, lambda).unwrap();
    assert_close(loss(0.05), -(0.9f64.ln()) + 0.05 * std::f64::consts::LN_2);
    assert!(loss(0.05) < marginal);
    assert!(loss(1.0) > marginal);
}

/// SimPO and IPO give the enumeration numbers as well, but no likelihood to bound: e^−IPO does not
/// even order the two labels, so Σ_k p_k e^−ℓ_k over both need not be 1.
#[test]
fn likelihoods_of_the_pair_are_dpo_and_simpo_without_a_margin() {
    let total = |loss: &dyn Fn(f64) -> f64| (-loss(0.7)).exp() + (-loss(-0.7)).exp();
    assert_close(total(&|m| dpo_loss(0.8, m).unwrap()), 1.0);
    // (12) as the paper writes it and as our recipes have it: γ = 0.
    assert_close(total(&|m| simpo_loss(0.8 * m).unwrap()), 1.0);
    assert!((total(&|m| ipo_loss(2.0, m).unwrap()) - 1.0).abs() > 0.1);
    // SimPO's γ ≠ 0 taxes both labels.
    assert!((total(&|m| simpo_loss(0.8 * m - 0.5).unwrap()) - 1.0).abs() > 0.1);
}

/// The dispatcher hands each objective its own parameters.
#[test]
fn the_dispatcher_reads_the_objective() {
    let (policy, reference) =
        (PairLogps { chosen: -2.0, rejected: -6.0 }, PairLogps { chosen: -3.0, rejected: -5.0 });
    let lengths = PairLengths { chosen: 2, rejected: 3 };
    let at = |objective| objective_loss(objective, policy, reference, lengths).unwrap();
    // Margin 2: (2 − 1/(2·0.5))² = 1.
    assert_eq!(at(Objective::Ipo { ipo_tau: 0.5 }).loss, 1.0);
    assert_eq!(at(Objective::Dpo { beta: 0.5 }).loss, (1.0 + (-1f64).exp()).ln());
    // Means −1 and −2: −log σ(2·1 − 2) = ln 2.
    assert_eq!(at(Objective::Simpo { beta: 2.0, gamma: 2.0 }).loss, std::f64::consts::LN_2);
    // The margin is the whole argument of σ in (12), and plain Δ elsewhere.
    assert_eq!(at(Objective::Simpo { beta: 2.0, gamma: 0.5 }).margin, 1.5);
    assert_eq!(at(Objective::Dpo { beta: 0.5 }).margin, 2.0);
}
