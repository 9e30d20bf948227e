//! Every closed-form gradient against central differences, over random hyper-parameters.

use crate::support::{Draw, Example, assert_gradient, cases, example, objective, settings};
use lpc::config::Gpo;
use lpc::spec::codebook::*;
use lpc::spec::elbo::*;
use lpc::spec::gaussian::*;
use lpc::spec::gradient::{LpcGradients, loss_at_latent, lpc_loss};
use lpc::spec::gumbel::*;
use lpc::spec::latent::*;
use lpc::spec::logprob::*;
use lpc::spec::marginal::*;
use lpc::spec::objective::*;
use ndarray::{Array1, Array2, ArrayView1};
use proptest::prelude::*;

fn slice(array: &Array1<f64>) -> &[f64] {
    array.as_slice().unwrap()
}

fn matrix_of(values: &[f64], like: &Array2<f64>) -> Array2<f64> {
    Array2::from_shape_vec(like.dim(), values.to_vec()).unwrap()
}

fn vector_of(values: &[f64]) -> ArrayView1<'_, f64> {
    ArrayView1::from(values)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn of_dpo_and_ipo(beta in 0.01..4.0, ipo_tau in 0.05..3.0, margin in -6.0..6.0) {
        assert_gradient("dpo", &[dpo_gradient(beta, margin).unwrap()], &[margin], |x| dpo_loss(beta, x[0]).unwrap());
        assert_gradient("ipo", &[ipo_gradient(ipo_tau, margin).unwrap()], &[margin], |x| ipo_loss(ipo_tau, x[0]).unwrap());
    }

    #[test]
    fn of_gpo(beta in 0.05..3.0, x in prop_oneof![-6.0..0.95, 1.05..6.0]) {
        // Away from the corner at x = 1 by more than the stencil reaches: β·2·STEP ≤ 0.006.
        let margin = x / beta;
        for family in Gpo::ALL {
            let closed = gpo_gradient(family, beta, margin).unwrap();
            assert_gradient(&format!("{family:?}"), &[closed], &[margin], |m| gpo_loss(family, beta, m[0]).unwrap());
        }
    }

    #[test]
    fn of_simpo(
        beta in 0.05..4.0, gamma in -3.0..3.0, sums in (-30.0..0.0, -30.0..0.0), n in 1usize..20, m in 1usize..20,
    ) {
        let lengths = PairLengths { chosen: n, rejected: m };
        let closed = simpo_gradient(beta, gamma, PairLogps { chosen: sums.0, rejected: sums.1 }, lengths).unwrap();
        assert_gradient("simpo", &[closed.chosen, closed.rejected], &[sums.0, sums.1], |x| {
            let policy = PairLogps { chosen: x[0], rejected: x[1] };
            simpo_loss(simpo_margin(beta, gamma, policy, lengths).unwrap()).unwrap()
        });
    }

    #[test]
    fn of_every_objective(
        objective in objective(), policy in (-9.0..0.0, -9.0..0.0), reference in (-9.0..0.0, -9.0..0.0),
        n in 1usize..9, m in 1usize..9,
    ) {
        let reference = PairLogps { chosen: reference.0, rejected: reference.1 };
        let lengths = PairLengths { chosen: n, rejected: m };
        let at = |x: &[f64]| {
            objective_loss(objective, PairLogps { chosen: x[0], rejected: x[1] }, reference, lengths).unwrap()
        };
        let x = [policy.0, policy.1];
        let closed = at(&x).policy_gradient;
        assert_gradient("objective", &[closed.chosen, closed.rejected], &x, |x| at(x).loss);
    }

    #[test]
    fn of_samples_and_mixtures(seed in any::<u64>(), k in 1usize..7, d in 1usize..5, tau in 0.4..4.0, alpha in 0.0..=1.0) {
        let mut draw = Draw::new(seed);
        let (logits, noise, upstream) = (draw.vector(k, 1.5), draw.gumbel(k), draw.vector(k, 1.0));
        let sample = gumbel_softmax(&logits, &noise, tau).unwrap();
        let closed = gumbel_softmax_gradient(&sample, tau, &upstream).unwrap();
        assert_gradient("gumbel_softmax", &closed, slice(&logits), |x| {
            gumbel_softmax(&vector_of(x), &noise, tau).unwrap().dot(&upstream)
        });

        // A mixture is linear: its gradient is its matrix, read off basis-free by differences that
        // keep the samples in the simplex.
        let (other, toward) = (gumbel_softmax(&noise, &logits, tau).unwrap(), gumbel_softmax(&upstream, &noise, tau).unwrap());
        let (prior, posterior) = mix_codes_gradient(alpha, &upstream).unwrap();
        let mixed = |p: &Array1<f64>, q: &Array1<f64>| mix_codes(p, q, alpha).unwrap().dot(&upstream);
        let step = &toward - &sample;
        crate::support::assert_close(mixed(&toward, &other) - mixed(&sample, &other), prior.dot(&step));
        crate::support::assert_close(mixed(&other, &toward) - mixed(&other, &sample), posterior.dot(&step));

        let (codebook, down) = (draw.matrix(k, d, 1.0), draw.vector(d, 1.0));
        let (weights_gradient, codebook_gradient) = latent_gradient(&sample, &codebook, &down).unwrap();
        assert_gradient("codebook", &codebook_gradient, codebook.as_slice().unwrap(), |x| {
            latent(&sample, &matrix_of(x, &codebook)).unwrap().dot(&down)
        });
        let along = |w: &Array1<f64>| latent(w, &codebook).unwrap().dot(&down);
        crate::support::assert_close(along(&toward) - along(&sample), weights_gradient.dot(&step));
    }

    #[test]
    fn of_kl(seed in any::<u64>(), k in 1usize..7, scale in 0.1..3.0) {
        let mut draw = Draw::new(seed);
        let (q, p) = (draw.vector(k, scale), draw.vector(k, scale));
        let (to_q, to_p) = kl_divergence_gradient(&q, &p).unwrap();
        assert_gradient("posterior", &to_q, slice(&q), |x| kl_divergence(&vector_of(x), &p).unwrap());
        assert_gradient("prior", &to_p, slice(&p), |x| kl_divergence(&q, &vector_of(x)).unwrap());
    }

    #[test]
    fn of_marginal_and_elbo(seed in any::<u64>(), k in 1usize..7, lambda in 0.0..2.0) {
        let mut draw = Draw::new(seed);
        let (q, p, losses) = (draw.vector(k, 1.5), draw.vector(k, 1.5), draw.vector(k, 2.0));
        let (to_p, to_losses) = marginal_gradient(&p, &losses).unwrap();
        assert_gradient("marginal, prior", &to_p, slice(&p), |x| marginal_loss(&vector_of(x), &losses).unwrap());
        assert_gradient("marginal, losses", &to_losses, slice(&losses), |x| {
            marginal_loss(&p, &vector_of(x)).unwrap()
        });

        let (to_losses, to_q, to_p) = negative_elbo_exact_gradient(&losses, &q, &p, lambda).unwrap();
        let elbo = |l: &[f64], q: &[f64], p: &[f64]| {
            negative_elbo_exact(&vector_of(l), &vector_of(q), &vector_of(p), lambda).unwrap()
        };
        let (l, q, p) = (slice(&losses), slice(&q), slice(&p));
        assert_gradient("elbo, losses", &to_losses, l, |x| elbo(x, q, p));
        assert_gradient("elbo, posterior", &to_q, q, |x| elbo(l, x, p));
        assert_gradient("elbo, prior", &to_p, p, |x| elbo(l, q, x));
    }

    #[test]
    fn of_gaussians(seed in any::<u64>(), n in 1usize..5, d in 1usize..4, scale in 0.1..1.0) {
        let mut draw = Draw::new(seed);
        let (q, p, noise) = (draw.vector(2 * n, scale), draw.vector(2 * n, scale), draw.vector(n, 1.0));
        let (upstream, vectors, down) = (draw.vector(n, 1.0), draw.matrix(n, d, 1.0), draw.vector(d, 1.0));
        assert_gradient("sample", &gaussian_sample_gradient(&q, &noise, &upstream).unwrap(), slice(&q), |x| {
            gaussian_sample(&vector_of(x), &noise).unwrap().dot(&upstream)
        });
        let (to_q, to_p) = gaussian_kl_gradient(&q, &p).unwrap();
        assert_gradient("posterior", &to_q, slice(&q), |x| gaussian_kl(&vector_of(x), &p).unwrap());
        assert_gradient("prior", &to_p, slice(&p), |x| gaussian_kl(&q, &vector_of(x)).unwrap());

        let (to_prior, to_posterior) = mix_samples_gradient(0.3, &upstream).unwrap();
        let mixed = |prior: &[f64], posterior: &[f64]| {
            mix_samples(&vector_of(prior), &vector_of(posterior), 0.3).unwrap().dot(&upstream)
        };
        assert_gradient("prior sample", &to_prior, slice(&noise), |x| mixed(x, slice(&upstream)));
        assert_gradient("posterior sample", &to_posterior, slice(&noise), |x| mixed(slice(&upstream), x));

        let (to_weights, to_vectors) = linear_latent_gradient(&noise, &vectors, &down).unwrap();
        assert_gradient("weights", &to_weights, slice(&noise), |x| linear_latent(&vector_of(x), &vectors).unwrap().dot(&down));
        assert_gradient("vectors", &to_vectors, vectors.as_slice().unwrap(), |x| {
            linear_latent(&noise, &matrix_of(x, &vectors)).unwrap().dot(&down)
        });
    }

    #[test]
    fn of_the_control(seed in any::<u64>(), d in 1usize..5, width in 1usize..5) {
        let mut draw = Draw::new(seed);
        let control = Mlp {
            inner_weight: draw.matrix(width, d, 1.0),
            inner_bias: draw.vector(width, 1.0),
            outer_weight: draw.matrix(d, width, 1.0),
            outer_bias: draw.vector(d, 1.0),
        };
        let (prompt, upstream) = (draw.vector(d, 1.0), draw.vector(d, 1.0));
        let (network, to_prompt) = control_latent_gradient(&control, &prompt, &upstream).unwrap();
        let at = |control: &Mlp, prompt: ArrayView1<f64>| control_latent(control, &prompt).unwrap().dot(&upstream);
        assert_gradient("prompt", &to_prompt, slice(&prompt), |x| at(&control, vector_of(x)));
        let inner = control.inner_weight.as_slice().unwrap();
        assert_gradient("inner_weight", &network.inner_weight, inner, |x| {
            at(&Mlp { inner_weight: matrix_of(x, &control.inner_weight), ..control.clone() }, prompt.view())
        });
        let outer = control.outer_weight.as_slice().unwrap();
        assert_gradient("outer_weight", &network.outer_weight, outer, |x| {
            at(&Mlp { outer_weight: matrix_of(x, &control.outer_weight), ..control.clone() }, prompt.view())
        });
        assert_gradient("inner_bias", &network.inner_bias, slice(&control.inner_bias), |x| {
            at(&Mlp { inner_bias: Array1::from(x.to_vec()), ..control.clone() }, prompt.view())
        });
        assert_gradient("outer_bias", &network.outer_bias, slice(&control.outer_bias), |x| {
            at(&Mlp { outer_bias: Array1::from(x.to_vec()), ..control.clone() }, prompt.view())
        });
    }

    /// h_z moves every token's state and nothing else: its gradient is the sum of theirs.
    #[test]
    fn at_a_latent(example in example(), objective in objective(), seed in any::<u64>()) {
        let h_z = Draw::new(seed).vector(example.codebook.ncols(), 1.0);
        let got = loss_at_latent(&example.pair(), objective, &h_z).unwrap();
        let at = |example: &Example, h_z: &[f64]| loss_at_latent(&example.pair(), objective, &vector_of(h_z)).unwrap().loss;
        assert_gradient("h_z", &got.latent, slice(&h_z), |x| at(&example, x));
        assert_gradient("lm_head", &got.lm_head, example.lm_head.as_slice().unwrap(), |x| {
            at(&Example { lm_head: matrix_of(x, &example.lm_head), ..example.clone() }, slice(&h_z))
        });
        assert_gradient("chosen", &got.chosen_hidden, example.chosen_hidden.as_slice().unwrap(), |x| {
            at(&Example { chosen_hidden: matrix_of(x, &example.chosen_hidden), ..example.clone() }, slice(&h_z))
        });
        assert_gradient("rejected", &got.rejected_hidden, example.rejected_hidden.as_slice().unwrap(), |x| {
            at(&Example { rejected_hidden: matrix_of(x, &example.rejected_hidden), ..example.clone() }, slice(&h_z))
        });
    }

    #[test]
    fn of_the_networks(seed in any::<u64>(), d in 1usize..5, width in 1usize..5, k in 1usize..5) {
        let mut draw = Draw::new(seed);
        let network = |draw: &mut Draw, input: usize| Mlp {
            inner_weight: draw.matrix(width, input, 1.0),
            inner_bias: draw.vector(width, 1.0),
            outer_weight: draw.matrix(k, width, 1.0),
            outer_bias: draw.vector(k, 1.0),
        };
        let upstream = draw.vector(k, 1.0);
        let (a, b) = (draw.vector(d, 1.0), draw.vector(d, 1.0));
        let prior = network(&mut draw, d);
        let posterior = network(&mut draw, 2 * d);

        let (to_prior, to_prompt) = prior_logits_gradient(&prior, &a, &upstream).unwrap();
        let value = |mlp: &Mlp, x: &[f64]| prior_logits(mlp, &vector_of(x)).unwrap().dot(&upstream);
        assert_gradient("prompt_hidden", &to_prompt, slice(&a), |x| value(&prior, x));
        check_mlp(&prior, &to_prior, |mlp| value(mlp, slice(&a)));

        let (to_posterior, to_chosen, to_rejected) = posterior_logits_gradient(&posterior, &a, &b, &upstream).unwrap();
        let value = |mlp: &Mlp, c: &[f64], r: &[f64]| {
            posterior_logits(mlp, &vector_of(c), &vector_of(r)).unwrap().dot(&upstream)
        };
        assert_gradient("chosen_hidden", &to_chosen, slice(&a), |x| value(&posterior, x, slice(&b)));
        assert_gradient("rejected_hidden", &to_rejected, slice(&b), |x| value(&posterior, slice(&a), x));
        check_mlp(&posterior, &to_posterior, |mlp| value(mlp, slice(&a), slice(&b)));
    }

    #[test]
    fn of_log_probabilities(example in example(), seed in any::<u64>()) {
        let Example { chosen_hidden: hidden, chosen_tokens: tokens, lm_head, codebook, .. } = &example;
        let (to_hidden, to_lm_head) = completion_logps_sum_gradient(hidden, lm_head, tokens).unwrap();
        assert_gradient("hidden", &to_hidden, hidden.as_slice().unwrap(), |x| {
            completion_logps_sum(&matrix_of(x, hidden), lm_head, tokens).unwrap()
        });
        assert_gradient("lm_head", &to_lm_head, lm_head.as_slice().unwrap(), |x| {
            completion_logps_sum(hidden, &matrix_of(x, lm_head), tokens).unwrap()
        });

        let upstream = Draw::new(seed).vector(codebook.nrows(), 1.0);
        let (to_hidden, to_lm_head, to_codebook) =
            code_logps_gradient(hidden, lm_head, codebook, tokens, &upstream).unwrap();
        let value = |h: &Array2<f64>, w: &Array2<f64>, e: &Array2<f64>| {
            code_logps(h, w, e, tokens).unwrap().dot(&upstream)
        };
        assert_gradient("codes, hidden", &to_hidden, hidden.as_slice().unwrap(), |x| {
            value(&matrix_of(x, hidden), lm_head, codebook)
        });
        assert_gradient("codes, lm_head", &to_lm_head, lm_head.as_slice().unwrap(), |x| {
            value(hidden, &matrix_of(x, lm_head), codebook)
        });
        assert_gradient("codes, codebook", &to_codebook, codebook.as_slice().unwrap(), |x| {
            value(hidden, lm_head, &matrix_of(x, codebook))
        });
    }

    #[test]
    fn of_the_whole_loss(example in example(), settings in settings()) {
        type Input = fn(&mut Example) -> &mut [f64];
        type Gradient = fn(&LpcGradients) -> Vec<f64>;
        let blocks: [(&str, Input, Gradient); 6] = [
            ("chosen_hidden", |e| e.chosen_hidden.as_slice_mut().unwrap(), |g| g.chosen_hidden.iter().copied().collect()),
            ("rejected_hidden", |e| e.rejected_hidden.as_slice_mut().unwrap(), |g| g.rejected_hidden.iter().copied().collect()),
            ("lm_head", |e| e.lm_head.as_slice_mut().unwrap(), |g| g.lm_head.iter().copied().collect()),
            ("codebook", |e| e.codebook.as_slice_mut().unwrap(), |g| g.codebook.iter().copied().collect()),
            ("prior_logits", |e| e.prior_logits.as_slice_mut().unwrap(), |g| g.prior_logits.to_vec()),
            ("posterior_logits", |e| e.posterior_logits.as_slice_mut().unwrap(), |g| g.posterior_logits.to_vec()),
        ];
        let gradients = lpc_loss(&example.pair(), &settings).unwrap().gradients;
        for (name, input, gradient) in blocks {
            let x = input(&mut example.clone()).to_vec();
            assert_gradient(name, &gradient(&gradients), &x, |x| {
                let mut moved = example.clone();
                input(&mut moved).copy_from_slice(x);
                lpc_loss(&moved.pair(), &settings).unwrap().loss
            });
        }
    }
}

fn check_mlp(mlp: &Mlp, gradient: &Mlp, value: impl Fn(&Mlp) -> f64) {
    type Input = fn(&mut Mlp) -> &mut [f64];
    let blocks: [(&str, Input); 4] = [
        ("inner_weight", |m| m.inner_weight.as_slice_mut().unwrap()),
        ("inner_bias", |m| m.inner_bias.as_slice_mut().unwrap()),
        ("outer_weight", |m| m.outer_weight.as_slice_mut().unwrap()),
        ("outer_bias", |m| m.outer_bias.as_slice_mut().unwrap()),
    ];
    for (name, input) in blocks {
        let x = input(&mut mlp.clone()).to_vec();
        let closed = input(&mut gradient.clone()).to_vec();
        assert_gradient(name, &closed, &x, |x| {
            let mut moved = mlp.clone();
            input(&mut moved).copy_from_slice(x);
            value(&moved)
        });
    }
}
