//! What training computes from hidden states, heads included, against `spec` one pair at a time.

use crate::composed::{gradient, numbers};
use crate::decoders::{decoder_config, parameters};
use crate::random_pairs::pairs;
use crate::twins::{Draw, assert_close, objective, settings, size, var2};
use candle_core::{DType, Device, Tensor, Var};
use lpc::config::{Latent, Precision, PriorWeight};
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::LatentInputs;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::{PairStates, Policy};
use lpc::spec::gradient::{LatentRule, LpcPair, LpcSettings, lpc_loss};
use lpc::spec::latent::{
    Mlp, posterior_logits, posterior_logits_gradient, prior_logits, prior_logits_gradient,
};
use lpc::spec::marginal::marginal_loss;
use lpc::tensor::elbo::SampleNoise;
use lpc::tensor::objective::PairLogps;
use lpc::train::loss::{PairOutputs, exact_latents, pair_losses};
use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A batch at the top of a decoder: hidden states of every token, noise, reference.
struct Batch {
    pairs: Vec<TokenizedPair>,
    hidden: Array2<f64>,
    noise: [Array2<f64>; 2],
    reference: [Array1<f64>; 2],
    upstream: Array1<f64>,
}

impl Batch {
    fn draw(seed: u64, config: &DecoderConfig, lengths: &[(usize, usize, usize)], codes: usize) -> Self {
        let mut draw = Draw::new(seed);
        let (b, n) = (lengths.len(), lengths.iter().map(|(p, c, r)| p + c + r).sum());
        Self {
            pairs: pairs(config.vocab_size, lengths, seed),
            hidden: draw.matrix(n, config.hidden_size, 1.0),
            noise: [draw.gumbel(b, codes), draw.gumbel(b, codes)],
            reference: [draw.vector(b, 3.0) - 8.0, draw.vector(b, 3.0) - 8.0],
            upstream: draw.vector(b, 1.0),
        }
    }

    /// The trainer's own function, and the gradients of Σ_b upstream_b · loss_b.
    fn train(&self, policy: &Policy, parameters: &Parameters, settings: &LpcSettings) -> Trained {
        let dtype = policy.decoder.dtype();
        let alpha = match settings.latent {
            LatentRule::Gumbel { prior_weight, .. } => prior_weight,
            _ => 0.0,
        };
        let single = |t: &Tensor| t.to_dtype(dtype).unwrap();
        let [prior, posterior] = self.noise.each_ref().map(|n| single(&var2(n)));
        let [chosen, rejected] =
            self.reference.each_ref().map(|r| single(&Tensor::new(r.to_vec(), &Device::Cpu).unwrap()));
        let inputs = LatentInputs { noise: SampleNoise { prior, posterior }, prior_weight: alpha };
        let hidden = Var::from_tensor(&single(&var2(&self.hidden))).unwrap();
        let members: Vec<&TokenizedPair> = self.pairs.iter().collect();
        let batch = PairBatch::new(&members, dtype, &Device::Cpu).unwrap();
        let states = PairStates::select(&hidden, &batch).unwrap();
        let reference = PairLogps { chosen, rejected };
        let reference = settings.objective.needs_reference().then_some(&reference);
        let outputs =
            pair_losses(policy, &states, &batch, reference, settings.objective, Some(&inputs)).unwrap();
        let upstream = single(&Tensor::new(self.upstream.to_vec(), &Device::Cpu).unwrap());
        let exact = exact_latents(policy, &states, &batch, reference, settings.objective).unwrap();
        let exact = exact.map(|e| [numbers(&e.marginal_loss), numbers(&e.bound_gap)]);
        let store = (&outputs.loss * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        let named = parameters.iter().map(|(name, var)| (name.clone(), gradient(&store, var)));
        Trained { hidden: gradient(&store, &hidden), gradients: named.collect(), exact, outputs }
    }
}

struct Trained {
    outputs: PairOutputs,
    /// (6) and the gap of each pair, with a latent.
    exact: Option<[Vec<f64>; 2]>,
    hidden: Vec<f64>,
    gradients: BTreeMap<String, Vec<f64>>,
}

/// The same latent for the trainer and for `spec`.
fn latents(codes: usize, rule: LatentRule) -> Latent {
    let (codebook_std, heads_learning_rate) = (1.0, None);
    match rule {
        LatentRule::None => Latent::None {},
        LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight } => Latent::Gumbel {
            codes,
            gumbel_tau,
            kl_weight,
            prior_weight: PriorWeight::Fixed { value: prior_weight },
            codebook_std,
            heads_learning_rate,
            heads_input: Default::default(),
        },
        LatentRule::ExactElbo { kl_weight } => Latent::ExactElbo {
            codes,
            kl_weight,
            codebook_std,
            heads_learning_rate,
            heads_input: Default::default(),
        },
        LatentRule::Marginal => {
            Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() }
        }
    }
}

fn rule() -> impl Strategy<Value = LatentRule> {
    let gumbel = settings().prop_map(|s| s.spec().latent);
    let elbo = settings().prop_map(|s| LatentRule::ExactElbo { kl_weight: s.kl_weight });
    prop_oneof![gumbel, elbo, Just(LatentRule::Marginal), Just(LatentRule::None)]
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

fn untied(config: DecoderConfig) -> DecoderConfig {
    DecoderConfig { tie_word_embeddings: false, num_hidden_layers: 1, ..config }
}

fn lengths() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    prop::collection::vec((1usize..6, 1usize..=8, 1usize..=8), 1..=4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_a_loop_over_pairs(
        config in decoder_config().prop_map(untied), lengths in lengths(), codes in 1usize..=8,
        objective in objective(), latent in rule(), seed: u64,
    ) {
        let parameters = parameters(&config, codes, seed, DType::F64);
        let settings = LpcSettings { objective, latent };
        let gumbel_tau = match latent {
            LatentRule::Gumbel { gumbel_tau, .. } => gumbel_tau,
            _ => 1.0,
        };
        let latent = latents(codes, latent);
        let policy = Policy::new(&config, &parameters, &latent, Precision::F32).unwrap();
        let batch = Batch::draw(seed, &config, &lengths, codes);
        let trained = batch.train(&policy, &parameters, &settings);

        let lm_head = matrix(&parameters, "lm_head.weight");
        let codebook = matrix(&parameters, "lpc.codebook");
        let (prior, posterior) = (network(&parameters, "prior"), network(&parameters, "posterior"));
        let (mut losses, mut margins, mut marginals, mut gaps) = (vec![], vec![], vec![], vec![]);
        let mut to_hidden = Array2::<f64>::zeros(batch.hidden.dim());
        let mut expected: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut add = |name: &str, values: Vec<f64>| {
            let sum = expected.entry(name.to_string()).or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(a, b)| *a += b);
        };
        let mut largest = 1.0_f64;
        let mut start = 0;
        for (i, pair) in batch.pairs.iter().enumerate() {
            let (p, c, r) = (pair.prompt.len(), pair.chosen.len(), pair.rejected.len());
            // The prompt's last token predicts the first of either completion.
            let prompt_last = start + p - 1;
            let chosen_at: Vec<usize> = (0..c).map(|t| prompt_last + t).collect();
            let rejected_at: Vec<usize> = (0..r).map(|t| if t == 0 { prompt_last } else { prompt_last + c + t }).collect();
            let (chosen_last, rejected_last) = (prompt_last + c, prompt_last + c + r);
            start = rejected_last + 1;

            let state = |at: usize| batch.hidden.row(at);
            let prior_scores = prior_logits(&prior, &state(prompt_last)).unwrap();
            let posterior_scores = posterior_logits(&posterior, &state(chosen_last), &state(rejected_last)).unwrap();
            let loss = lpc_loss(
                &LpcPair {
                    chosen_hidden: &batch.hidden.select(Axis(0), &chosen_at),
                    rejected_hidden: &batch.hidden.select(Axis(0), &rejected_at),
                    chosen_tokens: &pair.chosen,
                    rejected_tokens: &pair.rejected,
                    lm_head: &lm_head,
                    codebook: &codebook,
                    prior_logits: &prior_scores,
                    posterior_logits: &posterior_scores,
                    prior_noise: &batch.noise[0].row(i),
                    posterior_noise: &batch.noise[1].row(i),
                    reference: lpc::spec::objective::PairLogps { chosen: batch.reference[0][i], rejected: batch.reference[1][i] },
                },
                &settings,
            )
            .unwrap();
            losses.push(loss.loss);
            if let Some(codes) = &loss.codes {
                marginals.push(marginal_loss(&prior_scores, &codes.losses).unwrap());
                gaps.push(codes.bound_gap);
                largest = largest.max(size(&codes.losses)).max(size(&prior_scores)).max(size(&posterior_scores));
            }
            margins.push(loss.margin);

            let weight = batch.upstream[i];
            let g = loss.gradients;
            let flat = |a: &Array2<f64>| a.iter().map(|v| v * weight).collect::<Vec<f64>>();
            let (to_prior, to_prompt) = prior_logits_gradient(&prior, &state(prompt_last), &(g.prior_logits * weight)).unwrap();
            let (to_posterior, to_chosen, to_rejected) = posterior_logits_gradient(
                &posterior, &state(chosen_last), &state(rejected_last), &(g.posterior_logits * weight),
            )
            .unwrap();
            for (name, network) in [("prior", to_prior), ("posterior", to_posterior)] {
                add(&format!("lpc.{name}.w1"), network.inner_weight.iter().copied().collect());
                add(&format!("lpc.{name}.b1"), network.inner_bias.to_vec());
                add(&format!("lpc.{name}.w2"), network.outer_weight.iter().copied().collect());
                add(&format!("lpc.{name}.b2"), network.outer_bias.to_vec());
            }
            add("lpc.codebook", flat(&g.codebook));
            add("lm_head.weight", flat(&g.lm_head));
            let mut scatter = |at: usize, row: Array1<f64>| {
                let mut to = to_hidden.row_mut(at);
                to += &row;
            };
            scatter(prompt_last, to_prompt);
            scatter(chosen_last, to_chosen);
            scatter(rejected_last, to_rejected);
            for (at, rows) in [(chosen_at, &g.chosen_hidden), (rejected_at, &g.rejected_hidden)] {
                at.into_iter().zip(rows.rows()).for_each(|(at, row)| scatter(at, &row * weight));
            }
            largest = largest.max(size(&[loss.loss, loss.margin, loss.policy.chosen, loss.policy.rejected]));
        }

        // As in `whole_loss`: what comes back, what 1/τ enlarges, and the width of the products.
        let returned = size(expected.values().flatten().chain(&to_hidden));
        let weights = size(&prior.inner_weight).max(size(&posterior.inner_weight));
        let size = largest.max(returned) / gumbel_tau.min(1.0) * weights * size(&batch.hidden);
        assert_close("loss", &numbers(&trained.outputs.loss), &losses, size);
        assert_close("margin", &numbers(&trained.outputs.margin), &margins, size);
        let [exact_marginals, exact_gaps] = trained.exact.unwrap_or_default();
        assert_close("marginal_loss", &exact_marginals, &marginals, size);
        assert_close("bound_gap", &exact_gaps, &gaps, size);
        assert_close("∂hidden", &trained.hidden, to_hidden.as_slice().unwrap(), size);
        for (name, expected) in &expected {
            assert_close(name, &trained.gradients[name], expected, size);
        }
    }

    /// LPC contains its baseline: one code of zeros is the plain objective to the last bit, in the precision that trains: KL of two distributions over one code is 0, and h + 0 is h.
    #[test]
    fn one_zero_code_is_the_plain_objective(
        config in decoder_config().prop_map(untied), lengths in lengths(), objective in objective(), settings in settings(), seed: u64,
    ) {
        let latent = settings.spec().latent;
        let parameters = parameters(&config, 1, seed, DType::F32);
        let (_, codebook) = parameters.iter().find(|(name, _)| *name == "lpc.codebook").unwrap();
        codebook.set(&codebook.zeros_like().unwrap()).unwrap();
        let batch = Batch::draw(seed, &config, &lengths, 1);
        let run = |latent: LatentRule| {
            let policy = Policy::new(&config, &parameters, &latents(1, latent), Precision::F32).unwrap();
            batch.train(&policy, &parameters, &LpcSettings { objective, latent })
        };
        let (plain, latent) = (run(LatentRule::None), run(latent));
        let bits = |values: &[f64]| values.iter().map(|v| (*v as f32).to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&numbers(&plain.outputs.loss)), bits(&numbers(&latent.outputs.loss)));
        prop_assert_eq!(bits(&numbers(&plain.outputs.margin)), bits(&numbers(&latent.outputs.margin)));
        prop_assert_eq!(bits(&plain.gradients["lm_head.weight"]), bits(&latent.gradients["lm_head.weight"]));
        // Equal numbers, of which only zeros may differ in sign.
        prop_assert_eq!(&plain.hidden, &latent.hidden);
        prop_assert!(latent.outputs.latent.is_some() && plain.outputs.latent.is_none());
    }
}
