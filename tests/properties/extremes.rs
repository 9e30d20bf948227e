//! Everything stays finite at |β·margin| = 1e4, and keeps its limit.

use crate::support::{Draw, Example, assert_close, cases, settings};
use lpc::config::Gpo;
use lpc::spec::elbo::*;
use lpc::spec::gradient::lpc_loss;
use lpc::spec::gumbel::*;
use lpc::spec::latent::*;
use lpc::spec::marginal::*;
use lpc::spec::numerics::*;
use lpc::spec::objective::*;
use ndarray::{Array1, array};
use proptest::prelude::*;

fn all_finite<'a>(values: impl IntoIterator<Item = &'a f64>) -> bool {
    values.into_iter().all(|v| v.is_finite())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn objectives(beta in 1e-3..1e3, sign in prop_oneof![Just(1.0), Just(-1.0)]) {
        let margin = sign * 1e4 / beta;
        let loss = dpo_loss(beta, margin).unwrap();
        // Won: nothing left to pay. Lost: linear.
        assert_close(loss, if sign > 0.0 { 0.0 } else { 1e4 });
        assert_close(dpo_gradient(beta, margin).unwrap() / beta, if sign > 0.0 { 0.0 } else { -1.0 });
        prop_assert!(ipo_loss(beta / 2.0, margin).unwrap().is_finite());
        prop_assert!(ipo_gradient(beta / 2.0, margin).unwrap().is_finite());
        let (logps, lengths) = (PairLogps { chosen: margin, rejected: 0.0 }, PairLengths { chosen: 1, rejected: 1 });
        prop_assert!(simpo_loss(simpo_margin(beta, 1.0, logps, lengths).unwrap()).unwrap().is_finite());
        prop_assert!(simpo_gradient(beta, 1.0, logps, lengths).unwrap().chosen.is_finite());
        for family in Gpo::ALL {
            // e^{1e4} is no f64: the exponential loss says so instead of clamping.
            if family == Gpo::Exponential && sign < 0.0 {
                prop_assert!(gpo_loss(family, beta, margin).is_err());
                prop_assert!(gpo_gradient(family, beta, margin).is_err());
            } else {
                prop_assert!(gpo_loss(family, beta, margin).unwrap().is_finite(), "{:?}", family);
                prop_assert!(gpo_gradient(family, beta, margin).unwrap().is_finite(), "{:?}", family);
            }
        }
    }

    #[test]
    fn codes(seed in any::<u64>(), k in 2usize..9, beta in 1e-3..1e3, tau in 1e-3..10.0) {
        let mut draw = Draw::new(seed);
        let signs = |draw: &mut Draw| draw.vector(k, 1.0).mapv(f64::signum);
        let (q, p) = (signs(&mut draw) * 1e4, signs(&mut draw) * 1e4);
        let losses = signs(&mut draw).mapv(|sign| dpo_loss(beta, sign * 1e4 / beta).unwrap());
        prop_assert!(all_finite(&[
            kl_divergence(&q, &p).unwrap(),
            kl_from_uniform(&q).unwrap(),
            marginal_loss(&p, &losses).unwrap(),
            bound_gap(&q, &p, &losses).unwrap(),
        ]));
        prop_assert!(all_finite(&true_posterior_logps(&p, &losses).unwrap()));
        let (a, b) = marginal_gradient(&p, &losses).unwrap();
        prop_assert!(all_finite(&a) && all_finite(&b));
        let (a, b) = kl_divergence_gradient(&q, &p).unwrap();
        prop_assert!(all_finite(&a) && all_finite(&b));
        prop_assert!(negative_elbo_exact(&losses, &q, &p, 0.05).unwrap().is_finite());
        let (a, b, c) = negative_elbo_exact_gradient(&losses, &q, &p, 0.05).unwrap();
        prop_assert!(all_finite(&a) && all_finite(&b) && all_finite(&c));
        let sample = gumbel_softmax(&q, &draw.gumbel(k), tau).unwrap();
        prop_assert!(all_finite(&sample));
        prop_assert!(all_finite(&gumbel_softmax_gradient(&sample, tau, &p).unwrap()));
    }

    /// Vocabulary scores of some 1e4, hence margins of that size, through the whole loss.
    #[test]
    fn the_whole_loss(seed in any::<u64>(), settings in settings()) {
        let mut example = Example::draw(seed, 3, 2, 5, 3, 4);
        example.chosen_hidden *= 1e4;
        example.rejected_hidden *= 1e4;
        let loss = lpc_loss(&example.pair(), &settings).unwrap();
        prop_assert!(all_finite(&[loss.loss, loss.kl, loss.margin, loss.policy.chosen, loss.policy.rejected]));
        let g = &loss.gradients;
        prop_assert!(all_finite(&g.chosen_hidden) && all_finite(&g.rejected_hidden) && all_finite(&g.lm_head));
        prop_assert!(all_finite(&g.codebook) && all_finite(&g.prior_logits) && all_finite(&g.posterior_logits));
    }
}

/// Tiny probabilities keep their digits: log σ(40) = −e^−40 to first order, not 0.
#[test]
fn certainty_is_not_rounded_away() {
    let relative = |a: f64, b: f64| ((a - b) / b).abs();
    // The next term of the series is smaller by e^−40.
    assert!(relative(log_sigmoid(40.0), -(-40f64).exp()) < 1e-15);
    assert!(relative(log_softmax(&array![40.0, 0.0])[0], -(-40f64).exp()) < 1e-15);
    assert_eq!(log_softmax(&array![1e4, -1e4]).to_vec(), [0.0, -2e4]);
    assert_eq!(sigmoid(-1e4), 0.0);
    assert_eq!(sigmoid(1e4), 1.0);
    assert_eq!(logsumexp(&Array1::zeros(0)), f64::NEG_INFINITY);
}
