//! What the latents that LPC is compared with are, by definitions that share nothing with the formulas.

use crate::support::{Draw, assert_all_close, assert_close, cases, example, objective};
use lpc::spec::codebook::{latent, linear_latent};
use lpc::spec::gaussian::*;
use lpc::spec::gradient::{LatentRule, LpcSettings, loss_at_latent, lpc_loss};
use lpc::spec::latent::{Mlp, control_latent};
use lpc::spec::numerics::softmax;
use ndarray::{Array1, Array2, array, concatenate, s};
use proptest::prelude::*;

/// log N(z; μ, σ²).
fn log_density(z: f64, mean: f64, std: f64) -> f64 {
    -0.5 * ((z - mean) / std).powi(2) - std.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

proptest! {
    #![proptest_config(cases())]

    /// ∫ q log(q/p) by the trapezium rule, which for a smooth density that vanishes at both ends
    /// is exact to rounding: 16 deviations either way in steps of an eighth.
    #[test]
    fn kl_of_gaussians_is_its_integral(
        means in (-3.0..3.0, -3.0..3.0), log_stds in (-1.0..1.0, -1.0..1.0),
    ) {
        let (q, p): (Array1<f64>, Array1<f64>) = (array![means.0, log_stds.0], array![means.1, log_stds.1]);
        let (std, step) = (f64::exp(log_stds.0), 1.0 / 8.0);
        let integral: f64 = (-128..=128)
            .map(|i| {
                let z = means.0 + std * step * f64::from(i);
                let log_q = log_density(z, means.0, std);
                log_q.exp() * (log_q - log_density(z, means.1, f64::exp(log_stds.1))) * std * step
            })
            .sum();
        let kl = gaussian_kl(&q, &p).unwrap();
        // Sums of 257 terms of up to some hundred.
        prop_assert!((kl - integral).abs() < 1e-11 * (1.0 + kl), "{kl} and {integral}");
    }

    /// Dimensions are independent; a Gaussian is no distance from itself, and some from any other.
    #[test]
    fn kl_of_gaussians_adds_up(seed in any::<u64>(), n in 1usize..6) {
        let mut draw = Draw::new(seed);
        let (q, p) = (draw.vector(2 * n, 1.0), draw.vector(2 * n, 1.0));
        let one = |x: &Array1<f64>, i: usize| array![x[i], x[n + i]];
        let sum: f64 = (0..n).map(|i| gaussian_kl(&one(&q, i), &one(&p, i)).unwrap()).sum();
        let kl = gaussian_kl(&q, &p).unwrap();
        assert_close(kl, sum);
        prop_assert!(kl > 0.0 && gaussian_kl(&p, &p).unwrap() == 0.0);
    }

    /// A sample's standard score under its own Gaussian is the noise, and α hands over from the
    /// posterior to the prior.
    #[test]
    fn samples_are_shifted_noise(seed in any::<u64>(), n in 1usize..6, alpha in 0.0..=1.0) {
        let mut draw = Draw::new(seed);
        let (mean, log_std, noise) = (draw.vector(n, 2.0), draw.vector(n, 1.0), draw.vector(n, 1.0));
        let outputs = concatenate![ndarray::Axis(0), mean.view(), log_std.view()];
        let z = gaussian_sample(&outputs, &noise).unwrap();
        assert_all_close(&((&z - &mean) / log_std.exp()), &noise);
        let (got_mean, got_log_std) = mean_and_log_std(&outputs).unwrap();
        prop_assert!(got_mean == mean && got_log_std == log_std);
        prop_assert_eq!(&mix_samples(&z, &noise, 1.0).unwrap(), &z);
        prop_assert_eq!(&mix_samples(&z, &noise, 0.0).unwrap(), &noise);
        let mixed = mix_samples(&z, &noise, alpha).unwrap();
        assert_all_close(&(&mixed - &noise), &((&z - &noise) * alpha));
    }

    /// Codes are the case of weights that are a distribution.
    #[test]
    fn a_latent_of_codes_is_linear(seed in any::<u64>(), k in 1usize..6, d in 1usize..5, factor in -3.0..3.0) {
        let mut draw = Draw::new(seed);
        let (weights, codebook) = (softmax(&draw.vector(k, 1.0)), draw.matrix(k, d, 1.0));
        let h_z = linear_latent(&weights, &codebook).unwrap();
        prop_assert_eq!(&h_z, &latent(&weights, &codebook).unwrap());
        let scaled: Array1<f64> = &weights * factor;
        assert_all_close(&linear_latent(&scaled, &codebook).unwrap(), &(h_z * factor));
    }

    /// A control whose last layer is 0 is the plain objective, and one that ignores its input a
    /// single code.
    #[test]
    fn a_control_contains_the_plain_objective(example in example(), objective in objective(), seed in any::<u64>(), width in 1usize..4) {
        let d = example.codebook.ncols();
        let mut draw = Draw::new(seed);
        let control = Mlp {
            inner_weight: draw.matrix(width, d, 1.0),
            inner_bias: draw.vector(width, 1.0),
            outer_weight: Array2::zeros((d, width)),
            outer_bias: Array1::zeros(d),
        };
        let prompt = draw.vector(d, 1.0);
        let pair = example.pair();
        let plain = lpc_loss(&pair, &LpcSettings { objective, latent: LatentRule::None }).unwrap();
        let at = loss_at_latent(&pair, objective, &control_latent(&control, &prompt).unwrap()).unwrap();
        prop_assert_eq!((at.loss, at.margin, at.policy), (plain.loss, plain.margin, plain.policy));
        prop_assert_eq!(&at.lm_head, &plain.gradients.lm_head);

        let bias = example.codebook.row(0).to_owned();
        let constant = Mlp { outer_bias: bias.clone(), ..control };
        prop_assert_eq!(control_latent(&constant, &prompt).unwrap(), bias);
        let rule = LatentRule::Gumbel { gumbel_tau: 1.0, prior_weight: 0.5, kl_weight: 1.0 };
        let one_code = crate::support::Example {
            codebook: example.codebook.slice(s![..1, ..]).to_owned(),
            prior_logits: array![0.3],
            posterior_logits: array![-0.2],
            prior_noise: array![1.0],
            posterior_noise: array![0.1],
            ..example.clone()
        };
        let coded = lpc_loss(&one_code.pair(), &LpcSettings { objective, latent: rule }).unwrap();
        let at = loss_at_latent(&pair, objective, &control_latent(&constant, &prompt).unwrap()).unwrap();
        assert_close(at.loss, coded.loss);
    }
}

#[test]
fn gaussians_refuse_what_is_none() {
    let message =
        |outputs: &Array1<f64>, noise: &Array1<f64>| gaussian_sample(outputs, noise).unwrap_err().to_string();
    assert_eq!(
        message(&array![1.0, 2.0, 3.0], &array![1.0]),
        "gaussian_sample: outputs = 3 numbers, expected a mean and a log std each"
    );
    assert_eq!(
        message(&array![1.0, 2.0], &array![1.0, 2.0]),
        "gaussian_sample: noise = shape [2], expected shape [1]"
    );
    assert_eq!(
        gaussian_kl(&array![1.0, f64::NAN], &array![1.0, 2.0]).unwrap_err().to_string(),
        "gaussian_kl: outputs = NaN, expected finite elements"
    );
}
