//! A guard, not an oracle: three tiny steps of every objective, latent and pass give the numbers that
//! `fixtures/numerics.toml` keeps, bit for bit on the kinds of CPU that it knows.

use crate::decoders::parameters_of;
use crate::random_pairs::pairs;
use crate::toy_recipe::toy_recipe;
use candle_core::DType;
use lpc::config::*;
use lpc::eval::preference::score_pairs;
use lpc::model::config::DecoderConfig;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::Policy;
use lpc::progress::Progress;
use lpc::run::numerics::NUMERICS;
use lpc::train::fit::{FitInputs, fit};
use lpc::train::reference::ReferenceLogps;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

const WRITE: &str = "LPC_WRITE_NUMERICS";

/// Across kinds of CPU: f32 sums in another order, three steps of training after them; candle's operations
/// are the other order at hand. In bf16, which way a number rounds may differ: at most what bf16 moves.
/// `the_tolerance_is_above_what_another_order_moves` measures both.
const F32: f64 = 1e-4;
const BF16: f64 = 5e-2;

#[derive(Serialize, Deserialize)]
struct Kept {
    numerics: u32,
    /// By case: the losses of the three steps, then the margins at test.
    values: BTreeMap<String, Vec<f64>>,
    /// By kind of CPU and case: SHA-256 over the trained parameters, the losses and the margins.
    hashes: BTreeMap<String, BTreeMap<String, String>>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/numerics.toml")
}

/// The instructions by which kernels choose.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let known = ["avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_bf16"];
    let has = known.into_iter().filter(|known| flags.split_whitespace().any(|flag| flag == *known));
    [std::env::consts::ARCH].into_iter().chain(has).collect::<Vec<_>>().join(" ")
}

fn latents() -> [(&'static str, Latent); 7] {
    let (codes, heads_learning_rate) = (3, Some(2e-3));
    let (codebook_std, output_std, kl_weight, prior_weight) = (0.5, 0.5, 0.7, PriorWeight::Linear {});
    [
        ("none", Latent::None {}),
        (
            "gumbel",
            Latent::Gumbel {
                codes,
                gumbel_tau: 0.8,
                kl_weight,
                prior_weight,
                codebook_std,
                heads_learning_rate,
                heads_input: Default::default(),
            },
        ),
        (
            "exact-elbo",
            Latent::ExactElbo {
                codes,
                kl_weight,
                codebook_std,
                heads_learning_rate,
                heads_input: Default::default(),
            },
        ),
        (
            "marginal",
            Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input: Default::default() },
        ),
        (
            "control",
            Latent::Control {
                match_codes: codes,
                output_std,
                heads_learning_rate,
                heads_input: Default::default(),
            },
        ),
        (
            "gaussian",
            Latent::Gaussian {
                dimension: 2,
                kl_weight,
                prior_weight,
                output_std,
                heads_learning_rate,
                heads_input: Default::default(),
            },
        ),
        ("factors", Latent::Factors { output_std, heads_learning_rate }),
    ]
}

fn objectives() -> [(&'static str, Objective); 4] {
    [
        ("dpo", Objective::Dpo { beta: 0.3 }),
        ("ipo", Objective::Ipo { ipo_tau: 0.4 }),
        ("simpo", Objective::Simpo { beta: 2.0, gamma: 0.3 }),
        ("hinge", Objective::Gpo { member: Gpo::Hinge, beta: 0.3 }),
    ]
}

/// Name, precision, whether activations are recomputed, whether candle's operations compute.
const PASSES: [(&str, Precision, bool, bool); 4] = [
    ("fused", Precision::F32, false, false),
    ("fused-bf16", Precision::Bf16, false, false),
    ("fused-recompute", Precision::F32, true, false),
    ("composed", Precision::F32, false, true),
];

fn config() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 37,
        hidden_size: 16,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 64,
        sliding_window: Some(9),
        tie_word_embeddings: false,
    }
}

fn training(dtype: Precision, recompute: bool) -> Training {
    Training {
        dtype,
        batch_size: 3,
        micro_batch_size: 2,
        learning_rate: 5e-4,
        warmup_ratio: 0.0,
        weight_decay: 0.01,
        // Gradients that are rounding alone, as where codes hardly differ, are not blown up to whole steps.
        adam_epsilon: 1e-3,
        recompute,
        memory: lpc::config::Memory::Tensors {},
        checkpoint_every: usize::MAX,
        ..toy_recipe().training
    }
}

/// Losses and margins, and the hash of these and of the parameters.
fn train(objective: Objective, latent: Latent, pass: (&str, Precision, bool, bool)) -> (Vec<f64>, String) {
    let (_, dtype, recompute, composed) = pass;
    let config = config();
    let recipe = Recipe { seed: 11, objective, latent, training: training(dtype, recompute), ..toy_recipe() };
    let lengths: Vec<_> = (0..9).map(|i| (2 + i % 4, 1 + (i * 5) % 7, 1 + (i * 3) % 5)).collect();
    let pairs = pairs(config.vocab_size, &lengths, 5);
    let reference: Vec<_> = (0..pairs.len())
        .map(|i| ReferenceLogps { chosen: -9.0 - i as f32 * 0.7, rejected: -8.0 - i as f32 * 0.9 })
        .collect();
    let reference = objective.needs_reference().then_some(reference.as_slice());
    let parameters: Parameters = parameters_of(&config, &latent, 3, DType::F32);
    let parameters = if composed { parameters.composed() } else { parameters };
    let folder = tempfile::tempdir().unwrap();
    let task = Progress::hidden().task("guard", 3);
    let inputs = FitInputs { recipe: &recipe, config: &config, pairs: &pairs, reference };
    assert_eq!(fit(&inputs, &parameters.clone().into(), folder.path(), &task).unwrap().steps, 3);
    let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let loss =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    let mut values: Vec<f64> = metrics.lines().map(loss).collect();
    let policy = Policy::new(&config, &parameters, &latent, dtype).unwrap();
    let scores = score_pairs(&recipe, &policy, &pairs, reference, &task).unwrap();
    values.extend(scores.iter().map(|score| score.margin));
    let mut hash = Sha256::new();
    values.iter().for_each(|value| hash.update(value.to_bits().to_le_bytes()));
    for (name, tensor) in parameters.tensors() {
        hash.update(&name);
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers.iter().for_each(|value| hash.update(value.to_bits().to_le_bytes()));
    }
    let hash = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    (values, hash)
}

#[test]
fn three_steps_of_everything_give_the_numbers_that_are_kept() {
    let mut found = BTreeMap::new();
    for (objective_name, objective) in objectives() {
        for (latent_name, latent) in latents() {
            for pass in PASSES {
                let name = format!("{objective_name} {latent_name} {}", pass.0);
                found.insert(name, train(objective, latent, pass));
            }
        }
    }
    let kept: Option<Kept> = std::fs::read_to_string(file()).ok().map(|text| toml::from_str(&text).unwrap());
    if std::env::var_os(WRITE).is_some() {
        // Another version's numbers say nothing of this one's; another kind of CPU's stay.
        let mut hashes =
            kept.filter(|kept| kept.numerics == NUMERICS).map_or_else(BTreeMap::new, |k| k.hashes);
        hashes.insert(cpu(), found.iter().map(|(name, (_, hash))| (name.clone(), hash.clone())).collect());
        let values = found.into_iter().map(|(name, (values, _))| (name, values)).collect();
        let text = toml::to_string(&Kept { numerics: NUMERICS, values, hashes }).unwrap();
        std::fs::write(file(), text).unwrap();
        return;
    }
    let kept = kept.expect("fixtures/numerics.toml");
    let advice = format!(
        "raise NUMERICS in src/run/numerics.rs, say why in reports/CHANGES.md, and write the new numbers with {WRITE}=1"
    );
    assert_eq!(kept.numerics, NUMERICS, "fixtures/numerics.toml is of another version: {advice}");
    assert!(kept.values.keys().eq(found.keys()), "other cases than the kept ones: write them with {WRITE}=1");
    let exact = kept.hashes.get(&cpu());
    if exact.is_none() {
        println!("{}: no hashes of this kind of CPU are kept; compared within a tolerance", cpu());
    }
    let moved: Vec<&String> = found
        .iter()
        .filter(|(name, (values, hash))| match exact {
            Some(hashes) => hashes.get(*name) != Some(hash),
            None => {
                let tolerance = if name.ends_with("bf16") { BF16 } else { F32 };
                let far = |(a, b): (&f64, &f64)| (a - b).abs() > tolerance * (1.0 + b.abs());
                values.iter().zip(&kept.values[*name]).any(far)
            }
        })
        .map(|(name, _)| name)
        .collect();
    assert!(
        moved.is_empty(),
        "numbers moved in {} of {} cases ({moved:?}): {advice}",
        moved.len(),
        found.len()
    );
}

#[test]
fn the_tolerance_is_above_what_another_order_moves() {
    let kept: Kept = toml::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap();
    let worst = |pass: &str, other: &str| {
        let cases = kept.values.iter().filter_map(|(name, values)| {
            let name = name.strip_suffix(pass)?;
            Some(values.iter().zip(&kept.values[&format!("{name}{other}")]))
        });
        cases.flatten().map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max)
    };
    let [sums, rounding] = [worst(" fused", " composed"), worst(" fused-bf16", " fused")];
    println!("another order of f32 sums moves {sums:.1e}, bf16 moves {rounding:.1e}");
    assert!(4.0 * sums < F32 && rounding < BF16);
}
