//! `tensor` against the same numbers: in f64, and in the f32 that trains.

use crate::baselines::BASELINES;
use crate::cases::{self, Network};
use crate::composed::{Batch, Head, Relaxed, gradient, numbers};
use crate::fixture::{Lpc, Settings, Tolerance};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use lpc::config::{Gpo, Objective};
use lpc::tensor::codebook::linear_latent;
use lpc::tensor::elbo::SampleNoise;
use lpc::tensor::gaussian::draw_gaussian;
use lpc::tensor::gumbel::gumbel_softmax;
use lpc::tensor::latent::{Mlp, control_latent, kl_divergence, posterior_logits, prior_logits};
use lpc::tensor::numerics::{log_sigmoid, log_softmax, logsumexp, softmax};
use lpc::tensor::objective::*;

struct Precision {
    dtype: DType,
    tolerance: Tolerance,
}

/// f64: as `spec` against PyTorch, other orders of the same sums. f32: 6e-8 a rounding, some
/// dozen of them in the longest chain: measured, 2.5e-6 at most.
const PRECISIONS: [Precision; 2] = [
    Precision { dtype: DType::F64, tolerance: Tolerance { relative: 1e-10, floor: 1e-14 } },
    Precision { dtype: DType::F32, tolerance: Tolerance { relative: 1e-5, floor: 1e-5 } },
];

impl Precision {
    fn var(&self, values: &[f64], shape: &[usize]) -> Var {
        let tensor = Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(self.dtype).unwrap()).unwrap()
    }

    /// A batch of one row, or of one number.
    fn row(&self, values: &[f64]) -> Var {
        self.var(values, &[1, values.len()])
    }

    fn one(&self, value: f64) -> Var {
        self.var(&[value], &[1])
    }

    fn backward(&self, output: &Tensor, upstream: &[f64]) -> GradStore {
        let upstream = self.var(upstream, output.dims());
        (output * upstream.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap()
    }

    #[track_caller]
    fn check<'a>(&self, what: &str, got: &Tensor, expected: impl IntoIterator<Item = &'a f64>) {
        self.compare(what, &numbers(got), expected);
    }

    #[track_caller]
    fn check_gradient<'a>(
        &self,
        what: &str,
        store: &GradStore,
        leaf: &Var,
        expected: impl IntoIterator<Item = &'a f64>,
    ) {
        self.compare(&format!("∂{what}"), &gradient(store, leaf), expected);
    }

    #[track_caller]
    fn compare<'a>(&self, what: &str, got: &[f64], expected: impl IntoIterator<Item = &'a f64>) {
        let expected: Vec<f64> = expected.into_iter().copied().collect();
        self.tolerance.check(&format!("{what}, {:?}", self.dtype), got, &expected);
    }
}

#[test]
fn sigmoids() {
    for p in &PRECISIONS {
        for c in &cases::MPMATH.sigmoid {
            let x = p.one(c.x);
            let value = log_sigmoid(&x).unwrap();
            p.check("log_sigmoid", &value, &[c.log_sigmoid]);
            // d log σ(x) / dx = 1 − σ(x).
            p.check_gradient("log_sigmoid", &p.backward(&value, &[1.0]), &x, &[1.0 - c.sigmoid]);
        }
    }
}

#[test]
fn softmaxes() {
    for p in &PRECISIONS {
        for c in &cases::MPMATH.softmax {
            let x = p.row(&c.x);
            let value = logsumexp(&x).unwrap();
            p.check("logsumexp", &value, &[c.logsumexp]);
            p.check_gradient("logsumexp", &p.backward(&value, &[1.0]), &x, &c.softmax);
            p.check("softmax", &softmax(&x).unwrap(), &c.softmax);
            p.check("log_softmax", &log_softmax(&x).unwrap(), &c.log_softmax);
        }
    }
}

#[test]
fn objectives_and_their_slopes() {
    for p in &PRECISIONS {
        for c in &cases::MPMATH.dpo {
            let margin = p.one(c.margin);
            let loss = dpo_loss(c.beta, &margin).unwrap();
            p.check("dpo", &loss, &[c.loss]);
            p.check_gradient("dpo", &p.backward(&loss, &[1.0]), &margin, &[c.gradient]);
        }
        for c in &cases::MPMATH.ipo {
            let margin = p.one(c.margin);
            let loss = ipo_loss(c.ipo_tau, &margin).unwrap();
            p.check("ipo", &loss, &[c.loss]);
            p.check_gradient("ipo", &p.backward(&loss, &[1.0]), &margin, &[c.gradient]);
        }
        for c in &cases::MPMATH.gpo {
            let margin = p.one(c.margin);
            let loss = gpo_loss(c.member(), c.beta, &margin).unwrap();
            p.check(&c.family, &loss, &[c.loss]);
            p.check_gradient(&c.family, &p.backward(&loss, &[1.0]), &margin, &[c.gradient]);
        }
        for c in &cases::MPMATH.simpo {
            let (chosen, rejected) = (p.one(c.chosen_sum), p.one(c.rejected_sum));
            let policy =
                PairLogps { chosen: chosen.as_tensor().clone(), rejected: rejected.as_tensor().clone() };
            let length = |n: usize| p.one(n as f64).as_detached_tensor();
            let lengths = PairLengths { chosen: length(c.chosen_len), rejected: length(c.rejected_len) };
            let loss = simpo_loss(&simpo_margin(c.beta, c.gamma, &policy, &lengths).unwrap()).unwrap();
            p.check("simpo", &loss, &[c.loss]);
            let store = p.backward(&loss, &[1.0]);
            p.check_gradient("simpo chosen", &store, &chosen, &c.gradient[..1]);
            p.check_gradient("simpo rejected", &store, &rejected, &c.gradient[1..]);
        }
    }
}

/// TRL's and OpenRLHF's losses; their means enter SimPO as sums over one token.
#[test]
fn losses_and_slopes_of_trl_and_openrlhf() {
    for p in &PRECISIONS {
        for c in cases::TRAINERS.iter() {
            let objective = match c.kind.as_str() {
                "trl" | "openrlhf" => Objective::Dpo { beta: c.beta },
                "trl-ipo" | "openrlhf-ipo" => Objective::Ipo { ipo_tau: c.beta },
                "trl-simpo" => Objective::Simpo { beta: c.beta, gamma: c.gamma },
                "trl-hinge" => Objective::Gpo { member: Gpo::Hinge, beta: c.beta },
                other => panic!("{other}"),
            };
            let (chosen, rejected) = (p.one(c.policy_chosen), p.one(c.policy_rejected));
            let policy =
                PairLogps { chosen: chosen.as_tensor().clone(), rejected: rejected.as_tensor().clone() };
            let fixed = |value: f64| p.one(value).as_detached_tensor();
            let reference =
                PairLogps { chosen: fixed(c.reference_chosen), rejected: fixed(c.reference_rejected) };
            let lengths = PairLengths { chosen: fixed(1.0), rejected: fixed(1.0) };
            let reference = objective.needs_reference().then_some(&reference);
            let loss = objective_loss(objective, &policy, reference, &lengths).unwrap().loss;
            p.check(&c.kind, &loss, &[c.loss]);
            let store = p.backward(&loss, &[1.0]);
            p.check_gradient(&c.kind, &store, &chosen, &c.gradient[..1]);
            p.check_gradient(&c.kind, &store, &rejected, &c.gradient[1..]);
        }
    }
}

#[test]
fn samples_and_divergences() {
    for p in &PRECISIONS {
        for c in &cases::MPMATH.codes {
            let (posterior, prior) = (p.row(&c.posterior_logits), p.row(&c.prior_logits));
            let sample = gumbel_softmax(&posterior, &p.row(&c.noise), c.gumbel_tau).unwrap();
            p.check("sample", &sample, &c.sample);
            p.check_gradient("sample", &p.backward(&sample, &c.upstream), &posterior, &c.sample_gradient);
            let kl = kl_divergence(&posterior, &prior).unwrap();
            p.check("kl", &kl, &[c.kl]);
            let store = p.backward(&kl, &[1.0]);
            p.check_gradient("kl/∂q", &store, &posterior, &c.kl_posterior);
            p.check_gradient("kl/∂p", &store, &prior, &c.kl_prior);
        }
    }
}

/// The four parameters of a network as variables.
fn variables(p: &Precision, network: &Network) -> [Var; 4] {
    let matrix = |rows: &[Vec<f64>]| p.var(&rows.concat(), &[rows.len(), rows[0].len()]);
    let bias = |values: &[f64]| p.var(values, &[values.len()]);
    [
        matrix(&network.inner_weight),
        bias(&network.inner_bias),
        matrix(&network.outer_weight),
        bias(&network.outer_bias),
    ]
}

fn mlp(vars: &[Var; 4]) -> Mlp {
    let [w1, b1, w2, b2] = vars.each_ref().map(|v| v.as_tensor().clone());
    Mlp { w1, b1, w2, b2 }
}

fn check_network(p: &Precision, store: &GradStore, vars: &[Var; 4], expected: &Network) {
    p.check_gradient("inner_weight", store, &vars[0], expected.inner_weight.iter().flatten());
    p.check_gradient("inner_bias", store, &vars[1], &expected.inner_bias);
    p.check_gradient("outer_weight", store, &vars[2], expected.outer_weight.iter().flatten());
    p.check_gradient("outer_bias", store, &vars[3], &expected.outer_bias);
}

#[test]
fn prior_and_posterior_networks() {
    for p in &PRECISIONS {
        for c in &cases::TORCH.heads {
            let (prior, posterior) = (variables(p, &c.prior), variables(p, &c.posterior));
            let (prompt, chosen, rejected) =
                (p.row(&c.prompt_hidden), p.row(&c.chosen_hidden), p.row(&c.rejected_hidden));
            let logits = prior_logits(&mlp(&prior), &prompt).unwrap();
            p.check("prior", &logits, &c.prior_logits);
            let store = p.backward(&logits, &c.prior_upstream);
            check_network(p, &store, &prior, &c.prior_gradient);
            p.check_gradient("prompt_hidden", &store, &prompt, &c.prompt_gradient);

            let logits = posterior_logits(&mlp(&posterior), &chosen, &rejected).unwrap();
            p.check("posterior", &logits, &c.posterior_logits);
            let store = p.backward(&logits, &c.posterior_upstream);
            check_network(p, &store, &posterior, &c.posterior_gradient);
            p.check_gradient("chosen_hidden", &store, &chosen, &c.chosen_gradient);
            p.check_gradient("rejected_hidden", &store, &rejected, &c.rejected_gradient);
        }
    }
}

/// mpmath's six and PyTorch's twenty-four, through both implementations of the LM head.
#[test]
fn the_whole_loss_and_its_gradient() {
    for p in &PRECISIONS {
        for case in cases::MPMATH.lpc.iter().chain(&cases::TORCH.lpc) {
            let batch = case.pair.with(|pair| Batch::new(&[*pair], p.dtype));
            let Settings { objective, gumbel_tau, prior_weight, kl_weight } = case.settings;
            let settings = Relaxed { objective, gumbel_tau, prior_weight, kl_weight };
            // The fused one is for f32 alone.
            let fused = (p.dtype == DType::F32).then_some(Head::Fused);
            for head in [Head::Plain].into_iter().chain(fused) {
                let got = batch.blocks(&settings, &[1.0], head);
                for (what, expected) in expected(case) {
                    let (_, got) = got.iter().find(|(name, _)| *name == what).unwrap();
                    p.compare(&format!("{what}, {head:?}"), got, &expected);
                }
            }
        }
    }
}

fn expected(case: &Lpc) -> Vec<(&'static str, Vec<f64>)> {
    let g = &case.gradients;
    vec![
        ("loss", vec![case.loss]),
        ("kl", vec![case.kl]),
        ("policy_logps", case.policy_logps.clone()),
        ("code_weights", case.code_weights.clone()),
        ("∂hidden", [g.chosen_hidden.concat(), g.rejected_hidden.concat()].concat()),
        ("∂lm_head", g.lm_head.concat()),
        ("∂codebook", g.codebook.concat()),
        ("∂prior_logits", g.prior_logits.clone()),
        ("∂posterior_logits", g.posterior_logits.clone()),
    ]
}

/// What PyTorch says of h_z and its parts; the loss behind it is that of every latent.
#[test]
fn latents_to_compare_with() {
    for p in &PRECISIONS {
        for c in &BASELINES.control {
            let (network, prompt) = (variables(p, &c.network), p.row(&c.prompt_hidden));
            let h_z = control_latent(&mlp(&network), &prompt).unwrap();
            p.check("h_z", &h_z, &c.latent);
            let store = p.backward(&h_z, &c.latent_gradient);
            check_network(p, &store, &network, &c.network_gradient);
            p.check_gradient("prompt_hidden", &store, &prompt, &c.gradients.prompt_hidden);
        }
        for c in &BASELINES.gaussian {
            let (prior, posterior) = (p.row(&c.prior_outputs), p.row(&c.posterior_outputs));
            let noise = SampleNoise {
                prior: p.row(&c.prior_noise).as_tensor().clone(),
                posterior: p.row(&c.posterior_noise).as_tensor().clone(),
            };
            let projection = p.var(&c.projection.concat(), &[c.projection.len(), c.projection[0].len()]);
            let draw = draw_gaussian(&prior, &posterior, &noise, &projection, c.prior_weight).unwrap();
            p.check("h_z", &draw.latent, &c.latent);
            p.check("kl", &draw.kl, &[c.kl]);
            // The loss by way of h_z, and λ·KL beside it.
            let by_h_z = (draw.latent * p.row(&c.latent_gradient).as_tensor()).unwrap().sum_all().unwrap();
            let loss = (by_h_z + (draw.kl.sum_all().unwrap() * c.kl_weight).unwrap()).unwrap();
            let store = loss.backward().unwrap();
            p.check_gradient("prior_outputs", &store, &prior, &c.gradients.prior_outputs);
            p.check_gradient("posterior_outputs", &store, &posterior, &c.gradients.posterior_outputs);
            p.check_gradient("projection", &store, &projection, c.gradients.projection.iter().flatten());
        }
        for c in &BASELINES.factors {
            let vectors = p.var(&c.vectors.concat(), &[c.vectors.len(), c.vectors[0].len()]);
            let h_z = linear_latent(&p.row(&c.weights), &vectors).unwrap();
            p.check("h_z", &h_z, &c.latent);
        }
    }
}
