//! Logits, greedy generations, tokens and renderings, as `transformers` has them
//! (fixtures/loading/generate_transformers.py).

use crate::support::json;
use crate::tiny;
use candle_core::{Device, Tensor};
use lpc::files::write_json;
use lpc::model::decoder::Decoder;
use lpc::model::load::{gguf, huggingface};
use lpc::model::parameters::Parameters;
use lpc::model::rows::{Row, TokenRows};
use lpc::model::save::save_weights;
use lpc::passes::Passes;
use lpc::passes::cached::{Extension, Inference, KvCache};
use lpc::passes::fused::Fused;
use lpc::text::chat_template::Conversation;
use lpc::text::message::Message;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// As `weight` of the generator computes it.
pub fn weight(name: &str, shape: &[usize]) -> Tensor {
    let start = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let value = |i: usize| {
        let mut z = start.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32 - 0.5;
        if shape.len() == 1 { 1.0 + unit * 0.25 } else { unit }
    };
    Tensor::from_vec((0..shape.iter().product()).map(value).collect::<Vec<f32>>(), shape, &Device::Cpu)
        .unwrap()
}

pub fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

pub fn logits(decoder: &Decoder, hidden: &Tensor) -> Vec<Vec<f32>> {
    hidden.matmul(&decoder.lm_head().t().unwrap()).unwrap().to_vec2().unwrap()
}

fn greedy(decoder: &Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    let inference = Inference::new(&Fused, decoder).unwrap();
    let mut cache = KvCache::default();
    let (mut new, mut next) = (vec![], prompt.to_vec());
    while new.len() < count {
        let mut extension = [Extension { behind: vec![], cache: &mut cache, tokens: &next }];
        let hidden = inference.extend(&mut extension).unwrap();
        let last = logits(decoder, &hidden).pop().unwrap();
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap() as u32;
        new.push(best);
        next = vec![best];
    }
    new
}

/// Largest difference allowed in logits of size 3, f32 on both sides; measured: below 6e-6.
const TOLERANCE: f32 = 2e-5;

#[test]
fn tiny_models() {
    for case in json("transformers.json")["models"].as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        tiny::tokenizer(None).save(folder.path()).unwrap();
        write_json(&folder.path().join("config.json"), &case["config"]).unwrap();
        // The shapes come from the configuration that `transformers` wrote.
        let config = huggingface::load_config(folder.path()).unwrap();
        let tensors =
            config.parameter_shapes().map(|(name, shape)| (name.clone(), weight(&name, &shape))).collect();
        save_weights(folder.path(), tensors, 40_000).unwrap();
        let loaded = huggingface::load(folder.path()).unwrap();
        let decoder = Decoder::new(
            &loaded.config,
            &Parameters::from_tensors(&*loaded.tensors().unwrap()).unwrap(),
            lpc::config::Precision::F32,
        )
        .unwrap();

        let prompt = ids(&case["ids"]);
        let hidden = Fused.hidden(&decoder, &TokenRows::new(vec![Row::causal(&prompt)])).unwrap();
        let ours = logits(&decoder, &hidden);
        let mut worst: f32 = 0.0;
        for (position, expected) in
            ids(&case["positions"]).into_iter().zip(case["logits"].as_array().unwrap())
        {
            let expected: Vec<f32> = serde_json::from_value(expected.clone()).unwrap();
            assert_eq!(ours[position as usize].len(), expected.len());
            for (a, b) in ours[position as usize].iter().zip(expected) {
                worst = worst.max((a - b).abs());
            }
        }
        println!("{}: largest difference {worst:.1e}", case["name"]);
        assert!(worst <= TOLERANCE, "{}: {worst}", case["name"]);
        let expected = ids(&case["greedy"]);
        assert_eq!(greedy(&decoder, &prompt, expected.len()), expected, "{}", case["name"]);
    }
}

#[test]
fn tokens_and_renderings() {
    for case in json("transformers.json")["tokenizers"].as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        write_json(&folder.path().join("tokenizer.json"), &case["tokenizer"]).unwrap();
        write_json(&folder.path().join("tokenizer_config.json"), &case["config"]).unwrap();
        let read = huggingface::load_tokenizer(folder.path()).unwrap();
        // Also as we save it ourselves.
        let again = tempfile::tempdir().unwrap();
        read.save(again.path()).unwrap();
        for tokenizer in [&read, &huggingface::load_tokenizer(again.path()).unwrap()] {
            for text in case["texts"].as_array().unwrap() {
                let input = text["text"].as_str().unwrap();
                let what = format!("{}: {input:?}", case["name"]);
                let with_special = tokenizer.encode(input, true).unwrap();
                assert_eq!(with_special, ids(&text["ids"]), "{what}");
                assert_eq!(tokenizer.encode(input, false).unwrap(), ids(&text["bare"]), "{what}");
                assert_eq!(tokenizer.decode(&with_special, false).unwrap(), text["decoded"], "{what}");
                assert_eq!(tokenizer.decode(&with_special, true).unwrap(), text["without_special"], "{what}");
            }
            let template = tokenizer.chat_template().unwrap();
            for chat in case["chats"].as_array().unwrap() {
                let turns: Vec<(String, String)> = serde_json::from_value(chat["messages"].clone()).unwrap();
                let messages: Vec<Message> =
                    turns.iter().map(|(role, content)| Message::new(role, content.as_str())).collect();
                let rendered = template.render(Conversation::of(&messages), true).unwrap();
                assert_eq!(rendered, chat["rendered"], "{}", case["name"]);
                assert_eq!(
                    tokenizer.encode(&rendered, false).unwrap(),
                    ids(&chat["ids"]),
                    "{}",
                    case["name"]
                );
            }
        }
    }
}

/// SmolLM2 as `transformers` reads its GGUF file, where `LPC_SMOLLM2` names that.
#[test]
fn smollm2() {
    let Some(path) = std::env::var_os("LPC_SMOLLM2").map(PathBuf::from) else {
        return println!("skipped: LPC_SMOLLM2 names no GGUF file or wheel");
    };
    let loaded = gguf::load(Path::new(&path)).unwrap();
    let decoder = Decoder::new(
        &loaded.config,
        &Parameters::from_tensors(&*loaded.tensors().unwrap()).unwrap(),
        lpc::config::Precision::F32,
    )
    .unwrap();
    for case in json("smollm2_transformers.json").as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let prompt = loaded.tokenizer.encode(text, false).unwrap();
        assert_eq!(prompt, ids(&case["ids"]), "{text:?}");
        let hidden = Fused.hidden(&decoder, &TokenRows::new(vec![Row::causal(&prompt)])).unwrap();
        let last = logits(&decoder, &hidden).pop().unwrap();
        let mut worst: f32 = 0.0;
        for pair in case["top"].as_array().unwrap() {
            let (id, expected): (usize, f32) = serde_json::from_value(pair.clone()).unwrap();
            worst = worst.max((last[id] - expected).abs());
        }
        println!("{text:?}: largest difference {worst:.1e}");
        // Logits of size 20; measured: below 1e-4.
        assert!(worst <= 5e-4, "{text:?}: {worst}");
        let new = greedy(&decoder, &prompt, ids(&case["greedy"]).len());
        assert_eq!(new, ids(&case["greedy"]), "{text:?}");
        assert_eq!(loaded.tokenizer.decode(&new, false).unwrap(), case["text_after"]);
    }
}
