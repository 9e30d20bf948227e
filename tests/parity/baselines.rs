//! Latents that LPC is compared with: what training computes of a batch, gradients included,
//! against `spec` one pair at a time.

use crate::composed::{gradient, numbers};
use crate::decoders::{decoder_config, parameters_of};
use crate::random_pairs::pairs;
use crate::twins::{Draw, assert_close, log_uniform, objective, size, var2};
use candle_core::{DType, Device, Tensor};
use lpc::config::{Latent, Objective, Precision, PriorWeight};
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::FACTORS;
use lpc::latent::LatentInputs;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::{PairStates, Policy};
use lpc::spec::codebook::{linear_latent, linear_latent_gradient};
use lpc::spec::gaussian::*;
use lpc::spec::gradient::{LatentLoss, LpcPair, loss_at_latent};
use lpc::spec::latent::*;
use lpc::tensor::elbo::SampleNoise;
use lpc::tensor::objective::PairLogps;
use lpc::train::loss::pair_losses;
use ndarray::{Array1, Array2, ArrayRef1, ArrayView1, Axis};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A batch at the top of a decoder.
struct Batch {
    pairs: Vec<TokenizedPair>,
    hidden: Array2<f64>,
    noise: [Array2<f64>; 2],
    factor_weights: Array2<f64>,
    reference: [Array1<f64>; 2],
    upstream: Array1<f64>,
}

/// Of a Gaussian latent.
const DIMENSION: usize = 3;

/// α, where there is one.
fn prior_weight(latent: Latent) -> f64 {
    match latent.prior_weight() {
        Some(PriorWeight::Fixed { value }) => value,
        _ => 0.0,
    }
}

impl Batch {
    fn draw(seed: u64, config: &DecoderConfig, lengths: &[(usize, usize, usize)]) -> Self {
        let mut draw = Draw::new(seed);
        let (b, n) = (lengths.len(), lengths.iter().map(|(p, c, r)| p + c + r).sum());
        let pairs = pairs(config.vocab_size, lengths, seed);
        let factor_weights = draw.matrix(b, FACTORS, 2.0);
        Self {
            pairs: pairs
                .into_iter()
                .zip(factor_weights.rows())
                .map(|(pair, weights)| TokenizedPair { factor_weights: Some(weights.to_vec()), ..pair })
                .collect(),
            factor_weights,
            hidden: draw.matrix(n, config.hidden_size, 1.0),
            noise: [draw.matrix(b, DIMENSION, 1.0), draw.matrix(b, DIMENSION, 1.0)],
            reference: [draw.vector(b, 3.0) - 8.0, draw.vector(b, 3.0) - 8.0],
            upstream: draw.vector(b, 1.0),
        }
    }

    /// The trainer's own function, and the gradients of Σ_b upstream_b · loss_b.
    fn train(
        &self,
        policy: &Policy,
        parameters: &Parameters,
        objective: Objective,
        latent: Latent,
    ) -> Numbers {
        let hidden = var2(&self.hidden);
        let members: Vec<&TokenizedPair> = self.pairs.iter().collect();
        let batch = PairBatch::new(&members, DType::F64, &Device::Cpu).unwrap();
        let states = PairStates::select(&hidden, &batch).unwrap();
        let vector = |v: &Array1<f64>| Tensor::new(v.to_vec(), &Device::Cpu).unwrap();
        let [chosen, rejected] = self.reference.each_ref().map(vector);
        let reference = PairLogps { chosen, rejected };
        let reference = objective.needs_reference().then_some(&reference);
        let [prior, posterior] = self.noise.each_ref().map(|n| var2(n).as_tensor().clone());
        let inputs =
            LatentInputs { noise: SampleNoise { prior, posterior }, prior_weight: prior_weight(latent) };
        let outputs = pair_losses(policy, &states, &batch, reference, objective, Some(&inputs)).unwrap();
        let store = (&outputs.loss * vector(&self.upstream)).unwrap().sum_all().unwrap().backward().unwrap();
        let mut found = Numbers::from([
            ("loss".into(), numbers(&outputs.loss)),
            ("margin".into(), numbers(&outputs.margin)),
            ("hidden".into(), gradient(&store, &hidden)),
        ]);
        let trained =
            parameters.iter().filter(|(name, _)| name.starts_with("lpc.") || *name == "lm_head.weight");
        found.extend(trained.map(|(name, var)| (name.clone(), gradient(&store, var))));
        found
    }
}

/// Losses and margins, a number a pair, and gradients by name.
type Numbers = BTreeMap<String, Vec<f64>>;

/// What `spec` says of one pair, its h_z made of the states at the three last tokens.
struct Pairwise {
    at: LatentLoss,
    kl: f64,
    heads: Vec<(&'static str, Vec<f64>)>,
    /// By way of h_z and KL: to h_x, h_{x,y_w} and h_{x,y_l}.
    states: [Array1<f64>; 3],
}

fn matrix(parameters: &Parameters, name: &str) -> Array2<f64> {
    let (_, var) = parameters.iter().find(|(n, _)| *n == name).unwrap();
    Array2::from_shape_vec(var.dims2().unwrap(), numbers(var)).unwrap()
}

fn network(parameters: &Parameters, name: &str) -> Mlp {
    let bias = |part: &str| {
        let name = format!("lpc.{name}.{part}");
        Array1::from(numbers(parameters.iter().find(|(n, _)| **n == name).unwrap().1))
    };
    Mlp {
        inner_weight: matrix(parameters, &format!("lpc.{name}.w1")),
        inner_bias: bias("b1"),
        outer_weight: matrix(parameters, &format!("lpc.{name}.w2")),
        outer_bias: bias("b2"),
    }
}

fn flat(a: &Array2<f64>) -> Vec<f64> {
    a.iter().copied().collect()
}

/// A network's gradient under its parameters' names.
fn named(names: [&'static str; 4], network: &Mlp) -> Vec<(&'static str, Vec<f64>)> {
    let [w1, b1, w2, b2] = names;
    vec![
        (w1, flat(&network.inner_weight)),
        (b1, network.inner_bias.to_vec()),
        (w2, flat(&network.outer_weight)),
        (b2, network.outer_bias.to_vec()),
    ]
}

/// What a pair has beside its states; `weight` is that of its loss in the batch's.
struct Given<'a> {
    noise: [&'a ArrayRef1<f64>; 2],
    factor_weights: &'a ArrayRef1<f64>,
    weight: f64,
}

/// One pair under `latent`.
fn pairwise(
    parameters: &Parameters,
    latent: Latent,
    objective: Objective,
    pair: &LpcPair,
    [prompt, chosen, rejected]: [ArrayView1<f64>; 3],
    Given { noise, factor_weights, weight }: Given<'_>,
) -> Pairwise {
    let nothing = Array1::zeros(prompt.len());
    let prior_weight = prior_weight(latent);
    match latent {
        Latent::Control { .. } => {
            let control = network(parameters, "control");
            let at = loss_at_latent(pair, objective, &control_latent(&control, &prompt).unwrap()).unwrap();
            let (to_control, to_prompt) =
                control_latent_gradient(&control, &prompt, &(&at.latent * weight)).unwrap();
            let names = ["lpc.control.w1", "lpc.control.b1", "lpc.control.w2", "lpc.control.b2"];
            let states = [to_prompt, nothing.clone(), nothing];
            Pairwise { at, kl: 0.0, heads: named(names, &to_control), states }
        }
        Latent::Gaussian { kl_weight, .. } => {
            let (prior, posterior) = (network(parameters, "prior"), network(parameters, "posterior"));
            let projection = matrix(parameters, "lpc.projection");
            let p = prior_logits(&prior, &prompt).unwrap();
            let q = posterior_logits(&posterior, &chosen, &rejected).unwrap();
            let [prior_noise, posterior_noise] = noise;
            let (from_p, from_q) =
                (gaussian_sample(&p, prior_noise).unwrap(), gaussian_sample(&q, posterior_noise).unwrap());
            let z = mix_samples(&from_p, &from_q, prior_weight).unwrap();
            let at = loss_at_latent(pair, objective, &linear_latent(&z, &projection).unwrap()).unwrap();
            let kl = kl_weight * gaussian_kl(&q, &p).unwrap();

            let (to_z, to_projection) =
                linear_latent_gradient(&z, &projection, &(&at.latent * weight)).unwrap();
            let (to_from_p, to_from_q) = mix_samples_gradient(prior_weight, &to_z).unwrap();
            let (kl_q, kl_p) = gaussian_kl_gradient(&q, &p).unwrap();
            let to_p =
                gaussian_sample_gradient(&p, prior_noise, &to_from_p).unwrap() + weight * kl_weight * kl_p;
            let to_q = gaussian_sample_gradient(&q, posterior_noise, &to_from_q).unwrap()
                + weight * kl_weight * kl_q;
            let (to_prior, to_prompt) = prior_logits_gradient(&prior, &prompt, &to_p).unwrap();
            let (to_posterior, to_chosen, to_rejected) =
                posterior_logits_gradient(&posterior, &chosen, &rejected, &to_q).unwrap();
            let mut heads = vec![("lpc.projection", flat(&to_projection))];
            heads.extend(named(["lpc.prior.w1", "lpc.prior.b1", "lpc.prior.w2", "lpc.prior.b2"], &to_prior));
            let names = ["lpc.posterior.w1", "lpc.posterior.b1", "lpc.posterior.w2", "lpc.posterior.b2"];
            heads.extend(named(names, &to_posterior));
            Pairwise { at, kl, heads, states: [to_prompt, to_chosen, to_rejected] }
        }
        Latent::Factors { .. } => {
            let vectors = matrix(parameters, "lpc.factors");
            let h_z = linear_latent(factor_weights, &vectors).unwrap();
            let at = loss_at_latent(pair, objective, &h_z).unwrap();
            let (_, to_vectors) =
                linear_latent_gradient(factor_weights, &vectors, &(&at.latent * weight)).unwrap();
            let states = [nothing.clone(), nothing.clone(), nothing];
            Pairwise { at, kl: 0.0, heads: vec![("lpc.factors", flat(&to_vectors))], states }
        }
        _ => unreachable!("a latent that is compared with LPC"),
    }
}

fn latent() -> impl Strategy<Value = Latent> {
    let heads_learning_rate = None;
    let control = (1usize..6, log_uniform(0.1, 3.0)).prop_map(move |(match_codes, output_std)| {
        Latent::Control { match_codes, output_std, heads_learning_rate, heads_input: Default::default() }
    });
    let alpha = prop_oneof![1 => Just(0.0), 1 => Just(1.0), 3 => 0.0..1.0];
    let kl_weight = prop_oneof![1 => Just(0.0), 3 => 0.0..2.0];
    let gaussian = (kl_weight, alpha).prop_map(move |(kl_weight, value)| Latent::Gaussian {
        dimension: DIMENSION,
        kl_weight,
        prior_weight: PriorWeight::Fixed { value },
        output_std: 1.0,
        heads_learning_rate,
        heads_input: Default::default(),
    });
    prop_oneof![control, gaussian, Just(Latent::Factors { output_std: 1.0, heads_learning_rate })]
}

fn lengths() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    prop::collection::vec((1usize..6, 1usize..=8, 1usize..=8), 1..=4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_a_loop_over_pairs(
        config in decoder_config(), lengths in lengths(), objective in objective(), latent in latent(), seed: u64,
    ) {
        let config = DecoderConfig { tie_word_embeddings: false, num_hidden_layers: 1, ..config };
        let parameters = parameters_of(&config, &latent, seed, DType::F64);
        let policy = Policy::new(&config, &parameters, &latent, Precision::F32).unwrap();
        let batch = Batch::draw(seed, &config, &lengths);
        let trained = batch.train(&policy, &parameters, objective, latent);

        let lm_head = matrix(&parameters, "lm_head.weight");
        let (none, no_codes) = (Array1::zeros(0), Array2::zeros((0, config.hidden_size)));
        let mut to_hidden = Array2::<f64>::zeros(batch.hidden.dim());
        let mut expected = Numbers::new();
        let mut largest = 1.0_f64;
        let mut start = 0;
        for (i, pair) in batch.pairs.iter().enumerate() {
            let (p, c, r) = (pair.prompt.len(), pair.chosen.len(), pair.rejected.len());
            // The prompt's last token predicts the first of either completion.
            let prompt_last = start + p - 1;
            let chosen_at: Vec<usize> = (0..c).map(|t| prompt_last + t).collect();
            let rejected_at: Vec<usize> = (0..r).map(|t| if t == 0 { prompt_last } else { prompt_last + c + t }).collect();
            let last = [prompt_last, prompt_last + c, prompt_last + c + r];
            start = last[2] + 1;
            let weight = batch.upstream[i];
            let inputs = LpcPair {
                chosen_hidden: &batch.hidden.select(Axis(0), &chosen_at),
                rejected_hidden: &batch.hidden.select(Axis(0), &rejected_at),
                chosen_tokens: &pair.chosen,
                rejected_tokens: &pair.rejected,
                lm_head: &lm_head,
                codebook: &no_codes,
                prior_logits: &none,
                posterior_logits: &none,
                prior_noise: &none,
                posterior_noise: &none,
                reference: lpc::spec::objective::PairLogps { chosen: batch.reference[0][i], rejected: batch.reference[1][i] },
            };
            let (noise, factor_weights) = (batch.noise.each_ref().map(|n| n.row(i)), batch.factor_weights.row(i));
            let given = Given { noise: noise.each_ref().map(|n| &**n), factor_weights: &factor_weights, weight };
            let states = last.map(|at| batch.hidden.row(at));
            let found = pairwise(&parameters, latent, objective, &inputs, states, given);
            let Pairwise { at, kl, heads, states } = found;
            expected.entry("loss".into()).or_default().push(at.loss + kl);
            expected.entry("margin".into()).or_default().push(at.margin);
            let scaled = |a: &Array2<f64>| a.iter().map(|v| v * weight).collect::<Vec<f64>>();
            for (name, values) in heads.into_iter().chain([("lm_head.weight", scaled(&at.lm_head))]) {
                let sum = expected.entry(name.into()).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(a, b)| *a += b);
            }
            let mut scatter = |at: usize, row: Array1<f64>| {
                let mut to = to_hidden.row_mut(at);
                to += &row;
            };
            last.into_iter().zip(states).for_each(|(at, row)| scatter(at, row));
            for (at, rows) in [(chosen_at, &at.chosen_hidden), (rejected_at, &at.rejected_hidden)] {
                at.into_iter().zip(rows.rows()).for_each(|(at, row)| scatter(at, &row * weight));
            }
            largest = largest.max(size(&[at.loss, kl, at.margin, at.policy.chosen, at.policy.rejected]));
        }
        expected.insert("hidden".into(), flat(&to_hidden));

        // As in `training`: what comes back, and the width of the products.
        let returned = size(expected.values().flatten());
        let weights = size(parameters.iter().filter(|(n, _)| n.starts_with("lpc.")).flat_map(|(_, v)| numbers(v)).collect::<Vec<_>>().iter());
        let size = largest.max(returned) * weights * size(&batch.hidden) * size(&batch.factor_weights);
        prop_assert_eq!(trained.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, expected) in &expected {
            assert_close(name, &trained[name], expected, size);
        }
    }
}
