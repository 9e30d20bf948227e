//! gumbel, codebook, latent: from logits and noise to h_z, the networks, the divergence, α.

use crate::composed::{gradient, numbers};
use crate::twins::{Draw, assert_close, backward, log_uniform, size, var1, var2};
use candle_core::{Tensor, Var};
use lpc::{spec, tensor};
use ndarray::{Array1, Array2, ArrayView1, Axis};
use proptest::prelude::*;

/// A function of rows, row by row, flattened.
fn by_row(rows: usize, f: impl FnMut(usize) -> Vec<f64>) -> Vec<f64> {
    (0..rows).flat_map(f).collect()
}

fn flat(a: &Array2<f64>) -> Vec<f64> {
    a.iter().copied().collect()
}

fn row(a: &Array2<f64>, i: usize) -> ArrayView1<'_, f64> {
    a.index_axis(Axis(0), i)
}

/// The same network on both sides.
struct Network {
    spec: spec::latent::Mlp,
    vars: [Var; 4],
}

impl Network {
    fn draw(draw: &mut Draw, inputs: usize, width: usize, codes: usize) -> Self {
        let spec = spec::latent::Mlp {
            inner_weight: draw.matrix(width, inputs, 1.0),
            inner_bias: draw.vector(width, 1.0),
            outer_weight: draw.matrix(codes, width, 1.0),
            outer_bias: draw.vector(codes, 1.0),
        };
        let bias = |b: &Array1<f64>| var1(b.as_slice().unwrap());
        let vars = [
            var2(&spec.inner_weight),
            bias(&spec.inner_bias),
            var2(&spec.outer_weight),
            bias(&spec.outer_bias),
        ];
        Self { spec, vars }
    }

    fn tensor(&self) -> tensor::latent::Mlp {
        let [w1, b1, w2, b2] = self.vars.each_ref().map(|v| v.as_tensor().clone());
        tensor::latent::Mlp { w1, b1, w2, b2 }
    }

    /// `closed` holds one gradient a row of the batch; autograd has their sum.
    fn check(&self, store: &candle_core::backprop::GradStore, closed: &[spec::latent::Mlp], rounding: f64) {
        let sum = |of: &dyn Fn(&spec::latent::Mlp) -> Vec<f64>| {
            let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a + b).collect();
            closed.iter().map(of).reduce(add).unwrap()
        };
        let expected = [
            sum(&|m| flat(&m.inner_weight)),
            sum(&|m| m.inner_bias.to_vec()),
            sum(&|m| flat(&m.outer_weight)),
            sum(&|m| m.outer_bias.to_vec()),
        ];
        for (var, expected) in self.vars.iter().zip(expected) {
            assert_close("∂network", &gradient(store, var), &expected, rounding);
        }
    }
}

proptest! {
    #[test]
    fn relaxed_samples(
        seed: u64, b in 1usize..5, k in 1usize..=8, scale in log_uniform(0.1, 30.0), gumbel_tau in log_uniform(0.1, 10.0),
    ) {
        let mut draw = Draw::new(seed);
        let (logits, noise, upstream) = (draw.matrix(b, k, scale), draw.gumbel(b, k), draw.matrix(b, k, 1.0));
        let leaf = var2(&logits);
        let sample = tensor::gumbel::gumbel_softmax(&leaf, &var2(&noise), gumbel_tau).unwrap();
        let expected = |i| spec::gumbel::gumbel_softmax(&row(&logits, i), &row(&noise, i), gumbel_tau).unwrap();
        // exp carries the rounding of its argument, which 1/τ enlarges.
        let rounding = (size(&logits) + size(&noise)) * (1.0 / gumbel_tau).max(1.0);
        assert_close("sample", &numbers(&sample), &by_row(b, |i| expected(i).to_vec()), rounding);
        let closed = by_row(b, |i| {
            spec::gumbel::gumbel_softmax_gradient(&expected(i), gumbel_tau, &row(&upstream, i)).unwrap().to_vec()
        });
        let got = gradient(&backward(&sample, &flat(&upstream)), &leaf);
        assert_close("∂sample", &got, &closed, rounding * size(&upstream) / gumbel_tau.min(1.0));
    }

    #[test]
    fn mixtures_and_latents(
        seed: u64, b in 1usize..5, k in 1usize..=8, d in 1usize..6, prior_weight in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
    ) {
        let mut draw = Draw::new(seed);
        let mut simplex = || {
            let mut logits = draw.matrix(b, k, 2.0);
            logits.axis_iter_mut(Axis(0)).for_each(|mut r| { let p = spec::numerics::softmax(&r); r.assign(&p) });
            logits
        };
        let (prior, posterior) = (simplex(), simplex());
        let (codebook, upstream, to_weights) = (draw.matrix(k, d, 1.0), draw.matrix(b, d, 1.0), draw.matrix(b, k, 1.0));

        let (prior_var, posterior_var) = (var2(&prior), var2(&posterior));
        let weights = tensor::codebook::mix_codes(&prior_var, &posterior_var, prior_weight).unwrap();
        let mixed = |i| spec::codebook::mix_codes(&row(&prior, i), &row(&posterior, i), prior_weight).unwrap();
        assert_close("mix_codes", &numbers(&weights), &by_row(b, |i| mixed(i).to_vec()), 1.0);
        let store = backward(&weights, &flat(&to_weights));
        let closed = |i| spec::codebook::mix_codes_gradient(prior_weight, &row(&to_weights, i)).unwrap();
        assert_close("∂prior_sample", &gradient(&store, &prior_var), &by_row(b, |i| closed(i).0.to_vec()), 1.0);
        assert_close("∂posterior_sample", &gradient(&store, &posterior_var), &by_row(b, |i| closed(i).1.to_vec()), 1.0);

        let (weights_var, codebook_var) = (var2(&posterior), var2(&codebook));
        let h_z = tensor::codebook::latent(&weights_var, &codebook_var).unwrap();
        let expected = by_row(b, |i| spec::codebook::latent(&row(&posterior, i), &codebook).unwrap().to_vec());
        let rounding = size(&codebook) * size(&upstream) * (b * d) as f64;
        assert_close("latent", &numbers(&h_z), &expected, rounding);
        let store = backward(&h_z, &flat(&upstream));
        let closed = |i| spec::codebook::latent_gradient(&row(&posterior, i), &codebook, &row(&upstream, i)).unwrap();
        assert_close("∂code_weights", &gradient(&store, &weights_var), &by_row(b, |i| closed(i).0.to_vec()), rounding);
        let to_codebook = (0..b).fold(Array2::zeros((k, d)), |sum, i| sum + closed(i).1);
        assert_close("∂codebook", &gradient(&store, &codebook_var), &flat(&to_codebook), rounding);
    }

    #[test]
    fn divergences(seed: u64, b in 1usize..5, k in 1usize..=8, scale in log_uniform(0.01, 300.0)) {
        let mut draw = Draw::new(seed);
        let (posterior, prior, upstream) = (draw.matrix(b, k, scale), draw.matrix(b, k, scale), draw.vector(b, 1.0));
        let (posterior_var, prior_var) = (var2(&posterior), var2(&prior));
        let kl = tensor::latent::kl_divergence(&posterior_var, &prior_var).unwrap();
        let expected = by_row(b, |i| vec![spec::latent::kl_divergence(&row(&posterior, i), &row(&prior, i)).unwrap()]);
        let rounding = size(&posterior).max(size(&prior));
        assert_close("kl", &numbers(&kl), &expected, rounding);
        let store = backward(&kl, upstream.as_slice().unwrap());
        let closed = |i| spec::latent::kl_divergence_gradient(&row(&posterior, i), &row(&prior, i)).unwrap();
        let (to_posterior, to_prior) = (by_row(b, |i| (closed(i).0 * upstream[i]).to_vec()), by_row(b, |i| (closed(i).1 * upstream[i]).to_vec()));
        let rounding = rounding * size(&upstream);
        assert_close("∂posterior_logits", &gradient(&store, &posterior_var), &to_posterior, rounding);
        assert_close("∂prior_logits", &gradient(&store, &prior_var), &to_prior, rounding);
    }

    #[test]
    fn networks(
        seed: u64, b in 1usize..4, d in 1usize..6, width in 1usize..6, codes in 1usize..=8, scale in log_uniform(0.1, 30.0),
    ) {
        let mut draw = Draw::new(seed);
        let (prior, posterior) = (Network::draw(&mut draw, d, width, codes), Network::draw(&mut draw, 2 * d, width, codes));
        let [prompt, chosen, rejected] = [(); 3].map(|()| draw.matrix(b, d, scale));
        let upstream = draw.matrix(b, codes, 1.0);
        let [prompt_var, chosen_var, rejected_var] = [&prompt, &chosen, &rejected].map(var2);
        let weights = |m: &spec::latent::Mlp| size(&m.inner_weight) * size(&m.outer_weight) * (2 * d * width * b) as f64;
        let rounding = weights(&prior.spec).max(weights(&posterior.spec)) * size(&prompt).max(size(&chosen)).max(size(&rejected)) * size(&upstream);

        let logits = tensor::latent::prior_logits(&prior.tensor(), &prompt_var).unwrap();
        let expected = by_row(b, |i| spec::latent::prior_logits(&prior.spec, &row(&prompt, i)).unwrap().to_vec());
        assert_close("prior_logits", &numbers(&logits), &expected, rounding);
        let store = backward(&logits, &flat(&upstream));
        let (parameters, to_prompt): (Vec<_>, Vec<_>) = (0..b)
            .map(|i| spec::latent::prior_logits_gradient(&prior.spec, &row(&prompt, i), &row(&upstream, i)).unwrap())
            .unzip();
        prior.check(&store, &parameters, rounding);
        assert_close("∂prompt_hidden", &gradient(&store, &prompt_var), &by_row(b, |i| to_prompt[i].to_vec()), rounding);

        let logits = tensor::latent::posterior_logits(&posterior.tensor(), &chosen_var, &rejected_var).unwrap();
        let spec_of = |i| spec::latent::posterior_logits(&posterior.spec, &row(&chosen, i), &row(&rejected, i)).unwrap().to_vec();
        assert_close("posterior_logits", &numbers(&logits), &by_row(b, spec_of), rounding);
        let store = backward(&logits, &flat(&upstream));
        let closed: Vec<_> = (0..b)
            .map(|i| spec::latent::posterior_logits_gradient(&posterior.spec, &row(&chosen, i), &row(&rejected, i), &row(&upstream, i)).unwrap())
            .collect();
        posterior.check(&store, &closed.iter().map(|c| c.0.clone()).collect::<Vec<_>>(), rounding);
        assert_close("∂chosen_hidden", &gradient(&store, &chosen_var), &by_row(b, |i| closed[i].1.to_vec()), rounding);
        assert_close("∂rejected_hidden", &gradient(&store, &rejected_var), &by_row(b, |i| closed[i].2.to_vec()), rounding);
    }

    #[test]
    fn controls(seed: u64, b in 1usize..4, d in 1usize..6, width in 1usize..6, scale in log_uniform(0.1, 30.0)) {
        let mut draw = Draw::new(seed);
        let control = Network::draw(&mut draw, d, width, d);
        let (prompt, upstream) = (draw.matrix(b, d, scale), draw.matrix(b, d, 1.0));
        let prompt_var = var2(&prompt);
        let weights = size(&control.spec.inner_weight) * size(&control.spec.outer_weight) * (d * width * b) as f64;
        let rounding = weights * size(&prompt) * size(&upstream);
        let h_z = tensor::latent::control_latent(&control.tensor(), &prompt_var).unwrap();
        let expected = by_row(b, |i| spec::latent::control_latent(&control.spec, &row(&prompt, i)).unwrap().to_vec());
        assert_close("control_latent", &numbers(&h_z), &expected, rounding);
        let store = backward(&h_z, &flat(&upstream));
        let (parameters, to_prompt): (Vec<_>, Vec<_>) = (0..b)
            .map(|i| spec::latent::control_latent_gradient(&control.spec, &row(&prompt, i), &row(&upstream, i)).unwrap())
            .unzip();
        control.check(&store, &parameters, rounding);
        assert_close("∂prompt_hidden", &gradient(&store, &prompt_var), &by_row(b, |i| to_prompt[i].to_vec()), rounding);
    }

    #[test]
    fn gaussians(
        seed: u64, b in 1usize..5, n in 1usize..=6, d in 1usize..6, scale in log_uniform(0.01, 3.0), prior_weight in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
    ) {
        let mut draw = Draw::new(seed);
        let (prior, posterior) = (draw.matrix(b, 2 * n, scale), draw.matrix(b, 2 * n, scale));
        let (prior_noise, posterior_noise, vectors) = (draw.matrix(b, n, 1.0), draw.matrix(b, n, 1.0), draw.matrix(n, d, 1.0));
        let (to_z, to_h_z, to_kl) = (draw.matrix(b, n, 1.0), draw.matrix(b, d, 1.0), draw.vector(b, 1.0));
        let (prior_var, posterior_var) = (var2(&prior), var2(&posterior));
        // Deviations, and the ratio of two of them, squared: what the sums are made of.
        let widest = size(prior.iter().chain(&posterior).map(|x| (2.0 * x.abs()).exp()).collect::<Vec<_>>().iter());

        let (mean, log_std) = tensor::gaussian::mean_and_log_std(&prior_var).unwrap();
        let halves = |i| spec::gaussian::mean_and_log_std(prior.row(i).to_slice().map(ndarray::aview1).as_ref().unwrap()).map(|(m, s)| (m.to_vec(), s.to_vec())).unwrap();
        assert_close("mean", &numbers(&mean), &by_row(b, |i| halves(i).0), 1.0);
        assert_close("log_std", &numbers(&log_std), &by_row(b, |i| halves(i).1), 1.0);

        let sample = tensor::gaussian::gaussian_sample(&prior_var, &var2(&prior_noise)).unwrap();
        let of = |i| spec::gaussian::gaussian_sample(&row(&prior, i), &row(&prior_noise, i)).unwrap();
        let rounding = widest * size(&prior_noise) * size(&to_z);
        assert_close("gaussian_sample", &numbers(&sample), &by_row(b, |i| of(i).to_vec()), rounding);
        let closed = by_row(b, |i| spec::gaussian::gaussian_sample_gradient(&row(&prior, i), &row(&prior_noise, i), &row(&to_z, i)).unwrap().to_vec());
        assert_close("∂outputs", &gradient(&backward(&sample, &flat(&to_z)), &prior_var), &closed, rounding);

        let (a_var, b_var) = (var2(&prior_noise), var2(&posterior_noise));
        let mixed = tensor::gaussian::mix_samples(&a_var, &b_var, prior_weight).unwrap();
        let of = |i| spec::gaussian::mix_samples(&row(&prior_noise, i), &row(&posterior_noise, i), prior_weight).unwrap();
        assert_close("mix_samples", &numbers(&mixed), &by_row(b, |i| of(i).to_vec()), size(&prior_noise).max(size(&posterior_noise)));
        let store = backward(&mixed, &flat(&to_z));
        let closed = |i| spec::gaussian::mix_samples_gradient(prior_weight, &row(&to_z, i)).unwrap();
        assert_close("∂prior_sample", &gradient(&store, &a_var), &by_row(b, |i| closed(i).0.to_vec()), 1.0);
        assert_close("∂posterior_sample", &gradient(&store, &b_var), &by_row(b, |i| closed(i).1.to_vec()), 1.0);

        let kl = tensor::gaussian::gaussian_kl(&posterior_var, &prior_var).unwrap();
        let of = |i| vec![spec::gaussian::gaussian_kl(&row(&posterior, i), &row(&prior, i)).unwrap()];
        let apart = (size(&prior) + size(&posterior)).powi(2);
        let rounding = widest * widest * apart * n as f64 * size(&to_kl);
        assert_close("gaussian_kl", &numbers(&kl), &by_row(b, of), rounding);
        let store = backward(&kl, to_kl.as_slice().unwrap());
        let closed = |i| spec::gaussian::gaussian_kl_gradient(&row(&posterior, i), &row(&prior, i)).unwrap();
        assert_close("∂posterior", &gradient(&store, &posterior_var), &by_row(b, |i| (closed(i).0 * to_kl[i]).to_vec()), rounding);
        assert_close("∂prior", &gradient(&store, &prior_var), &by_row(b, |i| (closed(i).1 * to_kl[i]).to_vec()), rounding);

        let (weights_var, vectors_var) = (var2(&posterior_noise), var2(&vectors));
        let h_z = tensor::codebook::linear_latent(&weights_var, &vectors_var).unwrap();
        let of = |i| spec::codebook::linear_latent(&row(&posterior_noise, i), &vectors).unwrap().to_vec();
        let rounding = size(&vectors) * size(&posterior_noise) * size(&to_h_z) * (b * n * d) as f64;
        assert_close("linear_latent", &numbers(&h_z), &by_row(b, of), rounding);
        let store = backward(&h_z, &flat(&to_h_z));
        let closed = |i| spec::codebook::linear_latent_gradient(&row(&posterior_noise, i), &vectors, &row(&to_h_z, i)).unwrap();
        assert_close("∂weights", &gradient(&store, &weights_var), &by_row(b, |i| closed(i).0.to_vec()), rounding);
        let to_vectors = (0..b).fold(Array2::zeros((n, d)), |sum, i| sum + closed(i).1);
        assert_close("∂vectors", &gradient(&store, &vectors_var), &flat(&to_vectors), rounding);
    }

    #[test]
    fn schedules(steps in 0usize..400, step in 0usize..400) {
        match (spec::latent::prior_weight(step, steps), tensor::latent::prior_weight(step, steps)) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert!(a.is_err() && b.is_err() && step >= steps),
        }
    }

    /// A parameter that one side refuses, the other refuses, under the same operation's name.
    #[test]
    fn refusals(gumbel_tau in prop_oneof![Just(0.0), Just(-1.0), Just(f64::NAN), Just(f64::INFINITY)], outside in prop_oneof![Just(-1e-9), Just(1.0 + 1e-9), Just(f64::NAN)]) {
        let (one, tensor_one) = (ndarray::array![1.0], Tensor::new(&[[1f64]], &candle_core::Device::Cpu).unwrap());
        prop_assert_eq!(
            spec::gumbel::gumbel_softmax(&one, &one, gumbel_tau).unwrap_err().to_string(),
            tensor::gumbel::gumbel_softmax(&tensor_one, &tensor_one, gumbel_tau).unwrap_err().to_string()
        );
        prop_assert_eq!(
            spec::codebook::mix_codes(&one, &one, outside).unwrap_err().to_string(),
            tensor::codebook::mix_codes(&tensor_one, &tensor_one, outside).unwrap_err().to_string()
        );
        prop_assert_eq!(
            spec::gaussian::mix_samples(&one, &one, outside).unwrap_err().to_string(),
            tensor::gaussian::mix_samples(&tensor_one, &tensor_one, outside).unwrap_err().to_string()
        );
    }
}
