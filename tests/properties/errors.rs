//! Bad input is an error that names the operation, the argument, what was got and expected.

use crate::message::message;
use crate::support::{Example, cases, latent_rule};
use lpc::config::{Gpo, Objective};
use lpc::spec::codebook::*;
use lpc::spec::elbo::*;
use lpc::spec::gradient::{LpcSettings, lpc_loss};
use lpc::spec::gumbel::*;
use lpc::spec::latent::*;
use lpc::spec::logprob::*;
use lpc::spec::marginal::*;
use lpc::spec::objective::*;
use ndarray::{Array1, Array2, array};
use proptest::prelude::*;

#[test]
fn messages_say_what_was_wrong() {
    let logps = PairLogps { chosen: -1.0, rejected: -1.0 };
    let cases = [
        (message(dpo_loss(-0.1, 1.0)), "dpo_loss: beta = -0.1, expected finite and > 0"),
        (message(dpo_loss(0.1, f64::NAN)), "dpo_loss: margin = NaN, expected finite"),
        (message(ipo_loss(0.0, 1.0)), "ipo_loss: ipo_tau = 0, expected finite and > 0"),
        (
            message(simpo_margin(1.0, 0.0, logps, PairLengths { chosen: 0, rejected: 2 })),
            "simpo_margin: lengths.chosen = 0, expected at least 1 token",
        ),
        (
            message(simpo_margin(1.0, f64::INFINITY, logps, PairLengths { chosen: 1, rejected: 2 })),
            "simpo_margin: gamma = inf, expected finite",
        ),
        (
            message(gpo_loss(Gpo::Exponential, 1.0, -1e4)),
            "gpo_loss: beta * margin = -10000, expected at least -709 (e^-x overflows)",
        ),
        (
            message(token_logps(&Array2::zeros((0, 2)), &Array2::zeros((3, 2)), &[])),
            "token_logps: tokens = empty, expected at least one element",
        ),
        (
            message(token_logps(&Array2::zeros((1, 2)), &Array2::zeros((3, 2)), &[3])),
            "token_logps: tokens = 3, expected below 3",
        ),
        (
            message(token_logps(&Array2::zeros((2, 2)), &Array2::zeros((3, 2)), &[1])),
            "token_logps: hidden = shape [2, 2], expected shape [1, 2]",
        ),
        (
            message(gumbel_softmax(&array![0.0], &array![0.0], 0.0)),
            "gumbel_softmax: gumbel_tau = 0, expected finite and > 0",
        ),
        (
            message(gumbel_softmax(&array![0.0], &array![0.0, 1.0], 1.0)),
            "gumbel_softmax: noise = shape [2], expected shape [1]",
        ),
        (
            message(mix_codes(&array![1.0], &array![1.0], 1.5)),
            "mix_codes: prior_weight = 1.5, expected in [0, 1]",
        ),
        (
            message(mix_codes(&array![0.7, 0.7], &array![0.5, 0.5], 0.5)),
            "mix_codes: prior_sample = [0.7, 0.7], expected non-negative and summing to 1",
        ),
        (
            message(latent(&array![0.5, 0.5], &Array2::zeros((3, 4)))),
            "latent: code_weights = shape [2], expected shape [3]",
        ),
        (
            message(kl_divergence(&array![0.0, 1.0], &array![0.0])),
            "kl_divergence: prior_logits = shape [1], expected shape [2]",
        ),
        (
            message(kl_divergence(&array![f64::NAN], &array![0.0])),
            "kl_divergence: posterior_logits = NaN, expected finite elements",
        ),
        (message(prior_weight(5, 5)), "prior_weight: step = 5, expected below steps = 5"),
        (message(prior_weight(0, 0)), "prior_weight: step = 0, expected below steps = 0"),
        (
            message(negative_elbo_sampled(1.0, 1.0, -1.0)),
            "negative_elbo_sampled: kl_weight = -1, expected finite and >= 0",
        ),
        (
            message(marginal_loss(&Array1::zeros(0), &Array1::zeros(0))),
            "marginal_loss: prior_logits = empty, expected at least one element",
        ),
        (
            message(add_latent(&Array2::zeros((1, 2)), &Array1::zeros(3))),
            "add_latent: latent = shape [3], expected shape [2]",
        ),
    ];
    for (got, expected) in cases {
        assert_eq!(got, expected);
    }
}

#[test]
fn a_network_of_the_wrong_shape_is_refused() {
    let mlp = Mlp {
        inner_weight: Array2::zeros((3, 2)),
        inner_bias: Array1::zeros(3),
        outer_weight: Array2::zeros((4, 3)),
        outer_bias: Array1::zeros(4),
    };
    assert_eq!(prior_logits(&mlp, &Array1::zeros(2)).unwrap().len(), 4);
    let error = message(posterior_logits(&mlp, &Array1::zeros(2), &Array1::zeros(2)));
    assert_eq!(error, "posterior_logits: inner_weight = shape [3, 2], expected shape [3, 4]");
    assert!(posterior_logits(&mlp, &Array1::zeros(1), &Array1::zeros(3)).is_err());
}

proptest! {
    #![proptest_config(cases())]

    /// Whichever completion is empty, and whichever objective and rule read it.
    #[test]
    fn an_empty_completion_is_an_error(
        seed in any::<u64>(), chosen in any::<bool>(), beta in 0.1..2.0, latent in latent_rule(),
    ) {
        let mut example = Example::draw(seed, 2, 2, 4, 3, 3);
        let d = example.lm_head.ncols();
        if chosen {
            (example.chosen_tokens, example.chosen_hidden) = (vec![], Array2::zeros((0, d)));
        } else {
            (example.rejected_tokens, example.rejected_hidden) = (vec![], Array2::zeros((0, d)));
        }
        for objective in [
            Objective::Dpo { beta }, Objective::Ipo { ipo_tau: beta }, Objective::Simpo { beta, gamma: 0.0 },
            Objective::Gpo { member: Gpo::Hinge, beta },
        ] {
            let message = message(lpc_loss(&example.pair(), &LpcSettings { objective, latent }));
            prop_assert_eq!(message, "token_logps: tokens = empty, expected at least one element");
        }
    }

    /// No argument out of range or of the wrong length panics.
    #[test]
    fn no_bad_number_panics(beta in any::<f64>(), margin in any::<f64>(), k in 0usize..4, m in 0usize..4) {
        let (a, b) = (Array1::from_elem(k, margin), Array1::from_elem(m, beta));
        let _ = (dpo_loss(beta, margin), dpo_gradient(beta, margin), ipo_loss(beta, margin));
        let (logps, lengths) = (PairLogps { chosen: margin, rejected: beta }, PairLengths { chosen: k, rejected: m });
        let _ = (simpo_margin(beta, margin, logps, lengths), simpo_gradient(beta, margin, logps, lengths));
        let _ = (simpo_loss(margin), bradley_terry(beta, margin));
        for objective in [Objective::Dpo { beta }, Objective::Ipo { ipo_tau: beta }, Objective::Simpo { beta, gamma: margin }] {
            let _ = implicit_rewards(objective, logps, logps, lengths);
        }
        for family in Gpo::ALL {
            let _ = (gpo_loss(family, beta, margin), gpo_gradient(family, beta, margin));
        }
        let _ = (gumbel_softmax(&a, &b, beta), hard_sample(&a, &b), gumbel_softmax_gradient(&a, beta, &b));
        let _ = (kl_divergence(&a, &b), kl_divergence_gradient(&a, &b), kl_from_uniform(&a));
        let _ = (marginal_loss(&a, &b), marginal_gradient(&a, &b), bound_gap(&a, &b, &a));
        let _ = (straight_through(&a, &b, beta), straight_through_gradient(&a, &b, beta, &a));
        let _ = (mix_codes(&a, &b, beta), latent(&a, &Array2::zeros((m, k))));
        let _ = (negative_elbo_exact(&a, &b, &a, beta), negative_elbo_exact_gradient(&a, &b, &b, beta));
        let _ = token_logps(&Array2::zeros((k, m)), &Array2::zeros((m, k)), &[0, 9][..k.min(2)]);
        let _ = latent_gradient(&a, &Array2::zeros((m, k)), &b);
    }
}
