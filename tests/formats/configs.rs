//! Folders that state a fact twice, as `transformers` reads them (fixtures/loading/generate_configs.py).

use crate::message::message;
use crate::support::json;
use crate::tiny;
use crate::transformers::{ids, logits, weight};
use lpc::Result;
use lpc::model::config::DecoderConfig;
use lpc::model::decoder::Decoder;
use lpc::model::load::{Loaded, huggingface};
use lpc::model::parameters::Parameters;
use lpc::model::rows::{Row, TokenRows};
use lpc::model::save::{save, save_weights};
use lpc::passes::Passes;
use lpc::passes::fused::Fused;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Writes a case's folder. A file that is refused is not asked for its shapes.
fn write(folder: &Path, case: &Value, plain: &DecoderConfig) {
    tiny::tokenizer(None).save(folder).unwrap();
    fs::write(folder.join("config.json"), case["config"].as_str().unwrap()).unwrap();
    let config = huggingface::load_config(folder).unwrap_or(plain.clone());
    let config = DecoderConfig { tie_word_embeddings: false, ..config };
    let tensors = config.parameter_shapes().filter_map(|(name, shape)| {
        let same = name == "lm_head.weight" && case["name"].as_str().unwrap().contains("same head");
        let source = if same { "model.embed_tokens.weight" } else { &name };
        let tensor = weight(source, &shape);
        case["tensors"].as_array().unwrap().contains(&name.clone().into()).then_some((name, tensor))
    });
    save_weights(folder, tensors.collect(), usize::MAX).unwrap();
}

/// Logits after the text.
fn last_logits(loaded: &Loaded, text: &[u32]) -> Vec<f32> {
    let parameters = Parameters::from_tensors(&*loaded.tensors().unwrap()).unwrap();
    let decoder = Decoder::new(&loaded.config, &parameters, lpc::config::Precision::F32).unwrap();
    let hidden = Fused.hidden(&decoder, &TokenRows::new(vec![Row::causal(text)])).unwrap();
    logits(&decoder, &hidden).pop().unwrap()
}

fn log_sum(logits: &[f32]) -> f64 {
    logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln()
}

/// Largest difference allowed in logits of size 3, f32 on both sides; measured: below 6e-6.
const TOLERANCE: f64 = 2e-5;

#[test]
fn transformers_decides() {
    let file = json("configs.json");
    let text = ids(&file["text"]);
    let plain = tempfile::tempdir().unwrap();
    fs::write(plain.path().join("config.json"), file["models"][0]["config"].as_str().unwrap()).unwrap();
    let plain = huggingface::load_config(plain.path()).unwrap();
    let (mut read, mut refused) = (0, 0);
    for case in file["models"].as_array().unwrap() {
        let (name, folder) = (case["name"].as_str().unwrap(), tempfile::tempdir().unwrap());
        write(folder.path(), case, &plain);
        let loaded: Result<Loaded> = huggingface::load(folder.path());
        let Some(expected) = case["logits"].as_array() else {
            let text = message(loaded);
            let named = text.contains("config.json: field `") || text.contains("lm_head.weight");
            assert!(named && text.contains("expected") && text.contains("got"), "{name}: {text}");
            refused += 1;
            continue;
        };
        read += 1;
        let loaded = loaded.unwrap_or_else(|e| panic!("{name}: {e}"));
        let ours = last_logits(&loaded, &text);
        let (sum, first) = expected.split_last().unwrap();
        let differences = first.iter().zip(&ours).map(|(a, &b)| (a.as_f64().unwrap() - f64::from(b)).abs());
        let worst = differences.fold((sum.as_f64().unwrap() - log_sum(&ours)).abs(), f64::max);
        println!("{name}: largest difference {worst:.1e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");

        // What is saved states every fact once, and is the same model to either reader.
        let again = tempfile::tempdir().unwrap();
        save(again.path(), &loaded.config, &loaded.tensors().unwrap(), &loaded.tokenizer).unwrap();
        let saved = huggingface::load(again.path()).unwrap();
        assert_eq!(saved.config, loaded.config, "{name}");
        assert_eq!(last_logits(&saved, &text), ours, "{name}");
        let bytes = fs::read(again.path().join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let config: Value =
            serde_json::from_slice(&fs::read(again.path().join("config.json")).unwrap()).unwrap();
        let separate = tensors.names().contains(&"lm_head.weight");
        assert_eq!(config["tie_word_embeddings"], !separate, "{name}");
        assert_eq!(separate, !name.starts_with("tied") || name.contains("another"), "{name}");
    }
    assert_eq!((read, refused), (37, 15));
}

/// The tokenizer's own end token, then what `generate` stops at.
#[test]
fn ends_of_a_generation() {
    let cases = json("configs.json")["stops"].take();
    for case in cases.as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        tiny::tokenizer(None).save(folder.path()).unwrap();
        fs::write(folder.path().join("config.json"), case["config"].as_str().unwrap()).unwrap();
        if case["generation"].is_object() {
            fs::write(folder.path().join("generation_config.json"), case["generation"].to_string()).unwrap();
        }
        let tokenizer = huggingface::load_tokenizer(folder.path()).unwrap();
        assert_eq!(tokenizer.eos_ids(), [vec![1], ids(&case["stops"])].concat(), "{case}");
    }
    assert_eq!(cases.as_array().unwrap().len(), 24);
}
