//! The composed kernels, which any device has, against the fused ones of the CPU in f32: on the CPU, and on a
//! GPU where there is one (`cargo test --features cuda --test parity kernels`).
//!
//! In bf16: `parity::bf16`. One optimiser step against PyTorch: `golden::optimizer`. Inference behind
//! caches: `harness::inference`.

use crate::decoders::parameters;
use crate::difference::max_abs_diff;
use crate::gradients::{Problem, largest, problem};
use crate::random_pairs::pairs;
use crate::random_settings::CODES;
use crate::support::{Kernels, places};
use candle_core::{DType, Device, Tensor};
use lpc::config::{Latent, LatentAtTest, Precision, Recipe, Training};
use lpc::data::tokenize::TokenizedPair;
use lpc::eval::preference::{Preference, score_pairs};
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::{PairPolicy, PairStates, Policy};
use lpc::progress::Progress;
use lpc::seed;
use lpc::train::fit::{FitInputs, fit};
use lpc::train::metrics::StepMetrics;
use lpc::train::optim::AdamW;
use lpc::train::reference::{ReferenceLogps, reference_logps};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Of the largest number: some hundred f32 roundings of 6e-8 on either side, more where a norm divides by
/// a few nearly vanishing numbers. Seen in thousands of problems: 1.1e-3, once.
const RELATIVE: f64 = 5e-3;
/// Of the model's largest gradient, and of 1, where one cancels to nothing.
const NOISE: f64 = 2e-6;
/// Of what an update moves and what it is added to: a few roundings of 6e-8.
const UPDATE: f64 = 1e-6;

fn recipe(latent: Option<Latent>) -> Recipe {
    let mut recipe: Recipe = toml::from_str(include_str!("../../paper/recipes/dpo-lpc.toml")).unwrap();
    recipe.latent = latent.unwrap_or(recipe.latent);
    recipe
}

/// States, and log-probabilities plain and under every code.
fn values(problem: &Problem, parameters: &Parameters) -> [Tensor; 5] {
    let policy = Policy::new(&problem.config, parameters, &Latent::None {}, Precision::F32).unwrap();
    let members: Vec<&TokenizedPair> = problem.pairs.iter().collect();
    let batch = PairBatch::new(&members, DType::F32, policy.decoder.device()).unwrap();
    let hidden = policy.hidden(&batch.rows).unwrap();
    let states = PairStates::select(&hidden, &batch).unwrap();
    let (_, codebook) = parameters.iter().find(|(name, _)| *name == "lpc.codebook").unwrap();
    let plain = policy.pair_logps(&states, &batch, None).unwrap();
    let codes = policy.code_pair_logps(&states, &batch, codebook).unwrap();
    [hidden, plain.chosen, plain.rejected, codes.chosen, codes.rejected]
}

/// The same numbers for composed kernels in a place.
fn composed(parameters: &Parameters, place: &Device) -> Parameters {
    parameters.to(DType::F32, place).unwrap().composed()
}

/// Gradients as two optimisers see them, of sizes that are clipped and not.
fn draws(parameters: &Parameters, seed: u64, step: usize) -> BTreeMap<String, Tensor> {
    let mut rng = seed::stream(seed, &format!("gradients/{step}"));
    let scale = [1e-4, 0.1, 3.0][step % 3];
    let draw = |(name, var): (&String, &candle_core::Var)| {
        let values = seed::normal(&mut rng, var.elem_count()).into_iter().map(|v| (v * scale) as f32);
        (name.clone(), Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(var.shape()).unwrap())
    };
    parameters.iter().map(draw).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A whole training step: blocks, head, objective and latent, and how evaluation scores.
    #[test]
    fn values_and_every_gradient(problem in problem()) {
        // Codes are scored whatever latent was drawn.
        let coded = parameters(&problem.config, CODES, problem.seed, DType::F32);
        let expected = values(&problem, &coded);
        let single = problem.parameters(DType::F32);
        let (loss_fused, fused) = problem.gradients(&single, Precision::F32, Kernels::Fused, false);
        for (place, recompute) in places().iter().flat_map(|place| [(place, false), (place, true)]) {
            for (fused, composed) in expected.iter().zip(values(&problem, &composed(&coded, place))) {
                let diff = max_abs_diff(fused, &composed);
                prop_assert!(diff < RELATIVE * (1.0 + largest(fused)), "values differ by {:e}", diff);
            }
            let there = single.to(DType::F32, place).unwrap();
            let (loss, composed) = problem.gradients(&there, Precision::F32, Kernels::Composed, recompute);
            prop_assert!((loss - loss_fused).abs() < 1e-4 * (1.0 + loss.abs()), "{} and {}", loss, loss_fused);
            prop_assert_eq!(composed.keys().collect::<Vec<_>>(), fused.keys().collect::<Vec<_>>());
            let whole = composed.values().map(largest).fold(0.0, f64::max);
            for (name, gradient) in &composed {
                let diff = max_abs_diff(gradient, &fused[name]);
                let allowed = RELATIVE * largest(gradient) + NOISE * (1.0 + whole);
                prop_assert!(diff < allowed, "{} differs by {:e}, allowed {:e}", name, diff, allowed);
            }
        }
    }

    /// Norms, weights and moments after each update; a state that one saved, the other goes on from.
    #[test]
    fn optimiser_steps(
        shapes in prop::collection::vec((1usize..40, prop::option::of(1usize..40)), 1..5), seed: u64,
        (decay, clip, epsilon) in (0.0..0.2f64, 0.1..10.0f64, -8.0..-2.0f64),
    ) {
        let mut start = BTreeMap::new();
        for (i, &(rows, columns)) in shapes.iter().enumerate() {
            let shape = [vec![rows], columns.into_iter().collect()].concat();
            let values = seed::normal(&mut seed::stream(seed, &i.to_string()), shape.iter().product());
            let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            start.insert(format!("parameter {i}"), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        }
        let mut settings = recipe(None).training;
        settings.learning_rate = 0.01;
        (settings.weight_decay, settings.max_grad_norm, settings.adam_epsilon) = (decay, clip, 10f64.powf(epsilon));
        for place in places() {
            same_updates(&start, &settings, seed, place)?;
        }
    }
}

fn same_updates(
    start: &BTreeMap<String, Tensor>,
    settings: &Training,
    seed: u64,
    place: &Device,
) -> Result<(), TestCaseError> {
    let fused = Parameters::from_tensors(start).unwrap();
    let composed = composed(&fused, place);
    let optimiser = |parameters: &Parameters| AdamW::new(parameters, settings, 0.0).unwrap();
    let (mut by_fused, mut by_composed) = (optimiser(&fused), optimiser(&composed));
    for step in 0..6 {
        let gradients = draws(&fused, seed, step);
        let there = |(name, g): (&String, &Tensor)| (name.clone(), g.to_device(place).unwrap());
        let a = by_fused.step(&gradients, 0.7).unwrap();
        let b = by_composed.step(&gradients.iter().map(there).collect(), 0.7).unwrap();
        prop_assert!((a - b).abs() <= 1e-5 * a, "norms {} and {}", a, b);
        let (ours, theirs) = (fused.tensors(), composed.tensors());
        for (name, fused) in &ours {
            // An update is at most some learning rates long.
            let diff = max_abs_diff(fused, &theirs[name]);
            prop_assert!(diff <= UPDATE * (1.0 + largest(fused)), "step {}, {}: {:e}", step, name, diff);
        }
        if step == 2 {
            let saved = |optimiser: &AdamW| -> BTreeMap<String, Tensor> {
                let bytes = safetensors::serialize(optimiser.state(), None).unwrap();
                candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect()
            };
            let (from_fused, from_composed) = (saved(&by_fused), saved(&by_composed));
            (by_fused, by_composed) = (optimiser(&fused), optimiser(&composed));
            by_fused.restore(&from_composed).unwrap();
            by_composed.restore(&from_fused).unwrap();
        }
    }
    Ok(())
}

/// Pairs in which one token more is what is preferred, and a decoder that has to find out.
struct Toy {
    config: DecoderConfig,
    pairs: Vec<TokenizedPair>,
}

/// What a run leaves: a line a step, weights, verdicts.
struct Trained {
    metrics: Vec<StepMetrics>,
    weights: BTreeMap<String, Tensor>,
    reference: Vec<ReferenceLogps>,
    verdicts: Vec<Preference>,
}

impl Toy {
    fn new() -> Self {
        let config = DecoderConfig {
            vocab_size: 40,
            hidden_size: 32,
            intermediate_size: 48,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            max_position_embeddings: 64,
            sliding_window: Some(9),
            tie_word_embeddings: false,
        };
        let lengths: Vec<_> = (0..64).map(|i| (3 + i % 5, 2 + i % 7, 2 + (i / 2) % 7)).collect();
        let mut pairs = pairs(config.vocab_size, &lengths, 5);
        for pair in &mut pairs {
            pair.chosen[0] = 7;
        }
        Self { config, pairs }
    }

    /// Fused, or composed in a place.
    fn train(&self, recipe: &Recipe, place: Option<&Device>) -> Trained {
        let start = parameters(&self.config, recipe.latent.codes().map_or(0, |c| c.codes), 3, DType::F32);
        let start = place.map_or(start.clone(), |place| composed(&start, place));
        let (folder, quiet) = (tempfile::tempdir().unwrap(), Progress::hidden());
        let task = quiet.task("", 0);
        let base = Policy::new(&self.config, &start, &Latent::None {}, Precision::F32).unwrap();
        let reference = reference_logps(&base, &self.pairs, &recipe.training, &task).unwrap();
        let inputs =
            FitInputs { recipe, config: &self.config, pairs: &self.pairs, reference: Some(&reference) };
        fit(&inputs, &start.clone().into(), folder.path(), &task).unwrap();
        let lines = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        let policy = Policy::new(&self.config, &start, &recipe.latent, Precision::F32).unwrap();
        let verdicts = score_pairs(recipe, &policy, &self.pairs, Some(&reference), &task).unwrap();
        Trained {
            metrics: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            weights: start.tensors(),
            reference,
            verdicts,
        }
    }
}

/// Twenty-four updates from the same weights, plain and with each latent. Rounding grows from step to
/// step; 2e-7 of a loss and 2e-7 of a weight were the most seen.
#[test]
fn a_short_training() {
    let (codes, codebook_std, heads_learning_rate) = (4, 0.02, None);
    let exact = Latent::ExactElbo {
        codes,
        kl_weight: 0.05,
        codebook_std,
        heads_learning_rate,
        heads_input: Default::default(),
    };
    let latents = [
        (Some(Latent::None {}), LatentAtTest::Mean),
        (None, LatentAtTest::Sample),
        (Some(exact), LatentAtTest::Mean),
        (
            Some(Latent::Marginal {
                codes,
                codebook_std,
                heads_learning_rate,
                heads_input: Default::default(),
            }),
            LatentAtTest::Exact,
        ),
    ];
    for (latent, at_test) in latents {
        let mut recipe = recipe(latent);
        recipe.training.epochs = 3;
        recipe.training.learning_rate = 1e-3;
        recipe.evaluation.latent = at_test;
        let toy = Toy::new();
        let fused = toy.train(&recipe, None);
        for composed in places().iter().map(|place| toy.train(&recipe, Some(place))) {
            same_training(&recipe, &fused, &composed);
        }
        // And it learned something that rounding could have lost.
        let (first, last) = (&fused.metrics[0], &fused.metrics[23]);
        assert!(last.loss < 0.8 * first.loss, "{} to {}", first.loss, last.loss);
    }
}

fn same_training(recipe: &Recipe, fused: &Trained, composed: &Trained) {
    /// Relative, and of a weight.
    const LOSS: f64 = 1e-5;
    const WEIGHT: f64 = 1e-5;
    let close = |what: &str, a: f64, b: f64, tolerance: f64| {
        let off = (a - b).abs() / (1.0 + a.abs());
        assert!(off <= tolerance, "{:?}: {what} {a} and {b}", recipe.latent);
    };
    for (a, b) in fused.reference.iter().zip(&composed.reference) {
        close("reference", a.chosen.into(), b.chosen.into(), 1e-5);
        close("reference", a.rejected.into(), b.rejected.into(), 1e-5);
    }
    assert_eq!((fused.metrics.len(), composed.metrics.len()), (24, 24));
    for (a, b) in fused.metrics.iter().zip(&composed.metrics) {
        close("loss", a.loss, b.loss, LOSS);
        close("gradient norm", a.grad_norm, b.grad_norm, LOSS);
        assert_eq!(a.latent.is_some(), b.latent.is_some());
    }
    for (name, weight) in &fused.weights {
        let diff = max_abs_diff(weight, &composed.weights[name]);
        assert!(diff <= WEIGHT, "{:?}: {name} differs by {diff:e}", recipe.latent);
    }
    for (a, b) in fused.verdicts.iter().zip(&composed.verdicts) {
        close("margin", a.margin, b.margin, LOSS);
        close("log-probability", a.policy_chosen_logps, b.policy_chosen_logps, LOSS);
    }
}
