//! numerics and objective: values and slopes, for margins up to 1e4 and every parameter.

use crate::composed::{gradient, numbers};
use crate::twins::{Draw, assert_close, backward, log_uniform, objective, size, var1, var2};
use candle_core::Var;
use lpc::config::{Gpo, Objective};
use lpc::{spec, tensor};
use ndarray::{Array1, Axis};
use proptest::prelude::*;

/// Mostly ordinary numbers, and far tails on both sides.
fn reals(n: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    let tail = log_uniform(30.0, 1e4);
    let signed = (tail, any::<bool>()).prop_map(|(x, negative)| if negative { -x } else { x });
    prop::collection::vec(prop_oneof![3 => -20.0..20.0, 1 => signed, 1 => Just(0.0)], n)
}

/// What `spec` makes of a row and its upstream gradient.
type OfRow = dyn Fn(&Array1<f64>, &Array1<f64>) -> Vec<f64>;

/// A batch of sums of log-probabilities under policy and reference, and of lengths.
#[derive(Debug)]
struct Pairs {
    policy: Vec<spec::objective::PairLogps>,
    reference: Vec<spec::objective::PairLogps>,
    lengths: Vec<spec::objective::PairLengths>,
}

fn pairs() -> impl Strategy<Value = Pairs> {
    use spec::objective::{PairLengths, PairLogps};
    let logps = || {
        (log_uniform(0.1, 1e4), log_uniform(0.1, 1e4))
            .prop_map(|(c, r)| PairLogps { chosen: -c, rejected: -r })
    };
    let lengths = (1usize..40, 1usize..40).prop_map(|(chosen, rejected)| PairLengths { chosen, rejected });
    prop::collection::vec((logps(), logps(), lengths), 1..6).prop_map(|all| Pairs {
        policy: all.iter().map(|p| p.0).collect(),
        reference: all.iter().map(|p| p.1).collect(),
        lengths: all.iter().map(|p| p.2).collect(),
    })
}

/// The same, as tensors; the policy's as variables.
struct Tensors {
    chosen: Var,
    rejected: Var,
    policy: tensor::objective::PairLogps,
    reference: tensor::objective::PairLogps,
    lengths: tensor::objective::PairLengths,
}

impl Pairs {
    fn tensors(&self) -> Tensors {
        use tensor::objective::{PairLengths, PairLogps};
        let logps = |of: &[spec::objective::PairLogps]| {
            let side =
                |side: fn(&spec::objective::PairLogps) -> f64| var1(&of.iter().map(side).collect::<Vec<_>>());
            (side(|l| l.chosen), side(|l| l.rejected))
        };
        let (chosen, rejected) = logps(&self.policy);
        let reference = logps(&self.reference);
        let length = |of: fn(&spec::objective::PairLengths) -> usize| {
            var1(&self.lengths.iter().map(|l| of(l) as f64).collect::<Vec<_>>()).as_detached_tensor()
        };
        Tensors {
            policy: PairLogps { chosen: chosen.as_tensor().clone(), rejected: rejected.as_tensor().clone() },
            reference: PairLogps {
                chosen: reference.0.as_detached_tensor(),
                rejected: reference.1.as_detached_tensor(),
            },
            lengths: PairLengths { chosen: length(|l| l.chosen), rejected: length(|l| l.rejected) },
            chosen,
            rejected,
        }
    }

    /// The largest log-probability, of which a margin keeps the rounding.
    fn size(&self) -> f64 {
        size(self.policy.iter().chain(&self.reference).flat_map(|l| [&l.chosen, &l.rejected]))
    }
}

proptest! {
    #[test]
    fn sigmoids(x in reals(1..9)) {
        let leaf = var1(&x);
        let value = tensor::numerics::log_sigmoid(&leaf).unwrap();
        let expected: Vec<f64> = x.iter().map(|&x| spec::numerics::log_sigmoid(x)).collect();
        assert_close("log_sigmoid", &numbers(&value), &expected, 1.0);
        let slope: Vec<f64> = x.iter().map(|&x| spec::numerics::sigmoid(-x)).collect();
        let got = gradient(&backward(&value, &vec![1.0; x.len()]), &leaf);
        assert_close("∂log_sigmoid", &got, &slope, 1.0);
    }

    #[test]
    fn softmaxes(seed: u64, rows in 1usize..4, k in 1usize..9, scale in log_uniform(0.1, 1e3), shift in reals(1)) {
        let mut draw = Draw::new(seed);
        let x = draw.matrix(rows, k, scale) + shift[0];
        let upstream = draw.matrix(rows, k, 1.0);
        let leaf = var2(&x);
        let by_row = |f: &OfRow| -> Vec<f64> {
            x.axis_iter(Axis(0)).zip(upstream.axis_iter(Axis(0))).flat_map(|(x, u)| f(&x.to_owned(), &u.to_owned())).collect()
        };
        let rounding = size(&x);
        let flat: Vec<f64> = upstream.iter().copied().collect();

        let value = tensor::numerics::logsumexp(&leaf).unwrap();
        assert_close("logsumexp", &numbers(&value), &by_row(&|x, _| vec![spec::numerics::logsumexp(x)]), rounding);
        let value = tensor::numerics::log_softmax(&leaf).unwrap();
        assert_close("log_softmax", &numbers(&value), &by_row(&|x, _| spec::numerics::log_softmax(x).to_vec()), rounding);
        // d/dx of ⟨u, log softmax x⟩ = u − (Σu) softmax x.
        let slope = by_row(&|x, u| (u - u.sum() * spec::numerics::softmax(x)).to_vec());
        assert_close("∂log_softmax", &gradient(&backward(&value, &flat), &leaf), &slope, rounding);
        let value = tensor::numerics::softmax(&leaf).unwrap();
        assert_close("softmax", &numbers(&value), &by_row(&|x, _| spec::numerics::softmax(x).to_vec()), 1.0);
        let slope = by_row(&|x, u| {
            spec::gumbel::gumbel_softmax_gradient(&spec::numerics::softmax(x), 1.0, u).unwrap().to_vec()
        });
        assert_close("∂softmax", &gradient(&backward(&value, &flat), &leaf), &slope, size(&upstream));
    }

    /// Each loss as a function of its margin; |β·margin| reaches 1e4.
    #[test]
    fn losses_of_the_margin(margin in reals(1..6), beta in log_uniform(1e-3, 1e3), ipo_tau in log_uniform(1e-3, 1e3)) {
        let leaf = var1(&margin);
        let ones = vec![1.0; margin.len()];
        let scaled: Vec<f64> = margin.iter().map(|m| m / beta).collect();
        let each = |x: &[f64], f: &dyn Fn(f64) -> f64| -> Vec<f64> { x.iter().map(|&x| f(x)).collect() };

        let by_beta = var1(&scaled);
        let loss = tensor::objective::dpo_loss(beta, &by_beta).unwrap();
        assert_close("dpo_loss", &numbers(&loss), &each(&scaled, &|m| spec::objective::dpo_loss(beta, m).unwrap()), 1.0);
        let slope = each(&scaled, &|m| spec::objective::dpo_gradient(beta, m).unwrap());
        assert_close("dpo_gradient", &gradient(&backward(&loss, &ones), &by_beta), &slope, 1.0);

        let loss = tensor::objective::ipo_loss(ipo_tau, &leaf).unwrap();
        // Near the target 1/(2τ) the difference keeps the rounding of its terms.
        let target = 0.5 / ipo_tau;
        let terms = size(&margin).max(target);
        assert_close("ipo_loss", &numbers(&loss), &each(&margin, &|m| spec::objective::ipo_loss(ipo_tau, m).unwrap()), terms);
        let slope = each(&margin, &|m| spec::objective::ipo_gradient(ipo_tau, m).unwrap());
        assert_close("ipo_gradient", &gradient(&backward(&loss, &ones), &leaf), &slope, terms);

        let loss = tensor::objective::simpo_loss(&leaf).unwrap();
        assert_close("simpo_loss", &numbers(&loss), &each(&margin, &|m| spec::objective::simpo_loss(m).unwrap()), 1.0);
    }

    /// Every member of GPO; |β·margin| reaches 1e4, for the exponential what f64 holds.
    #[test]
    fn members_of_gpo(x in reals(1..6), beta in log_uniform(1e-3, 1e3)) {
        for member in Gpo::ALL {
            let least = if member == Gpo::Exponential { -700.0 } else { f64::MIN };
            let margin: Vec<f64> = x.iter().map(|x| x.max(least) / beta).collect();
            let leaf = var1(&margin);
            let loss = tensor::objective::gpo_loss(member, beta, &leaf).unwrap();
            let expected: Vec<f64> = margin.iter().map(|&m| spec::objective::gpo_loss(member, beta, m).unwrap()).collect();
            assert_close(&format!("{member:?}"), &numbers(&loss), &expected, 1.0);
            let slope: Vec<f64> = margin.iter().map(|&m| spec::objective::gpo_gradient(member, beta, m).unwrap()).collect();
            let got = gradient(&backward(&loss, &vec![1.0; margin.len()]), &leaf);
            assert_close(&format!("∂{member:?}"), &got, &slope, beta.max(1.0));
        }
    }

    /// From log-probabilities to loss, margin, slope and rewards; SimPO is given no reference.
    #[test]
    fn losses_of_log_probabilities(objective in objective(), pairs in pairs()) {
        let t = pairs.tensors();
        let reference = objective.needs_reference().then_some(&t.reference);
        let outcome = tensor::objective::objective_loss(objective, &t.policy, reference, &t.lengths).unwrap();
        let rewards = tensor::objective::implicit_rewards(objective, &t.policy, reference, &t.lengths).unwrap();
        let cases: Vec<_> = (0..pairs.policy.len()).map(|i| (pairs.policy[i], pairs.reference[i], pairs.lengths[i])).collect();
        let expected: Vec<_> = cases
            .iter()
            .map(|&(policy, reference, lengths)| spec::objective::objective_loss(objective, policy, reference, lengths).unwrap())
            .collect();
        let of = |f: &dyn Fn(&spec::objective::ObjectiveLoss) -> f64| -> Vec<f64> { expected.iter().map(f).collect() };

        // Rounding of the log-probabilities, times the steepest slope, at least 1.
        let steepest = size(&of(&|o| o.policy_gradient.chosen.abs().max(o.policy_gradient.rejected.abs())));
        let beta = match objective {
            Objective::Dpo { beta } | Objective::Simpo { beta, .. } => beta.max(1.0),
            Objective::Ipo { .. } | Objective::Gpo { .. } => 1.0,
        };
        let rounding = beta * pairs.size();
        assert_close("margin", &numbers(&outcome.margin), &of(&|o| o.margin), rounding);
        assert_close("loss", &numbers(&outcome.loss), &of(&|o| o.loss), rounding * steepest);
        let store = backward(&outcome.loss, &vec![1.0; cases.len()]);
        // A slope βσ(−βΔ) moves by itself times the rounding of βΔ.
        assert_close("∂chosen", &gradient(&store, &t.chosen), &of(&|o| o.policy_gradient.chosen), rounding * beta);
        assert_close("∂rejected", &gradient(&store, &t.rejected), &of(&|o| o.policy_gradient.rejected), rounding * beta);

        let expected: Vec<_> = cases
            .iter()
            .map(|&(policy, reference, lengths)| spec::objective::implicit_rewards(objective, policy, reference, lengths).unwrap())
            .collect();
        let side = |side: fn(&spec::objective::PairLogps) -> f64| expected.iter().map(side).collect::<Vec<_>>();
        assert_close("chosen reward", &numbers(&rewards.chosen), &side(|r| r.chosen), rounding);
        assert_close("rejected reward", &numbers(&rewards.rejected), &side(|r| r.rejected), rounding);
    }

    #[test]
    fn margins(pairs in pairs(), beta in log_uniform(1e-3, 1e2), gamma in -1e4..1e4) {
        let t = pairs.tensors();
        let zipped = || pairs.policy.iter().zip(&pairs.reference).zip(&pairs.lengths);
        let expected: Vec<f64> = zipped().map(|((p, r), _)| spec::objective::margin(*p, *r).unwrap()).collect();
        let got = tensor::objective::margin(&t.policy, &t.reference).unwrap();
        assert_close("margin", &numbers(&got), &expected, pairs.size());
        let expected: Vec<f64> = zipped().map(|((p, _), l)| spec::objective::simpo_margin(beta, gamma, *p, *l).unwrap()).collect();
        let got = tensor::objective::simpo_margin(beta, gamma, &t.policy, &t.lengths).unwrap();
        assert_close("simpo_margin", &numbers(&got), &expected, (beta * pairs.size()).max(gamma.abs()));
        // The slope of −log σ through it, in closed form on one side.
        let store = backward(&tensor::objective::simpo_loss(&got).unwrap(), &vec![1.0; expected.len()]);
        let closed: Vec<_> = zipped().map(|((p, _), l)| spec::objective::simpo_gradient(beta, gamma, *p, *l).unwrap()).collect();
        let rounding = beta.max(1.0) * (beta * pairs.size()).max(gamma.abs()).max(1.0);
        assert_close("∂chosen", &gradient(&store, &t.chosen), &closed.iter().map(|g| g.chosen).collect::<Vec<_>>(), rounding);
        assert_close("∂rejected", &gradient(&store, &t.rejected), &closed.iter().map(|g| g.rejected).collect::<Vec<_>>(), rounding);
    }

    /// A parameter that one side refuses, the other refuses, under the same operation's name.
    #[test]
    fn refusals(bad in prop_oneof![Just(0.0), Just(-1.0), Just(f64::NAN), Just(f64::INFINITY)], pairs in pairs()) {
        let t = pairs.tensors();
        let (policy, reference, lengths) = (pairs.policy[0], pairs.reference[0], pairs.lengths[0]);
        for objective in [
            Objective::Dpo { beta: bad },
            Objective::Ipo { ipo_tau: bad },
            Objective::Simpo { beta: bad, gamma: 0.0 },
            Objective::Gpo { member: Gpo::Savage, beta: bad },
            Objective::Simpo { beta: 1.0, gamma: f64::NAN },
        ] {
            let ours = spec::objective::objective_loss(objective, policy, reference, lengths).unwrap_err();
            let theirs = tensor::objective::objective_loss(objective, &t.policy, Some(&t.reference), &t.lengths);
            prop_assert_eq!(ours.to_string(), theirs.err().unwrap().to_string());
            if !matches!(objective, Objective::Simpo { beta: 1.0, .. }) {
                prop_assert!(spec::objective::implicit_rewards(objective, policy, reference, lengths).is_err());
                let theirs = tensor::objective::implicit_rewards(objective, &t.policy, Some(&t.reference), &t.lengths);
                prop_assert!(theirs.is_err());
            }
        }
    }
}

/// At the corner both sides take the slope of the flat side; past f64, one refuses and the other
/// says ∞, which training reports as divergence.
#[test]
fn corners_and_overflow_of_gpo() {
    for member in [Gpo::Hinge, Gpo::TruncatedSquared] {
        let leaf = var1(&[2.0]);
        let loss = tensor::objective::gpo_loss(member, 0.5, &leaf).unwrap();
        assert_eq!(numbers(&loss), [spec::objective::gpo_loss(member, 0.5, 2.0).unwrap()]);
        assert_eq!(gradient(&backward(&loss, &[1.0]), &leaf), [0.0]);
        assert_eq!(spec::objective::gpo_gradient(member, 0.5, 2.0).unwrap(), 0.0);
    }
    let loss = tensor::objective::gpo_loss(Gpo::Exponential, 1.0, &var1(&[-1e4])).unwrap();
    assert_eq!(numbers(&loss), [f64::INFINITY]);
    assert!(spec::objective::gpo_loss(Gpo::Exponential, 1.0, -1e4).is_err());
}
