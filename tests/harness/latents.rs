//! LPC at test time: a zero codebook is the base model to the last bit, `exact` is the mixture's
//! definition, summed out by hand.

use crate::decoders::parameters;
use crate::formats::{expected, write_files};
use crate::tiny;
use candle_core::{DType, Device, Tensor};
use lpc::config::{Latent, LatentAtTest, Precision, Recipe};
use lpc::eval::generation::{Sampling, generate};
use lpc::eval::harness::data::{self, Span};
use lpc::eval::harness::{Record, Subject, run};
use lpc::eval::journal::Journal;
use lpc::eval::loglikelihood::{Likelihood, Scorer, encode};
use lpc::eval::predictor::Predictor;
use lpc::eval::tasks::Task;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes::autograd::hidden;
use lpc::passes::policy::{PairPolicy, Policy};
use lpc::progress::Progress;
use lpc::tensor::latent::prior_logits;

const CODES: usize = 5;

fn recipe(latent: LatentAtTest) -> Recipe {
    let text = include_str!("../../paper/recipes/dpo-lpc.toml");
    let mut recipe: Recipe = toml::from_str(text).unwrap();
    recipe.latent = Latent::Gumbel {
        codes: CODES,
        gumbel_tau: 1.0,
        kl_weight: 0.05,
        prior_weight: lpc::config::PriorWeight::Linear {},
        codebook_std: 0.02,
        heads_learning_rate: None,
        heads_input: Default::default(),
    };
    recipe.evaluation.latent = latent;
    recipe
}

fn config() -> DecoderConfig {
    DecoderConfig { max_position_embeddings: 2048, ..tiny::config() }
}

fn policies(codebook_scale: f64) -> (Policy, Policy, Parameters) {
    let config = config();
    let with = parameters(&config, CODES, 11, DType::F32);
    let codebook = with.get("lpc.codebook", &[CODES, config.hidden_size]).unwrap();
    let var = with.iter().find(|(name, _)| *name == "lpc.codebook").unwrap().1;
    var.set(&(codebook * codebook_scale).unwrap()).unwrap();
    let plain = Policy::new(&config, &with, &Latent::None {}, Precision::F32).unwrap();
    let lpc = Policy::new(&config, &with, &recipe(LatentAtTest::Mean).latent, Precision::F32).unwrap();
    (plain, lpc, with)
}

const CONTEXT: &str = "Question: the cat is on the mat?\nAnswer:";

fn choices() -> Vec<String> {
    [" the mat", " the", " a dog", " x", " the mat is"].map(String::from).to_vec()
}

fn score(predictor: &Predictor<'_>) -> Vec<Likelihood> {
    let tokenizer = tiny::tokenizer(None);
    let encoded = encode(&tokenizer, CONTEXT, &choices(), 96).unwrap();
    let scorer = Scorer::new(predictor, &[&encoded]).unwrap();
    scorer.score(&[&encoded], 1, &["gumbel/test/0".into()]).unwrap().remove(0)
}

fn write(predictor: &Predictor<'_>, temperature: f64) -> Vec<u32> {
    let tokenizer = tiny::tokenizer(None);
    let prompt = tokenizer.encode(CONTEXT, true).unwrap();
    let sampling = Sampling { max_new_tokens: 24, temperature, top_p: 1.0, seed: 3 };
    generate(predictor, &tokenizer, &prompt, sampling, 0, |_| Ok(())).unwrap().tokens
}

#[test]
fn a_zero_codebook_is_the_base_model_to_the_last_bit() {
    let (plain, lpc, _) = policies(0.0);
    let base = Predictor::new(&plain, None, None).unwrap();
    for latent in [LatentAtTest::Mean, LatentAtTest::Sample, LatentAtTest::Exact] {
        let recipe = recipe(latent);
        let with = Predictor::new(&lpc, Some(&recipe), None).unwrap();
        let (ours, theirs) = (score(&with), score(&base));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.loglikelihood.to_bits(), theirs.loglikelihood.to_bits(), "{latent:?}");
        }
        assert_eq!(ours, theirs, "{latent:?}");
        for temperature in [0.0, 1.0] {
            assert_eq!(write(&with, temperature), write(&base, temperature), "{latent:?}");
        }
    }
    let recipe = recipe(LatentAtTest::Mean);
    let forced = Predictor::new(&lpc, Some(&recipe), Some(2)).unwrap();
    assert_eq!(score(&forced), score(&base));
}

/// Every task, choices and texts, verdicts and all.
#[test]
fn a_zero_codebook_gives_the_base_models_records() {
    let folder = tempfile::tempdir().unwrap();
    write_files(&expected(), folder.path());
    let records = |policy: &Policy, recipe: Option<&Recipe>| -> Vec<Record> {
        let predictor = Predictor::new(policy, recipe, None).unwrap();
        let tokenizer = &tiny::tokenizer(None);
        let subject =
            Subject { predictor: &predictor, tokenizer, seed: 1, latent: None, identity: String::new() };
        let of_task = |task: Task| {
            let documents = data::read(task, folder.path()).unwrap().documents;
            let documents = Span { start: 0, end: Some(3) }.of(documents, None).unwrap();
            let bar = Progress::hidden().task(task.name(), documents.len());
            run(task, &documents, &subject, &Journal::in_memory(), &bar).unwrap()
        };
        Task::ALL.into_iter().flat_map(of_task).collect()
    };
    let (plain, zero, _) = policies(0.0);
    let base = records(&plain, None);
    assert_eq!(base.len(), 3 * Task::ALL.len());
    let (_, moved, _) = policies(1.0);
    for latent in [LatentAtTest::Mean, LatentAtTest::Sample, LatentAtTest::Exact] {
        let recipe = recipe(latent);
        assert_eq!(records(&zero, Some(&recipe)), base, "{latent:?}");
        // A codebook that is not zero is seen by every task.
        let changed = records(&moved, Some(&recipe));
        for (of_task, of_base) in changed.chunks(3).zip(base.chunks(3)) {
            assert_ne!(of_task, of_base, "{latent:?}");
        }
    }
}

/// log π(token | tokens before it, code) of every token, in f64: [T][K][V].
fn by_hand(parameters: &Parameters, ids: &[u32]) -> (Vec<f64>, Vec<Vec<Vec<f64>>>) {
    let parameters = parameters.to(DType::F64, &Device::Cpu).unwrap();
    let policy =
        Policy::new(&config(), &parameters, &recipe(LatentAtTest::Mean).latent, Precision::F32).unwrap();
    let heads = policy.codes().unwrap();
    let hidden = hidden(&policy.decoder, &TokenRows::new(vec![Row::causal(ids)])).unwrap();
    let context = tiny::tokenizer(None).encode(CONTEXT, true).unwrap().len();
    let log_softmax = |row: Vec<f64>| {
        let normaliser = row.iter().map(|x| x.exp()).sum::<f64>().ln();
        row.into_iter().map(|x| x - normaliser).collect::<Vec<f64>>()
    };
    let prior = prior_logits(&heads.prior, &hidden.narrow(0, context - 1, 1).unwrap()).unwrap();
    let prior = log_softmax(prior.get(0).unwrap().to_vec1().unwrap());
    let rows = (0..ids.len()).map(|t| {
        let h = hidden.narrow(0, t, 1).unwrap();
        let states = h.broadcast_add(&heads.codebook).unwrap();
        let logits: Tensor = states.matmul(&policy.decoder.lm_head().t().unwrap()).unwrap();
        logits.to_vec2::<f64>().unwrap().into_iter().map(log_softmax).collect()
    });
    (prior, rows.collect())
}

#[test]
fn exact_is_the_sum_over_codes() {
    let (_, lpc, parameters) = policies(1.0);
    let recipe = recipe(LatentAtTest::Exact);
    let predictor = Predictor::new(&lpc, Some(&recipe), None).unwrap();
    let ours = score(&predictor);
    let tokenizer = tiny::tokenizer(None);
    let context = tokenizer.encode(CONTEXT, true).unwrap();
    for (choice, ours) in choices().iter().zip(ours) {
        let ids = tokenizer.encode(&format!("{CONTEXT}{choice}"), true).unwrap();
        let (prior, logps) = by_hand(&parameters, &ids);
        let codes: Vec<f64> = (0..CODES)
            .map(|k| (context.len()..ids.len()).map(|t| logps[t - 1][k][ids[t] as usize]).sum::<f64>())
            .collect();
        let total = prior.iter().zip(&codes).map(|(p, l)| (p + l).exp()).sum::<f64>().ln();
        assert!(
            (ours.loglikelihood - total).abs() < 1e-4,
            "{choice}: {} against {total}",
            ours.loglikelihood
        );
        // The codes must disagree, or any of them would pass.
        assert!(codes.iter().any(|l| (l - total).abs() > 0.1), "{codes:?}");
    }
}

/// Each token is the likeliest under Σ_k p(k | x, y_<t) π(· | x, y_<t, k).
#[test]
fn greedy_texts_follow_the_mixture() {
    let (_, lpc, parameters) = policies(1.0);
    let recipe = recipe(LatentAtTest::Exact);
    let predictor = Predictor::new(&lpc, Some(&recipe), None).unwrap();
    let context = tiny::tokenizer(None).encode(CONTEXT, true).unwrap();
    let new = write(&predictor, 0.0);
    assert!(new.len() > 4, "{new:?}");
    let ids = [context.as_slice(), &new].concat();
    let (mut weights, logps) = by_hand(&parameters, &ids);
    let first = weights.clone();
    for t in context.len()..ids.len() {
        let mixed =
            |v: usize| weights.iter().zip(&logps[t - 1]).map(|(w, row)| (w + row[v]).exp()).sum::<f64>();
        let best = (0..logps[t - 1][0].len()).max_by(|&a, &b| mixed(a).total_cmp(&mixed(b))).unwrap();
        assert_eq!(ids[t] as usize, best, "token {t}");
        weights.iter_mut().zip(&logps[t - 1]).for_each(|(w, row)| *w += row[best]);
    }
    let normalised = |w: &[f64]| {
        let total: f64 = w.iter().map(|w| w.exp()).sum();
        w.iter().map(|w| w.exp() / total).collect::<Vec<_>>()
    };
    let moved =
        normalised(&weights).iter().zip(normalised(&first)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(moved > 0.01, "the weights of the codes did not move: {moved}");
}

#[test]
fn a_forced_code_is_that_code() {
    let (plain, lpc, parameters) = policies(1.0);
    let tokenizer = tiny::tokenizer(None);
    let context = tokenizer.encode(CONTEXT, true).unwrap().len();
    for code in 0..CODES {
        let predictor = Predictor::new(&lpc, None, Some(code)).unwrap();
        for (choice, ours) in choices().iter().zip(score(&predictor)) {
            let ids = tokenizer.encode(&format!("{CONTEXT}{choice}"), true).unwrap();
            let (_, logps) = by_hand(&parameters, &ids);
            let hand: f64 = (context..ids.len()).map(|t| logps[t - 1][code][ids[t] as usize]).sum();
            assert!(
                (ours.loglikelihood - hand).abs() < 1e-4,
                "code {code}: {} against {hand}",
                ours.loglikelihood
            );
        }
    }
    let refused = |policy, code| Predictor::new(policy, None, Some(code)).err().unwrap().to_string();
    assert_eq!(refused(&lpc, CODES), "predictor: code = 5, expected 0 to 4");
    assert_eq!(refused(&plain, 0), "predictor: code = 0, expected a model with codes");
}
