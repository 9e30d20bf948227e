//! marginal and the exact elbo: sums over every code, from the codes' losses on.

use crate::composed::{gradient, numbers};
use crate::twins::{Draw, assert_close, backward, log_uniform, objective, size, var1, var2};
use candle_core::Tensor;
use lpc::{spec, tensor};
use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;

/// Codes' losses and the logits of their two distributions, [B, K] each.
#[derive(Debug)]
struct Codes {
    losses: Array2<f64>,
    posterior: Array2<f64>,
    prior: Array2<f64>,
    upstream: Vec<f64>,
}

/// 1–4 pairs, 1–8 codes, from nearly flat to one code beyond doubt.
fn codes() -> impl Strategy<Value = Codes> {
    let scale = || log_uniform(0.1, 1e3);
    (any::<u64>(), 1usize..5, 1usize..9, scale(), scale(), scale()).prop_map(|(seed, b, k, l, q, p)| {
        let mut draw = Draw::new(seed);
        Codes {
            losses: draw.matrix(b, k, l).abs(),
            posterior: draw.matrix(b, k, q),
            prior: draw.matrix(b, k, p),
            upstream: draw.vector(b, 1.0).to_vec(),
        }
    })
}

impl Codes {
    /// `f` of each pair's losses, posterior and prior, and of its upstream gradient.
    fn spec(&self, f: impl Fn([Array1<f64>; 3], f64) -> Vec<f64>) -> Vec<f64> {
        let row = |m: &Array2<f64>, i: usize| m.index_axis(Axis(0), i).to_owned();
        let pair = |(i, &up): (usize, &f64)| {
            f([row(&self.losses, i), row(&self.posterior, i), row(&self.prior, i)], up)
        };
        self.upstream.iter().enumerate().flat_map(pair).collect()
    }

    /// The largest term of a sum, of which everything keeps the rounding.
    fn size(&self) -> f64 {
        size(self.losses.iter().chain(&self.posterior).chain(&self.prior))
    }
}

fn scaled(values: Array1<f64>, by: f64) -> Vec<f64> {
    values.iter().map(|v| v * by).collect()
}

proptest! {
    #[test]
    fn marginals_and_gaps(c in codes()) {
        let (losses, posterior, prior) = (var2(&c.losses), var2(&c.posterior), var2(&c.prior));
        let rounding = c.size();

        let loss = tensor::marginal::marginal_loss(&prior, &losses).unwrap();
        let expected = c.spec(|[l, _, p], _| vec![spec::marginal::marginal_loss(&p, &l).unwrap()]);
        assert_close("marginal_loss", &numbers(&loss), &expected, rounding);
        let store = backward(&loss, &c.upstream);
        let to_prior = c.spec(|[l, _, p], up| scaled(spec::marginal::marginal_gradient(&p, &l).unwrap().0, up));
        assert_close("∂prior", &gradient(&store, &prior), &to_prior, rounding);
        let to_losses = c.spec(|[l, _, p], up| scaled(spec::marginal::marginal_gradient(&p, &l).unwrap().1, up));
        assert_close("∂losses", &gradient(&store, &losses), &to_losses, rounding);

        let logps = tensor::marginal::true_posterior_logps(&prior, &losses).unwrap();
        let expected = c.spec(|[l, _, p], _| spec::marginal::true_posterior_logps(&p, &l).unwrap().to_vec());
        assert_close("true_posterior_logps", &numbers(&logps), &expected, rounding);
        let gap = tensor::marginal::bound_gap(&posterior, &prior, &losses).unwrap();
        let expected = c.spec(|[l, q, p], _| vec![spec::marginal::bound_gap(&q, &p, &l).unwrap()]);
        assert_close("bound_gap", &numbers(&gap), &expected, rounding);
    }

    #[test]
    fn exact_elbos(c in codes(), kl_weight in prop_oneof![1 => Just(0.0), 3 => 0.0..2.0]) {
        let (losses, posterior, prior) = (var2(&c.losses), var2(&c.posterior), var2(&c.prior));
        let rounding = c.size();
        let loss = tensor::elbo::negative_elbo_exact(&losses, &posterior, &prior, kl_weight).unwrap();
        let expected = c.spec(|[l, q, p], _| vec![spec::elbo::negative_elbo_exact(&l, &q, &p, kl_weight).unwrap()]);
        assert_close("negative_elbo_exact", &numbers(&loss), &expected, rounding);
        let store = backward(&loss, &c.upstream);
        let closed = |[l, q, p]: [Array1<f64>; 3]| spec::elbo::negative_elbo_exact_gradient(&l, &q, &p, kl_weight).unwrap();
        let to_losses = c.spec(|rows, up| scaled(closed(rows).0, up));
        assert_close("∂losses", &gradient(&store, &losses), &to_losses, rounding);
        let to_posterior = c.spec(|rows, up| scaled(closed(rows).1, up));
        assert_close("∂posterior", &gradient(&store, &posterior), &to_posterior, rounding);
        let to_prior = c.spec(|rows, up| scaled(closed(rows).2, up));
        assert_close("∂prior", &gradient(&store, &prior), &to_prior, rounding);
    }

    /// Every code's objective at once is the objective of each; the reference and the lengths are the
    /// pair's, whatever the code.
    #[test]
    fn losses_of_every_code(seed: u64, objective in objective(), b in 1usize..4, k in 1usize..6, scale in log_uniform(0.1, 100.0)) {
        use spec::objective::{PairLengths, PairLogps, objective_loss};
        let mut draw = Draw::new(seed);
        let (chosen_values, rejected_values) = (draw.matrix(b, k, scale), draw.matrix(b, k, scale));
        let (reference, lengths) = (draw.matrix(b, 2, scale), draw.matrix(b, 2, 5.0).mapv(|v| 1.0 + v.abs().round()));
        let expected: Vec<_> = (0..b * k).map(|i| {
            let (row, code) = (i / k, i % k);
            let policy = PairLogps { chosen: chosen_values[[row, code]], rejected: rejected_values[[row, code]] };
            let reference = PairLogps { chosen: reference[[row, 0]], rejected: reference[[row, 1]] };
            let lengths = PairLengths { chosen: lengths[[row, 0]] as usize, rejected: lengths[[row, 1]] as usize };
            objective_loss(objective, policy, reference, lengths).unwrap()
        }).collect();

        let column = |m: &Array2<f64>, j: usize| -> Tensor { var1(&m.column(j).to_vec()).as_detached_tensor() };
        let (chosen, rejected) = (var2(&chosen_values), var2(&rejected_values));
        let policy = tensor::objective::PairLogps { chosen: chosen.as_tensor().clone(), rejected: rejected.as_tensor().clone() };
        let reference = tensor::objective::PairLogps { chosen: column(&reference, 0), rejected: column(&reference, 1) };
        let lengths = tensor::objective::PairLengths { chosen: column(&lengths, 0), rejected: column(&lengths, 1) };
        let reference = objective.needs_reference().then_some(&reference);
        let got = tensor::objective::code_losses(objective, &policy, reference, &lengths).unwrap();
        let of = |f: &dyn Fn(&spec::objective::ObjectiveLoss) -> f64| expected.iter().map(f).collect::<Vec<f64>>();
        // As for one code: β ≤ 10 times the log-probabilities' rounding, times the steepest slope.
        let rounding = 10.0 * size(chosen_values.iter().chain(&rejected_values));
        let steepest = size(&of(&|o| o.policy_gradient.chosen.abs().max(o.policy_gradient.rejected.abs())));
        assert_close("code margins", &numbers(&got.margin), &of(&|o| o.margin), rounding);
        assert_close("code_losses", &numbers(&got.loss), &of(&|o| o.loss), rounding * steepest);
        let store = backward(&got.loss, &vec![1.0; b * k]);
        assert_close("∂chosen", &gradient(&store, &chosen), &of(&|o| o.policy_gradient.chosen), 10.0 * rounding);
        assert_close("∂rejected", &gradient(&store, &rejected), &of(&|o| o.policy_gradient.rejected), 10.0 * rounding);
    }
}
