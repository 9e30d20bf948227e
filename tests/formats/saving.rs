//! A run's model in other hands: shards, the card's Python, GGUF to a folder.

use crate::message::message;
use crate::program::Lpc;
use crate::tiny;
use crate::tiny_files::{self, bits};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use lpc::config::{Precision, Recipe};
use lpc::eval::preference::prior_latent;
use lpc::experiment::prepared::reference_policy;
use lpc::experiment::saved;
use lpc::experiment::trainable::drawn_heads;
use lpc::latent::FACTORS;
use lpc::latent::PriorLatent;
use lpc::model::config::DecoderConfig;
use lpc::model::load::{gguf, huggingface};
use lpc::model::rows::{Row, TokenRows};
use lpc::model::save::{save, save_weights};
use lpc::train::optim::furthest;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n.starts_with("model")).collect();
    names.sort();
    names
}

#[test]
fn shards_hold_at_most_what_they_may() {
    let config = tiny::config();
    let weights = tiny::weights(&config, 5);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &config, &weights, &tiny::tokenizer(None)).unwrap();
    assert_eq!(files(folder.path()), ["model.safetensors"]);
    let one = huggingface::load(folder.path()).unwrap();

    let tensors =
        || config.parameter_shapes().map(|(name, _)| (name.clone(), weights[&name].clone())).collect();
    let limit = 100_000;
    save_weights(folder.path(), tensors(), limit).unwrap();
    let index: Value =
        serde_json::from_slice(&fs::read(folder.path().join("model.safetensors.index.json")).unwrap())
            .unwrap();
    let total: usize = config.parameter_shapes().map(|(_, shape)| 4 * shape.iter().product::<usize>()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
    let names = files(folder.path());
    let shards = names.len() - 1;
    assert!(shards > 2 && names[0] == format!("model-00001-of-{shards:05}.safetensors"), "{names:?}");
    for name in &names[..shards] {
        let held: usize = config
            .parameter_shapes()
            .filter(|(tensor, _)| index["weight_map"][tensor] == name.as_str())
            .map(|(_, shape)| 4 * shape.iter().product::<usize>())
            .sum();
        assert!((1..=limit).contains(&held), "{name}: {held}");
    }
    let several = huggingface::load(folder.path()).unwrap();
    for (name, tensor) in one.tensors().unwrap().iter() {
        assert_eq!(bits(tensor), bits(&several.tensors().unwrap()[name]), "{name}");
    }
    // Back to one file: no shard stays behind that a reader could take for this model's.
    save_weights(folder.path(), tensors(), usize::MAX).unwrap();
    assert_eq!(files(folder.path()), ["model.safetensors"]);
}

/// Quantised weights as they were dequantised, tokens and template as they were.
#[test]
fn gguf_saved_as_a_folder_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    for (config, dtype) in [
        (tiny::config(), GgmlDType::Q8_0),
        (DecoderConfig { tie_word_embeddings: true, ..tiny::config() }, GgmlDType::Q4_0),
        (tiny::config(), GgmlDType::F16),
    ] {
        let path = folder.path().join("tiny.gguf");
        tiny_files::write_gguf(
            &path,
            &config,
            &tiny::weights(&config, 2),
            &tiny_files::metadata(&config),
            dtype,
        );
        let before = gguf::load(&path).unwrap();
        let saved = folder.path().join("saved");
        save(&saved, &before.config, &before.tensors().unwrap(), &before.tokenizer).unwrap();
        let after = huggingface::load(&saved).unwrap();
        assert_eq!(after.config, before.config);
        assert_eq!(after.tensors().unwrap().len(), before.tensors().unwrap().len());
        for (name, tensor) in before.tensors().unwrap().iter() {
            assert_eq!(bits(tensor), bits(&after.tensors().unwrap()[name]), "{name}");
        }
        for text in ["ab cd</s> é😀\n", "", " ab  ab"] {
            let encode = |model: &lpc::model::load::Loaded| model.tokenizer.encode(text, true).unwrap();
            assert_eq!(encode(&before), encode(&after));
        }
        let template =
            |model: &lpc::model::load::Loaded| model.tokenizer.chat_template().unwrap().source().to_string();
        assert_eq!(template(&before), template(&after));
        assert_eq!(after.tokenizer.eos_ids(), before.tokenizer.eos_ids());
    }
}

/// A folder as somebody published it, with a card that states its licence, and pairs to train on.
fn published(lpc: &Lpc, config: &DecoderConfig, template: Option<&str>) {
    let base = lpc.path("base");
    save(&base, config, &tiny::weights(config, 3), &tiny::tokenizer(template)).unwrap();
    lpc.write("base/README.md", "---\ntags: [a]\nlicense: 'apache-2.0'\n---\n# Tiny\n");
    let pair = |i: usize| {
        let [a, b] = [i % 26, (3 * i + 1) % 26].map(|n| char::from(b'a' + n as u8));
        format!(
            "{}\n",
            json!({"prompt": format!("say {a}"), "chosen": format!("{a}{b}"), "rejected": format!("{b}")})
        )
    };
    lpc.write("data/train.jsonl", (0..20).map(pair).collect::<String>());
    lpc.write("data/test.jsonl", (20..26).map(pair).collect::<String>());
}

const LATENT: &str = "mode = \"gumbel\"\ncodes = 8\ngumbel_tau = 1.0\nkl_weight = 0.05\n\
                      prior_weight = { kind = \"linear\" }\ncodebook_std = 0.5\n";

const CONTROL: &str = "mode = \"control\"\nmatch_codes = 8\noutput_std = 0.5\n";

const GAUSSIAN: &str = "mode = \"gaussian\"\ndimension = 4\nkl_weight = 0.05\n\
                        prior_weight = { kind = \"linear\" }\noutput_std = 0.5\n";

const TOLD: &str = "mode = \"factors\"\noutput_std = 0.5\n";

/// Five steps by `lpc train`; returns the run's folder.
fn train(lpc: &Lpc, latent: &str) -> PathBuf {
    // True weights are the built-in world's.
    let data = match latent {
        TOLD => {
            "kind = \"world\"\nseed = 3\ntrain = 20\ntest = 6\nsharpness = 1.5\nflip_rate = 0.0\nflip_marked = false\n"
        }
        _ => "kind = \"jsonl\"\nfolder = \"data\"\nempty_completion = \"refuse\"\n",
    };
    let recipe = format!(
        "seed = 1\n[model]\nkind = \"folder\"\npath = \"base\"\n\
         [data]\n{data}\
         [truncation]\nmax_length = 64\nmax_prompt_length = 48\n[objective]\nkind = \"dpo\"\nbeta = 0.1\n\
         [latent]\n{latent}[training]\ndtype = \"f32\"\nepochs = 1\nbatch_size = 4\nmicro_batch_size = 4\nlearning_rate = 1e-2\n\
         warmup_ratio = 0.1\nweight_decay = 0.0\nadam_beta1 = 0.9\nadam_beta2 = 0.95\nadam_epsilon = 1e-8\n\
         max_grad_norm = 1.0\nrecompute = false\ncheckpoint_every = 16\n[evaluation]\nlatent = \"mean\"\n"
    );
    lpc.write("recipe.toml", recipe);
    let text = lpc.ok(&["train", "recipe.toml"]);
    lpc.path(text.lines().find_map(|line| line.strip_prefix("run: ")).unwrap())
}

/// Logits at every position, with the prompt's latent and without.
fn logits(run: &Path, ids: &[u32]) -> [Tensor; 2] {
    let (recipe, _, policy) = saved::load(run, &Device::Cpu).unwrap();
    let hidden = policy.hidden(&TokenRows::new(vec![Row::causal(ids)])).unwrap();
    let head = policy.decoder.lm_head().t().unwrap();
    let prompt = hidden.narrow(0, ids.len() - 1, 1).unwrap();
    // The card's, for a policy that is told a prompt's factors.
    let weights = Tensor::ones((1, FACTORS), DType::F32, &Device::Cpu).unwrap();
    let biased = match prior_latent(&recipe, &policy, &prompt, Some(&weights), 0, std::iter::empty()).unwrap()
    {
        Some(PriorLatent::Latent(latent)) => hidden.broadcast_add(&latent).unwrap(),
        None | Some(PriorLatent::Mixture(_)) => hidden.clone(),
    };
    [biased, hidden].map(|states| states.matmul(&head).unwrap())
}

fn values(logits: &Tensor) -> Vec<Vec<f32>> {
    logits.to_dtype(DType::F32).unwrap().to_device(&Device::Cpu).unwrap().to_vec2().unwrap()
}

/// Largest difference allowed to PyTorch, in logits of size 10; measured: below 4e-5.
const TOLERANCE: f64 = 1e-4;

#[test]
fn the_cards_python_gives_our_logits() {
    let cases =
        [(tiny::config(), Some(tiny::TEMPLATE), LATENT), (tiny_files::variants().remove(1), None, LATENT)]
            .into_iter()
            .chain([(tiny_files::variants().remove(2), Some(tiny::TEMPLATE), "mode = \"none\"\n")])
            .chain([(tiny_files::variants().remove(3), None, LATENT)])
            .chain([CONTROL, GAUSSIAN, TOLD].map(|latent| (tiny::config(), Some(tiny::TEMPLATE), latent)));
    let reading = |latent: &str, input: &str| format!("{latent}heads_input = \"{input}\"\n");
    let read = [reading(LATENT, "whitened"), reading(CONTROL, "centred"), reading(GAUSSIAN, "whitened")];
    let read = read.iter().map(|latent| (tiny::config(), Some(tiny::TEMPLATE), latent.as_str()));
    for (config, template, latent) in cases.chain(read) {
        let lpc = Lpc::new();
        published(&lpc, &config, template);
        let run = train(&lpc, latent);
        if latent.contains("heads_input") {
            check_statistics(&lpc.path("base"), &lpc.read("data/train.jsonl"), &run);
        }
        let model = run.join("model");
        let card = fs::read_to_string(model.join("README.md")).unwrap();
        let used_lines =
            card.split("```python\n").nth(1).unwrap().split("```").next().unwrap().lines().count();
        assert!(used_lines <= 15, "{used_lines} lines, imports and generation included");
        for text in [
            "license: apache-2.0",
            "| `test_accuracy` |",
            "20 training and 6 test pairs, 5 steps",
            "kind = \"dpo\"",
        ] {
            assert!(card.contains(text), "{card}\n{text}");
        }
        let plain = latent.contains("none");
        assert_eq!(model.join("lpc_config.json").is_file(), !plain);
        assert_eq!(model.join("lpc.safetensors").is_file(), !plain);

        let loaded = huggingface::load(&model).unwrap();
        let prompt = "Why is the sky blue?";
        let ids = lpc::data::tokenize::tokenize_prompt(prompt, &loaded.tokenizer).unwrap();
        let [biased, bare] = logits(&run, &ids);
        // Five steps moved the decoder, and the latent moves its logits.
        let base = huggingface::load(&lpc.path("base")).unwrap();
        assert_ne!(
            bits(&base.tensors().unwrap()["model.norm.weight"]),
            bits(&loaded.tensors().unwrap()["model.norm.weight"])
        );
        assert_eq!(values(&biased) == values(&bare), plain);
        check_reach(&run, &loaded.config);
        let Some(python) = std::env::var_os("LPC_PYTHON") else {
            println!("skipped: LPC_PYTHON names no Python with transformers");
            continue;
        };
        let expected =
            json!({"ids": ids, "logits": values(&biased), "plain": values(&bare), "tolerance": TOLERANCE});
        let expected = lpc.write("expected.json", expected.to_string());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/check_card.py");
        let output = Command::new(python).arg(script).arg(&model).arg(expected).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        println!("{said}");
    }
}

/// No weight of the heads is further from where it began than the learning rate lets it.
fn check_reach(run: &Path, config: &DecoderConfig) {
    let recipe = Recipe::read(&run.join("recipe.toml")).unwrap();
    let reach = furthest(&recipe.training, recipe.training.learning_rate, 5);
    for (name, before) in drawn_heads(&recipe, config).unwrap().tensors() {
        let after =
            &candle_core::safetensors::load(run.join("model/lpc.safetensors"), &Device::Cpu).unwrap()[&name];
        let moved = (after - before).unwrap().abs().unwrap().flatten_all().unwrap();
        let moved = moved.max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(f64::from(moved) <= reach * (1.0 + 1e-4), "{name}: {moved} of {reach}");
        // Five steps of one gradient come near it.
        assert!(name != "lpc.codebook" || f64::from(moved) > 0.3 * reach, "{name}: {moved} of {reach}");
    }
}

/// A saved latent's statistics are those of the base model's last states of the training prompts, by `spec`: training
/// moved the decoder, not them.
fn check_statistics(base: &Path, pairs: &str, run: &Path) {
    let base = huggingface::load(base).unwrap();
    let policy = reference_policy(&base, Precision::F32, &Device::Cpu).unwrap();
    let state = |pair: &str| -> Vec<f64> {
        let pair: Value = serde_json::from_str(pair).unwrap();
        let prompt = pair["prompt"].as_str().unwrap();
        let ids = lpc::data::tokenize::tokenize_prompt(prompt, &base.tokenizer).unwrap();
        let hidden = policy.hidden(&TokenRows::new(vec![Row::causal(&ids)])).unwrap();
        let last = hidden.narrow(0, ids.len() - 1, 1).unwrap().to_dtype(DType::F64).unwrap();
        last.flatten_all().unwrap().to_vec1().unwrap()
    };
    let states: Vec<Vec<f64>> = pairs.lines().map(state).collect();
    let d = states[0].len();
    let states = ndarray::Array2::from_shape_vec((states.len(), d), states.concat()).unwrap();
    let (mean, covariance) = lpc::spec::heads_input::moments(&states).unwrap();
    let heads = candle_core::safetensors::load(run.join("model/lpc.safetensors"), &Device::Cpu).unwrap();
    let numbers = |name: &str| heads.get(name).map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let close = |got: Vec<f32>, expected: Vec<f64>| {
        let size = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (g, e) in got.iter().zip(&expected) {
            assert!((f64::from(*g) - e).abs() < 1e-3 * size, "{g} {e}");
        }
        assert_eq!(got.len(), expected.len());
    };
    close(numbers("lpc.input.prompt.mean").unwrap(), mean.to_vec());
    if let Some(matrix) = numbers("lpc.input.prompt.matrix") {
        let expected = lpc::spec::heads_input::whitening(&covariance, lpc::latent::RIDGE).unwrap();
        close(matrix, expected.into_iter().collect());
    }
}

#[test]
fn an_index_cannot_point_out_of_its_folder() {
    let config = tiny::config();
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside.safetensors");
    let model = folder.path().join("model");
    tiny::save(&model, &config, None);
    fs::rename(model.join("model.safetensors"), &outside).unwrap();
    for name in [
        "../outside.safetensors",
        outside.to_str().unwrap(),
        "a/../../outside.safetensors",
        ".hidden.safetensors",
        "..\\outside.safetensors",
    ] {
        let map: serde_json::Map<String, Value> =
            config.parameter_shapes().map(|(tensor, _)| (tensor, name.into())).collect();
        fs::write(model.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string())
            .unwrap();
        let text = message(huggingface::load(&model));
        assert!(text.contains("expected names of safetensors files in this folder"), "{text}");
    }
}
