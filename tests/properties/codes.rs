//! (8)–(11): distributions over codes, relaxed samples, their mixture, the schedule of α.

use crate::support::{Draw, ROUNDING, assert_all_close, assert_close, cases};
use lpc::spec::codebook::{latent, mix_codes};
use lpc::spec::gumbel::{gumbel_softmax, hard_sample};
use lpc::spec::latent::*;
use lpc::spec::numerics::{log_softmax, logsumexp, softmax};
use ndarray::{Array1, Axis, array};
use proptest::prelude::*;

/// Non-negative and summing to 1.
fn assert_simplex(p: &Array1<f64>) {
    assert!(p.iter().all(|&v| (0.0..=1.0 + ROUNDING).contains(&v)), "{p}");
    assert_close(p.sum(), 1.0);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn softmax_is_its_definition(seed in any::<u64>(), k in 1usize..9, scale in 0.1..8.0) {
        let x = Draw::new(seed).vector(k, scale);
        let naive = x.mapv(f64::exp) / x.mapv(f64::exp).sum();
        assert_all_close(&softmax(&x), &naive);
        assert_close(logsumexp(&x), x.mapv(f64::exp).sum().ln());
        assert_all_close(&log_softmax(&x), &naive.mapv(f64::ln));
    }

    #[test]
    fn kl_is_not_negative_and_ignores_common_shifts(
        seed in any::<u64>(), k in 1usize..9, scale in 0.01..20.0, shift in -50.0..50.0_f64,
    ) {
        let mut draw = Draw::new(seed);
        let (q, p) = (draw.vector(k, scale), draw.vector(k, scale));
        let kl = kl_divergence(&q, &p).unwrap();
        prop_assert!(kl >= -ROUNDING);
        assert_close(kl, kl_divergence(&(&q + shift), &(&p - shift)).unwrap());
    }

    /// Zero for equal distributions; strictly positive once one logit moves.
    #[test]
    fn kl_is_zero_only_for_equal_distributions(
        seed in any::<u64>(), k in 2usize..9, moved in prop_oneof![-3.0..-0.1, 0.1..3.0],
    ) {
        let q = Draw::new(seed).vector(k, 1.0);
        prop_assert_eq!(kl_divergence(&q, &q).unwrap(), 0.0);
        let mut p = q.clone();
        p[0] += moved;
        // KL ≈ q_0 (1 − q_0) moved² / 2, far above rounding for these logits.
        prop_assert!(kl_divergence(&q, &p).unwrap() > 1e-9);
    }

    /// The direction: KL(q ‖ p) weighs log-ratios by the first argument.
    #[test]
    fn kl_weighs_by_the_posterior(seed in any::<u64>(), k in 1usize..9) {
        let mut draw = Draw::new(seed);
        let (q_logits, p_logits) = (draw.vector(k, 1.5), draw.vector(k, 1.5));
        let (q, p) = (softmax(&q_logits), softmax(&p_logits));
        let naive: f64 = q.iter().zip(&p).map(|(q, p)| q * (q / p).ln()).sum();
        assert_close(kl_divergence(&q_logits, &p_logits).unwrap(), naive);
    }

    #[test]
    fn kl_from_uniform_is_ln_k_minus_entropy(seed in any::<u64>(), k in 1usize..9, scale in 0.01..4.0) {
        let logits = Draw::new(seed).vector(k, scale);
        let q = softmax(&logits);
        let entropy: f64 = -q.iter().map(|q| q * q.ln()).sum::<f64>();
        assert_close(kl_from_uniform(&logits).unwrap(), (k as f64).ln() - entropy);
        assert_close(kl_from_uniform(&logits).unwrap(), kl_divergence(&logits, &Array1::zeros(k)).unwrap());
    }

    #[test]
    fn samples_and_mixtures_stay_in_the_simplex(
        seed in any::<u64>(), k in 1usize..9, tau in 0.05..20.0, prior_weight in 0.0..=1.0, scale in 0.1..20.0,
    ) {
        let mut draw = Draw::new(seed);
        let prior = gumbel_softmax(&draw.vector(k, scale), &draw.gumbel(k), tau).unwrap();
        let posterior = gumbel_softmax(&draw.vector(k, scale), &draw.gumbel(k), tau).unwrap();
        assert_simplex(&prior);
        assert_simplex(&posterior);
        assert_simplex(&mix_codes(&prior, &posterior, prior_weight).unwrap());
        assert_simplex(&hard_sample(&prior, &posterior).unwrap());
    }

    /// h_z is linear in the codes and stays among them, coordinate by coordinate.
    #[test]
    fn the_latent_is_a_convex_combination(seed in any::<u64>(), k in 1usize..9, d in 1usize..5) {
        let mut draw = Draw::new(seed);
        let weights = softmax(&draw.vector(k, 1.0));
        let codebook = draw.matrix(k, d, 2.0);
        let h_z = latent(&weights, &codebook).unwrap();
        for (h, column) in h_z.iter().zip(codebook.axis_iter(Axis(1))) {
            let (low, high) = column.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            prop_assert!((low - ROUNDING..=high + ROUNDING).contains(h));
            assert_close(*h, weights.iter().zip(&column).map(|(w, e)| w * e).sum());
        }
    }

    /// τ → 0: the hard sample. The runner-up, δ behind, keeps less than e^{−δ/τ}.
    #[test]
    fn a_cold_sample_is_a_code(seed in any::<u64>(), k in 2usize..9, cold in 0.01..0.5) {
        let mut draw = Draw::new(seed);
        let (logits, noise) = (draw.vector(k, 1.0), draw.gumbel(k));
        let mut scores = (&logits + &noise).to_vec();
        scores.sort_by(f64::total_cmp);
        let delta = scores[k - 1] - scores[k - 2];
        let relaxed = gumbel_softmax(&logits, &noise, cold).unwrap();
        let hard = hard_sample(&logits, &noise).unwrap();
        let distance = (&relaxed - &hard).mapv(f64::abs).sum();
        prop_assert!(distance <= 2.0 * (k - 1) as f64 * (-delta / cold).exp() + ROUNDING);
    }

    /// τ → ∞: the centre of the simplex, whatever the logits, at rate spread/τ.
    #[test]
    fn a_hot_sample_says_nothing(seed in any::<u64>(), k in 1usize..9, hot in 10.0..1e6) {
        let mut draw = Draw::new(seed);
        let (logits, noise) = (draw.vector(k, 1.0), draw.gumbel(k));
        let scores = &logits + &noise;
        let spread = scores.iter().fold(f64::MIN, |m, &v| m.max(v)) - scores.iter().fold(f64::MAX, |m, &v| m.min(v));
        for g in gumbel_softmax(&logits, &noise, hot).unwrap() {
            // Each ratio g_i/g_j is within e^{±spread/τ} of 1.
            prop_assert!((g * k as f64 - 1.0).abs() <= (spread / hot).exp_m1() + ROUNDING);
        }
    }

    /// α = 0 ignores the prior's sample, α = 1 the posterior's.
    #[test]
    fn alpha_hands_over_from_posterior_to_prior(seed in any::<u64>(), k in 1usize..9, alpha in 0.0..=1.0) {
        let mut draw = Draw::new(seed);
        let (prior, posterior) = (softmax(&draw.vector(k, 1.0)), softmax(&draw.vector(k, 1.0)));
        prop_assert_eq!(&mix_codes(&prior, &posterior, 0.0).unwrap(), &posterior);
        prop_assert_eq!(&mix_codes(&prior, &posterior, 1.0).unwrap(), &prior);
        let mixed = mix_codes(&prior, &posterior, alpha).unwrap();
        assert_all_close(&(mixed - &posterior), &((prior - &posterior) * alpha));
    }

    /// τ → 0 makes each sample a code, but with 0 < α < 1 their mixture is of two: (1 − α) of the posterior's, α of
    /// the prior's. The loss at it is the loss at no code.
    #[test]
    fn between_0_and_1_cold_samples_mix_two_codes(seed in any::<u64>(), k in 2usize..9, alpha in 0.1..0.9) {
        let mut draw = Draw::new(seed);
        let (p, q) = (draw.vector(k, 1.0), draw.vector(k, 1.0));
        let noise = [draw.gumbel(k), draw.gumbel(k)];
        let cold = 1e-9;
        let [prior, posterior] = [(&p, &noise[0]), (&q, &noise[1])].map(|(logits, noise)| gumbel_softmax(logits, noise, cold).unwrap());
        let mixed = mix_codes(&prior, &posterior, alpha).unwrap();
        let [i, j] = [(&q, &noise[1]), (&p, &noise[0])].map(|(logits, noise)| {
            let hard = hard_sample(logits, noise).unwrap();
            hard.iter().position(|v| *v == 1.0).unwrap()
        });
        let expected = |code: usize| {
            (1.0 - alpha) * f64::from(u8::from(code == i)) + alpha * f64::from(u8::from(code == j))
        };
        for (code, weight) in mixed.iter().enumerate() {
            prop_assert!((weight - expected(code)).abs() < 1e-6, "{mixed}, {i}, {j}");
        }
        // As many codes have weight as the two samples name.
        let used = mixed.iter().filter(|w| **w > 0.05).count();
        prop_assert_eq!(used, if i == j { 1 } else { 2 });
    }

    #[test]
    fn alpha_rises_linearly_from_0_to_1(steps in 2usize..5000) {
        prop_assert_eq!(prior_weight(0, steps).unwrap(), 0.0);
        prop_assert_eq!(prior_weight(steps - 1, steps).unwrap(), 1.0);
        let middle = prior_weight(steps / 2, steps).unwrap();
        assert_close(middle, (steps / 2) as f64 / (steps as f64 - 1.0));
    }

    /// The networks see their inputs: swapping chosen and rejected changes the posterior.
    #[test]
    fn the_posterior_knows_which_completion_won(seed in any::<u64>(), d in 1usize..5, width in 1usize..5, k in 2usize..6) {
        let mut draw = Draw::new(seed);
        let mlp = Mlp {
            inner_weight: draw.matrix(width, 2 * d, 1.0),
            inner_bias: draw.vector(width, 1.0),
            outer_weight: draw.matrix(k, width, 1.0),
            outer_bias: draw.vector(k, 1.0),
        };
        let (chosen, rejected) = (draw.vector(d, 1.0), draw.vector(d, 1.0));
        prop_assert_ne!(
            posterior_logits(&mlp, &chosen, &rejected).unwrap(),
            posterior_logits(&mlp, &rejected, &chosen).unwrap()
        );
        // The concatenation, by hand: the first d columns meet the chosen state.
        let inner: Vec<f64> = (0..width).map(|i| {
            let from = |states: &Array1<f64>, offset: usize| -> f64 {
                (0..d).map(|j| mlp.inner_weight[[i, offset + j]] * states[j]).sum()
            };
            let a = from(&chosen, 0) + from(&rejected, d) + mlp.inner_bias[i];
            a / (1.0 + (-a).exp())
        }).collect();
        let expected: Array1<f64> = (0..k)
            .map(|c| mlp.outer_bias[c] + (0..width).map(|i| mlp.outer_weight[[c, i]] * inner[i]).sum::<f64>())
            .collect();
        assert_all_close(&posterior_logits(&mlp, &chosen, &rejected).unwrap(), &expected);
    }
}

/// As documented: of codes that tie for the largest score, the first.
#[test]
fn ties_go_to_the_first_code() {
    let code = hard_sample(&array![0.0, 2.0, 1.0, 2.0], &array![1.0, 0.0, 1.0, 0.0]).unwrap();
    assert_eq!(code, array![0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn a_run_of_one_step_is_its_first() {
    assert_eq!(prior_weight(0, 1).unwrap(), 0.0);
}
