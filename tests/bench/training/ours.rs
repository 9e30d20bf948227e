//! Our side of a comparison, in a process of its own: the training loop as `lpc train` runs it, or
//! a bare forward and backward pass.

use crate::shapes::{BATCH, SMOLLM2, TRUNCATION, read};
use crate::{Loss, Plain, Steps};
use lpc::config::{
    DataSource, EmptyCompletion, Evaluation, Latent, LatentAtTest, ModelSource, Objective, PriorWeight,
    Recipe, Training,
};
use lpc::latent::init_heads;
use lpc::model::decoder::Decoder;
use lpc::model::gradients::Gradients;
use lpc::model::parameters::Parameters;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes;
use lpc::progress::Progress;
use lpc::run::manifest::peak_memory_mib;
use lpc::seed;
use lpc::train::fit::{FitInputs, fit};
use lpc::train::reference::ReferenceLogps;
use lpc::train::step::forward_backward;
use serde::Deserialize;
use std::path::Path;
use std::time::Instant;

const CODES: usize = 32;

/// What a child prints: seconds of each step, and its highest resident memory.
#[derive(serde::Serialize, Deserialize)]
pub struct Measured {
    pub seconds: Vec<f64>,
    pub peak_mib: f64,
}

impl Measured {
    fn print(seconds: Vec<f64>) {
        let measured = Self { seconds, peak_mib: peak_memory_mib().unwrap_or(f64::NAN) };
        println!("{}", serde_json::to_string(&measured).expect("plain data"));
    }
}

fn latent(loss: Loss) -> Latent {
    let (codes, codebook_std, heads_learning_rate) = (CODES, 0.02, None);
    match loss {
        Loss::Plain => Latent::None {},
        Loss::Gumbel => Latent::Gumbel {
            codes,
            gumbel_tau: 1.0,
            kl_weight: 0.05,
            prior_weight: PriorWeight::Linear {},
            codebook_std,
            heads_learning_rate,
            heads_input: Default::default(),
        },
        Loss::Marginal => {
            Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() }
        }
        Loss::ExactElbo => Latent::ExactElbo {
            codes,
            kl_weight: 0.05,
            codebook_std,
            heads_learning_rate,
            heads_input: Default::default(),
        },
    }
}

/// DPO with the reference's answers known, as the strongest setting of the peer has them.
pub fn steps(arguments: &Steps) -> lpc::Result<()> {
    let pairs = read(&arguments.pairs).map_err(lpc::Error::io(&arguments.pairs))?;
    let mut rng = seed::stream(1, "bench");
    let mut parameters = Parameters::random_decoder(&SMOLLM2, &mut rng)?;
    let latent = latent(arguments.loss);
    init_heads(&mut parameters, SMOLLM2.hidden_size, &latent, &mut rng)?;
    let recipe = Recipe {
        seed: 1,
        template_date: None,
        model: ModelSource::Folder { path: "unused".into() },
        data: DataSource::Jsonl {
            folder: "unused".into(),
            limit: None,
            empty_completion: EmptyCompletion::LeaveOut,
            flip_rate: 0.0,
            flip_marked: false,
            identical_completions: Default::default(),
        },
        truncation: TRUNCATION,
        objective: Objective::Dpo { beta: 0.1 },
        latent,
        training: Training {
            dtype: arguments.dtype,
            epochs: 1,
            batch_size: BATCH,
            micro_batch_size: arguments.micro_batch,
            learning_rate: 1e-6,
            warmup_ratio: 0.1,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            recompute: arguments.recompute,
            memory: lpc::config::Memory::Tensors {},
            checkpoint_every: 1_000_000,
        },
        evaluation: Evaluation { latent: LatentAtTest::Mean },
    };
    let reference = vec![ReferenceLogps { chosen: -1000.0, rejected: -1000.0 }; pairs.len()];
    let folder = tempfile::tempdir().map_err(lpc::Error::io(Path::new("a temporary folder")))?;
    let inputs = FitInputs { recipe: &recipe, config: &SMOLLM2, pairs: &pairs, reference: Some(&reference) };
    fit(&inputs, &parameters.into(), folder.path(), &Progress::hidden().task("steps", pairs.len() / BATCH))?;
    let path = folder.path().join("metrics.jsonl");
    let metrics = std::fs::read_to_string(&path).map_err(lpc::Error::io(&path))?;
    let second = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["seconds"].as_f64();
    Measured::print(metrics.lines().filter_map(second).collect());
    Ok(())
}

/// Log-probabilities of every token of `batch` rows of `tokens` tokens, and all gradients.
pub fn plain(arguments: &Plain) -> lpc::Result<()> {
    let mut rng = seed::stream(1, "bench");
    let parameters = Parameters::random_decoder(&SMOLLM2, &mut rng)?;
    let decoder = Decoder::new(&SMOLLM2, &parameters, arguments.dtype)?;
    let mut ids = |n: usize| (0..n).map(|_| seed::below(&mut rng, SMOLLM2.vocab_size) as u32).collect();
    let ids: Vec<Vec<u32>> = (0..arguments.batch).map(|_| ids(arguments.tokens)).collect();
    let targets: Vec<u32> = ids.iter().flatten().rev().copied().collect();
    let rows = TokenRows::new(ids.iter().map(|ids| Row::causal(ids)).collect());
    let mut seconds = vec![];
    for _ in 0..arguments.steps {
        let begun = Instant::now();
        let mut gradients = Gradients::default();
        let passes = passes::of(&parameters);
        let pass = passes::tracked(passes, &decoder, &rows, false)?;
        forward_backward(pass, &parameters, &mut gradients, |hidden| {
            Ok((passes.token_logps(&decoder, hidden, &targets)?.mean_all()?.neg()?, ()))
        })?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Measured::print(seconds);
    Ok(())
}
