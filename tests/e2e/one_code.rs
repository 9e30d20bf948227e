//! K = 1 with a zero codebook that does not move: LPC training is plain training.

use crate::toy_recipe::toy_recipe;
use candle_core::{DType, Device, Tensor};
use lpc::config::*;
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::init_heads;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::progress::Progress;
use lpc::seed;
use lpc::train::fit::{FitInputs, fit};
use lpc::train::reference::ReferenceLogps;
use std::collections::BTreeMap;

const PAIRS: usize = 48;

pub fn config() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 50,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 64,
        sliding_window: None,
        tie_word_embeddings: true,
    }
}

pub fn recipe(objective: Objective, latent: Latent) -> Recipe {
    let recipe = toy_recipe();
    Recipe {
        seed: 5,
        objective,
        latent,
        training: Training {
            epochs: 2,
            micro_batch_size: 3,
            learning_rate: 1e-2,
            weight_decay: 0.1,
            max_grad_norm: 0.5,
            checkpoint_every: 1000,
            ..recipe.training
        },
        ..recipe
    }
}

/// The decoder's weights after training, and the losses on the way.
fn train(objective: Objective, latent: Latent) -> (BTreeMap<String, Tensor>, Vec<f64>) {
    let mut rng = seed::stream(1, "pairs");
    let mut tokens = |n: usize| (0..n).map(|_| seed::below(&mut rng, 50) as u32).collect::<Vec<_>>();
    let pairs: Vec<TokenizedPair> = (0..PAIRS)
        .map(|index| TokenizedPair {
            index,
            prompt: tokens(3 + index % 5),
            chosen: tokens(2 + index % 7),
            rejected: tokens(1 + index % 6),
            ..TokenizedPair::default()
        })
        .collect();
    let reference = vec![ReferenceLogps { chosen: -20.0, rejected: -15.0 }; PAIRS];
    let config = config();
    let mut parameters = Parameters::random_decoder(&config, &mut seed::stream(2, "init")).unwrap();
    init_heads(&mut parameters, config.hidden_size, &latent, &mut seed::stream(3, "heads")).unwrap();
    let recipe = recipe(objective, latent);
    let run = tempfile::tempdir().unwrap();
    let inputs = FitInputs { recipe: &recipe, config: &config, pairs: &pairs, reference: Some(&reference) };
    fit(&inputs, &parameters.clone().into(), run.path(), &Progress::hidden().task("test", 1)).unwrap();
    let metrics = std::fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let loss = |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"].as_f64().unwrap();
    let decoder = parameters.to(DType::F32, &Device::Cpu).unwrap().tensors();
    (
        decoder.into_iter().filter(|(n, _)| !n.starts_with("lpc.")).collect(),
        metrics.lines().map(loss).collect(),
    )
}

fn one_code(codebook_std: f64, heads_learning_rate: f64) -> Latent {
    Latent::Gumbel {
        codes: 1,
        gumbel_tau: 0.7,
        kl_weight: 0.3,
        prior_weight: PriorWeight::Linear {},
        codebook_std,
        heads_learning_rate: Some(heads_learning_rate),
        heads_input: Default::default(),
    }
}

fn bits(weights: &BTreeMap<String, Tensor>) -> Vec<u32> {
    let values = weights.values().map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.flatten().map(f32::to_bits).collect()
}

#[test]
fn equals_plain_training_bit_for_bit() {
    for objective in [
        Objective::Dpo { beta: 0.3 },
        Objective::Ipo { ipo_tau: 0.4 },
        Objective::Simpo { beta: 1.5, gamma: 0.2 },
        Objective::Gpo { member: Gpo::Hinge, beta: 0.3 },
    ] {
        let (plain, plain_losses) = train(objective, Latent::None {});
        let (latent, latent_losses) = train(objective, one_code(0.0, 0.0));
        assert_eq!(plain_losses, latent_losses);
        assert!(bits(&plain) == bits(&latent), "{objective:?}: weights differ");
        assert!(plain_losses[0] != plain_losses[plain_losses.len() - 1], "nothing was learnt");
    }
}

/// The comparison can fail: a codebook that is not zero, or that moves, changes the weights.
#[test]
fn a_codebook_that_is_not_zero_shows() {
    let objective = Objective::Dpo { beta: 0.3 };
    let (plain, _) = train(objective, Latent::None {});
    for latent in [one_code(0.1, 0.0), one_code(0.0, 1e-2)] {
        assert!(bits(&plain) != bits(&train(objective, latent).0));
    }
}
