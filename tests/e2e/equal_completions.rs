//! Completions of the same tokens are no preference: neither rounding nor training makes one of them better.

use crate::one_code::{config, recipe};
use lpc::config::*;
use lpc::data::tokenize::TokenizedPair;
use lpc::eval::preference::score_pairs;
use lpc::latent::init_heads;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::Policy;
use lpc::progress::Progress;
use lpc::seed;
use lpc::train::fit::{FitInputs, fit};
use lpc::train::reference::reference_logps;
use serde_json::Value;

/// Pairs of many lengths; of every third the completions differ.
fn pairs(all_equal: bool) -> Vec<TokenizedPair> {
    let mut rng = seed::stream(7, "pairs");
    let mut tokens = |n: usize| (0..n).map(|_| seed::below(&mut rng, 50) as u32).collect::<Vec<_>>();
    let pair = |index: usize| {
        let chosen = tokens(3 + index % 11);
        let rejected = if all_equal || !index.is_multiple_of(3) { chosen.clone() } else { tokens(5) };
        TokenizedPair { index, prompt: tokens(3 + index % 5), chosen, rejected, ..TokenizedPair::default() }
    };
    (0..48).map(pair).collect()
}

/// The lines of the run's metrics, and the margins of the pairs whose completions are equal.
fn trained(objective: Objective, latent: Latent, all_equal: bool) -> (Vec<Value>, Vec<f64>) {
    let (config, pairs) = (config(), pairs(all_equal));
    let hidden = Progress::hidden();
    let recipe = recipe(objective, latent);
    let mut parameters = Parameters::random_decoder(&config, &mut seed::stream(2, "init")).unwrap();
    let plain = Policy::new(&config, &parameters, &Latent::None {}, Precision::F32).unwrap();
    let reference = reference_logps(&plain, &pairs, &recipe.training, &hidden.task("reference", 1)).unwrap();
    for (pair, logps) in pairs.iter().zip(&reference) {
        assert_eq!(pair.is_identical(), logps.chosen.to_bits() == logps.rejected.to_bits());
    }
    init_heads(&mut parameters, config.hidden_size, &recipe.latent, &mut seed::stream(3, "heads")).unwrap();
    let run = tempfile::tempdir().unwrap();
    let inputs = FitInputs { recipe: &recipe, config: &config, pairs: &pairs, reference: Some(&reference) };
    fit(&inputs, &parameters.clone().into(), run.path(), &hidden.task("test", 1)).unwrap();
    let metrics = std::fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let policy = Policy::new(&config, &parameters, &recipe.latent, Precision::F32).unwrap();
    let verdicts = score_pairs(&recipe, &policy, &pairs, Some(&reference), &hidden.task("test", 1)).unwrap();
    let equal = pairs.iter().zip(verdicts).filter(|(pair, _)| pair.is_identical());
    (
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        equal.map(|(_, v)| v.margin).collect(),
    )
}

fn codes() -> Latent {
    Latent::Gumbel {
        codes: 3,
        gumbel_tau: 0.7,
        kl_weight: 0.3,
        prior_weight: PriorWeight::Linear {},
        codebook_std: 0.5,
        heads_learning_rate: Some(1e-2),
        heads_input: Default::default(),
    }
}

#[test]
fn nothing_is_learnt_of_them() {
    let (steps, margins) = trained(Objective::Dpo { beta: 0.3 }, Latent::None {}, true);
    assert!(!steps.is_empty() && margins.len() == 48);
    for step in &steps {
        assert_eq!(
            (&step["margin"], &step["accuracy"], &step["grad_norm"]),
            (&0.0.into(), &0.0.into(), &0.0.into())
        );
    }
}

#[test]
fn their_margin_is_zero_whatever_was_learnt() {
    for objective in [
        Objective::Dpo { beta: 0.3 },
        Objective::Ipo { ipo_tau: 0.4 },
        Objective::Simpo { beta: 1.5, gamma: 0.2 },
    ] {
        for latent in [Latent::None {}, codes()] {
            let (steps, margins) = trained(objective, latent, false);
            assert_eq!(margins, [0.0; 32], "{objective:?}");
            // At most the third of the pairs that has a preference is right.
            let right = steps.iter().map(|step| step["accuracy"].as_f64().unwrap()).sum::<f64>();
            assert!(right <= steps.len() as f64 / 3.0 + 1e-9, "{objective:?}: {right}");
        }
    }
}
