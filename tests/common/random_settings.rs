//! Objectives and latents over their ranges.

use lpc::config::{Latent, Objective, PriorWeight};
use proptest::prelude::*;

pub const CODES: usize = 3;

pub fn objective() -> impl Strategy<Value = Objective> {
    prop_oneof![
        (0.05..2.0f64).prop_map(|beta| Objective::Dpo { beta }),
        (0.1..1.0f64).prop_map(|ipo_tau| Objective::Ipo { ipo_tau }),
        ((0.5..3.0f64), (-1.0..1.0f64)).prop_map(|(beta, gamma)| Objective::Simpo { beta, gamma }),
    ]
}

pub fn latent() -> impl Strategy<Value = Latent> {
    let gumbel = ((0.3..3.0f64), (0.0..2.0f64)).prop_map(|(gumbel_tau, kl_weight)| Latent::Gumbel {
        codes: CODES,
        gumbel_tau,
        kl_weight,
        prior_weight: PriorWeight::Linear {},
        codebook_std: 1.0,
        heads_learning_rate: None,
        heads_input: Default::default(),
    });
    let (codes, codebook_std, heads_learning_rate) = (CODES, 1.0, None);
    let elbo = (0.0..2.0f64).prop_map(move |kl_weight| Latent::ExactElbo {
        codes,
        kl_weight,
        codebook_std,
        heads_learning_rate,
        heads_input: Default::default(),
    });
    let marginal =
        Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() };
    let gaussian = (0.0..2.0f64).prop_map(move |kl_weight| Latent::Gaussian {
        dimension: CODES,
        kl_weight,
        prior_weight: PriorWeight::Linear {},
        output_std: 1.0,
        heads_learning_rate,
        heads_input: Default::default(),
    });
    let factors = Latent::Factors { output_std: 1.0, heads_learning_rate };
    let control = Latent::Control {
        match_codes: CODES,
        output_std: 1.0,
        heads_learning_rate,
        heads_input: Default::default(),
    };
    prop_oneof![Just(Latent::None {}), gumbel, elbo, Just(marginal), Just(control), gaussian, Just(factors)]
}
