//! The splitting rules that a GGUF file only names, against llama.cpp (fixtures/loading/generate.py).

use crate::tiny;
use crate::tiny_files;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use lpc::model::config::DecoderConfig;
use lpc::model::load::gguf;
use serde_json::Value as Json;

fn strings(json: &Json) -> Vec<String> {
    json.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_string()).collect()
}

#[test]
fn token_ids_are_those_of_llama_cpp() {
    let fixture: Json = serde_json::from_str(include_str!("../../fixtures/loading/splitting.json")).unwrap();
    let array = |json: &Json| Value::Array(strings(json).into_iter().map(Value::String).collect());
    let config = DecoderConfig { vocab_size: strings(&fixture["tokens"]).len(), ..tiny::config() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    let rules = fixture["expected"].as_object().unwrap();
    assert_eq!(rules.len(), 3);
    for (pre, expected) in rules {
        let metadata: Vec<(&str, Value)> = tiny_files::metadata(&config)
            .into_iter()
            .map(|(key, value)| match key {
                "tokenizer.ggml.pre" => (key, Value::String(pre.clone())),
                "tokenizer.ggml.tokens" => (key, array(&fixture["tokens"])),
                "tokenizer.ggml.merges" => (key, array(&fixture["merges"])),
                _ => (key, value),
            })
            .collect();
        tiny_files::write_gguf(&path, &config, &tiny::weights(&config, 1), &metadata, GgmlDType::F32);
        let tokenizer = gguf::load(&path).unwrap().tokenizer;
        for (text, expected) in strings(&fixture["texts"]).iter().zip(expected.as_array().unwrap()) {
            let ids: Vec<u32> = serde_json::from_value(expected.clone()).unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids, "{pre}: {text:?}");
            let text_ids = ids.strip_prefix(&[0]).filter(|_| pre == "llama-bpe").unwrap_or(&ids);
            assert_eq!(tokenizer.decode(text_ids, false).unwrap(), *text);
        }
    }
}
