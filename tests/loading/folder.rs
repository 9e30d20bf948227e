use crate::allocations::largest;
use crate::message::message;
use crate::tiny;
use crate::tiny_files::{self, bits};
use candle_core::{DType, Device, Tensor};
use lpc::config::{ModelSource, Shape};
use lpc::data::tokenize::tokenize_prompt;
use lpc::experiment::trainable::fill;
use lpc::model::config::DecoderConfig;
use lpc::model::load::{huggingface, load};
use lpc::model::save::save;
use lpc::passes::gpu::{Gpu, Room};
use lpc::train::budget::FORMATS;
use safetensors::serialize_to_file;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

pub fn saved(config: &DecoderConfig) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::save(folder.path(), config, Some(tiny::TEMPLATE));
    folder
}

pub fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

fn remove(json: &mut Value, key: &str) {
    json.as_object_mut().unwrap().remove(key);
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    for config in tiny_files::variants() {
        let (first, second) = (saved(&config), saved(&config));
        let loaded = load(&ModelSource::Folder { path: first.path().into() }).unwrap();
        assert_eq!(loaded.config, config);
        let weights = tiny::weights(&config, 1);
        assert_eq!(loaded.tensors().unwrap().len(), weights.len());
        for (name, tensor) in weights {
            assert_eq!(loaded.tensors().unwrap()[&name].dims(), tensor.dims());
            assert_eq!(bits(&loaded.tensors().unwrap()[&name]), bits(&tensor), "{name}");
        }
        let (ours, theirs) = (&loaded.tokenizer, tiny::tokenizer(Some(tiny::TEMPLATE)));
        assert_eq!((ours.eos_ids(), ours.bos_id()), (theirs.eos_ids(), theirs.bos_id()));
        assert_eq!(ours.chat_template().unwrap().source(), tiny::TEMPLATE);
        for text in ["ab abab a b", "é</s>x", "  \n"] {
            let ids = ours.encode(text, true).unwrap();
            assert_eq!(ids, theirs.encode(text, true).unwrap());
            assert_eq!(ours.decode(&ids, false).unwrap(), text);
        }
        assert_eq!(loaded.fingerprint, huggingface::load(second.path()).unwrap().fingerprint);
        let left: Vec<_> = fs::read_dir(first.path()).unwrap().collect();
        assert_eq!(left.len(), 5, "temporary files stayed behind: {left:?}");
    }
}

#[test]
fn fingerprint_follows_every_file() {
    let folder = saved(&tiny::config());
    let before = huggingface::load(folder.path()).unwrap().fingerprint;
    for name in ["config.json", "tokenizer_config.json", "generation_config.json"] {
        edit(&folder.path().join(name), |json| json["note"] = "changed".into());
        let after = huggingface::load(folder.path()).unwrap().fingerprint;
        assert_ne!(before, after, "{name}");
    }
}

#[test]
fn save_refuses_what_is_not_the_decoder() {
    let config = tiny::config();
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tiny::tokenizer(None);
    let mut weights = tiny::weights(&config, 1);
    weights.insert("model.norm.weight".into(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    assert!(message(save(folder.path(), &config, &weights, &tokenizer)).contains("shape [64]"));
    weights.remove("model.norm.weight");
    assert!(
        message(save(folder.path(), &config, &weights, &tokenizer)).contains("model.norm.weight = nothing")
    );
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn built_in_world_is_not_a_file() {
    let message = message(load(&ModelSource::World { shape: Shape::Llama }));
    assert_eq!(message, "load: model.kind = world, expected a published model: gguf, folder or hub");
}

/// Splits the weights into two shards, one of them in another dtype.
fn shard(folder: &Path, config: &DecoderConfig, dtype: DType) {
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    let (mut parts, mut count) = ([Vec::new(), Vec::new()], 0);
    for (name, tensor) in tiny::weights(config, 1) {
        let part = count % 2;
        count += 1;
        map.insert(name.clone(), format!("part-{part}.safetensors").into());
        let tensor = if part == 0 { tensor } else { tensor.to_dtype(dtype).unwrap() };
        parts[part].push((name, tensor));
    }
    for (part, tensors) in parts.into_iter().enumerate() {
        serialize_to_file(tensors, None, &folder.join(format!("part-{part}.safetensors"))).unwrap();
    }
    fs::write(folder.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
}

#[test]
fn shards_and_half_precision() {
    let config = tiny::config();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let folder = saved(&config);
        shard(folder.path(), &config, dtype);
        let loaded = huggingface::load(folder.path()).unwrap();
        for (name, tensor) in tiny::weights(&config, 1) {
            let read = &loaded.tensors().unwrap()[&name];
            assert_eq!(read.dtype(), DType::F32);
            let rounded = tensor.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
            let read = bits(read);
            assert!(read == bits(&tensor) || read == bits(&rounded), "{dtype:?} {name}");
        }
    }
}

#[test]
fn index_cannot_leave_the_folder() {
    let config = tiny::config();
    let folder = saved(&config);
    shard(folder.path(), &config, DType::F32);
    let index = folder.path().join("model.safetensors.index.json");
    for shard in [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "..\\x.safetensors",
        "x\n.safetensors",
        "x.bin",
        "",
    ] {
        edit(&index, |json| json["weight_map"]["model.norm.weight"] = shard.into());
        let message = message(huggingface::load(folder.path()));
        assert!(message.contains("weight_map") && message.contains("in this folder"), "{message}");
    }
    edit(&index, |json| json["weight_map"]["model.norm.weight"] = "gone.safetensors".into());
    assert!(message(huggingface::load(folder.path())).contains("expected gone.safetensors"));
    edit(&index, |json| json["weight_map"] = json!({}));
    assert!(message(huggingface::load(folder.path())).contains("weight_map"));
}

#[test]
fn missing_files_are_named_with_their_folder() {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = saved(&tiny::config());
        fs::remove_file(folder.path().join(name)).unwrap();
        let message = message(huggingface::load(folder.path()));
        let expected =
            format!("{}: expected {name}, got no such file in the folder", folder.path().display());
        assert_eq!(message, expected);
    }
    let folder = saved(&tiny::config());
    for name in ["generation_config.json", "tokenizer_config.json"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let loaded = huggingface::load(folder.path()).unwrap();
    assert_eq!((loaded.tokenizer.eos_ids(), loaded.tokenizer.bos_id()), (&[1][..], Some(0)));
    assert!(loaded.tokenizer.chat_template().is_none());
    assert!(message(huggingface::load(&folder.path().join("no"))).contains("no such folder"));

    fs::rename(folder.path().join("model.safetensors"), folder.path().join("pytorch_model.bin")).unwrap();
    assert!(message(huggingface::load(folder.path())).contains("save_pretrained"));
}

#[test]
fn configurations_that_are_refused() {
    let cases: [(&str, Value, &str); 19] = [
        ("architectures", json!(["GPT2LMHeadModel"]), "LlamaForCausalLM or MistralForCausalLM"),
        ("architectures", json!(["LlamaForCausalLM", "Other"]), "LlamaForCausalLM or MistralForCausalLM"),
        ("model_type", json!("gpt2"), "llama or mistral"),
        ("attention_bias", json!(true), "biases"),
        ("mlp_bias", json!(true), "biases"),
        ("hidden_act", json!("gelu"), "silu"),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("quantization_config", json!({"bits": 4}), "quantised"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "llama3 or default"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "rope_scaling.low_freq_factor"),
        (
            "rope_scaling",
            json!({"rope_type": "default", "partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        ("rope_parameters", json!({"full_attention": {"rope_theta": 5.0}}), "rope_parameters.full_attention"),
        ("hidden_size", json!("64"), "`hidden_size`: expected a size, got \"64\""),
        ("hidden_size", json!(-1), "`hidden_size`: expected a size, got -1"),
        ("hidden_size", json!(0), "hidden_size"),
        ("num_hidden_layers", json!(1u64 << 60), "num_hidden_layers"),
        ("num_attention_heads", json!(0), "num_attention_heads"),
        ("vocab_size", json!(100), "lm_head.weight"),
        ("rms_norm_eps", json!(0.0), "rms_norm_eps"),
    ];
    let folder = saved(&tiny::config());
    let path = folder.path().join("config.json");
    let good = fs::read(&path).unwrap();
    for (key, value, expected) in cases {
        fs::write(&path, &good).unwrap();
        edit(&path, |json| json[key] = value.clone());
        let (result, allocation) = largest(|| huggingface::load(folder.path()));
        let message = message(result);
        assert!(message.contains(expected), "{key} = {value}: {message}");
        assert!(allocation < 8 << 20, "{key} = {value}: {allocation} bytes");
    }
    for broken in ["", "[]", "{\"hidden_size\": 1e999}", "{", "\u{0}"] {
        fs::write(&path, broken).unwrap();
        assert!(message(huggingface::load(folder.path())).contains("config.json"));
    }
}

/// What absent keys mean, from the defaults of `LlamaConfig` and `MistralConfig`.
#[test]
fn defaults_of_absent_keys() {
    let with_window = DecoderConfig { sliding_window: Some(16), num_key_value_heads: 4, ..tiny::config() };
    let keys = ["head_dim", "rope_theta", "rope_scaling", "max_position_embeddings", "tie_word_embeddings"];
    for (config, window, positions, eps) in [
        (DecoderConfig { num_key_value_heads: 4, ..tiny::config() }, None, 2048, 1e-6),
        (with_window, Some(4096), 131_072, 1e-6),
    ] {
        let folder = saved(&config);
        edit(&folder.path().join("config.json"), |json| {
            for key in
                keys.into_iter().chain(["sliding_window", "rms_norm_eps", "hidden_act", "attention_bias"])
            {
                remove(json, key);
            }
            if window.is_none() {
                remove(json, "num_key_value_heads");
            }
        });
        let loaded = huggingface::load(folder.path()).unwrap().config;
        let expected = DecoderConfig {
            sliding_window: window,
            max_position_embeddings: positions,
            rms_norm_eps: eps,
            ..config
        };
        assert_eq!(loaded, expected);
    }
}

#[test]
fn newer_rope_parameters() {
    let config = tiny_files::variants().into_iter().find(|c| c.rope_scaling.is_some()).unwrap();
    let folder = saved(&config);
    edit(&folder.path().join("config.json"), |json| {
        let mut rope = json["rope_scaling"].take();
        rope["rope_theta"] = json["rope_theta"].take();
        remove(json, "rope_scaling");
        remove(json, "rope_theta");
        json["rope_parameters"] = rope;
    });
    assert_eq!(huggingface::load(folder.path()).unwrap().config, config);
    edit(&folder.path().join("config.json"), |json| {
        json["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 7.0})
    });
    let loaded = huggingface::load(folder.path()).unwrap().config;
    assert_eq!((loaded.rope_scaling, loaded.rope_theta), (None, 7.0));
}

#[test]
fn end_tokens_and_templates() {
    let folder = saved(&tiny::config());
    let path = |name: &str| folder.path().join(name);
    edit(&path("generation_config.json"), |json| json["eos_token_id"] = json!([7, 1]));
    edit(&path("tokenizer_config.json"), |json| {
        json["eos_token"] = json!({"content": "</s>", "special": true});
        json["chat_template"] =
            json!([{"name": "tool", "template": "a"}, {"name": "default", "template": "b"}]);
    });
    let tokenizer = huggingface::load(folder.path()).unwrap().tokenizer;
    assert_eq!((tokenizer.eos_ids(), tokenizer.eos_id()), (&[1, 7][..], 1));
    assert_eq!(tokenizer.chat_template().unwrap().source(), "b");
    fs::write(path("chat_template.jinja"), "c").unwrap();
    assert_eq!(huggingface::load(folder.path()).unwrap().tokenizer.chat_template().unwrap().source(), "c");
    fs::write(path("chat_template.jinja"), "{% for").unwrap();
    // Only what needs the template is stopped by one that does not parse.
    let tokenizer = huggingface::load(folder.path()).unwrap().tokenizer;
    assert!(message(tokenize_prompt("hi", &tokenizer)).contains("a template that parses"));
    fs::remove_file(path("chat_template.jinja")).unwrap();

    for name in ["generation_config.json", "config.json", "tokenizer_config.json"] {
        edit(&path(name), |json| {
            remove(json, "eos_token_id");
            remove(json, "eos_token");
        });
    }
    assert!(message(huggingface::load(folder.path())).contains("at least one end-of-sequence token"));
    edit(&path("config.json"), |json| json["eos_token_id"] = 9999.into());
    assert!(message(huggingface::load(folder.path())).contains("an id of the vocabulary"));
    fs::write(path("tokenizer.json"), "{\"model\": {}}").unwrap();
    assert!(message(huggingface::load(folder.path())).contains("tokenizer.json"));
}

/// Brackets to no end, alone or where a tokenizer has something: refused at once, in little memory.
#[test]
fn nested_tokenizers() {
    let folder = saved(&tiny::config());
    let path = folder.path().join("tokenizer.json");
    for (begin, bracket) in
        [("", "["), ("", "{\"a\":"), ("{\"model\":", "["), ("{\"added_tokens\":[{\"id\":", "[")]
    {
        let nested = format!("{begin}{}", bracket.repeat((100 << 20) / bracket.len()));
        fs::write(&path, nested).unwrap();
        let start = std::time::Instant::now();
        let (result, allocation) = largest(|| huggingface::load_tokenizer(folder.path()));
        let message = message(result);
        assert!(message.contains("tokenizer.json: expected a tokenizer"), "{message}");
        assert!(allocation <= 101 << 20, "{allocation} bytes");
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    }
}

#[test]
fn hostile_safetensors() {
    let config = tiny::config();
    let folder = saved(&config);
    let path = folder.path().join("model.safetensors");
    let good = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let (result, allocation) = largest(|| huggingface::load(folder.path()));
        let message = message(result);
        assert!(message.contains("model.safetensors"), "{what}: {message}");
        assert!(allocation < 8 << 20, "{what}: {allocation} bytes");
    };
    for part in 0..50 {
        check(&good[..good.len() * part / 50], "a truncation");
    }
    for lie in [u64::MAX, 1 << 40, good.len() as u64, 0, length as u64 - 1] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&lie.to_le_bytes());
        check(&bytes, "a lying header length");
    }
    let header: Value = serde_json::from_slice(&good[8..8 + length]).unwrap();
    let with_header = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        let mut text = header.to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text, &good[8 + length..]].concat()
    };
    let norm = "model.norm.weight";
    check(&with_header(&|h| h[norm]["data_offsets"] = json!([0, 256])), "overlapping offsets");
    check(&with_header(&|h| h[norm]["data_offsets"] = json!([0, u64::MAX])), "offsets past the end");
    check(&with_header(&|h| h[norm]["data_offsets"] = json!([256, 0])), "reversed offsets");
    check(&with_header(&|h| h[norm]["shape"] = json!([1u64 << 40, 1u64 << 40])), "an overflowing shape");
    check(&with_header(&|h| h[norm]["shape"] = json!([8, 8])), "another shape");
    check(&with_header(&|h| h[norm]["dtype"] = json!("I32")), "another dtype");
    check(&with_header(&|h| h["model.norm.bias"] = h[norm].take()), "another tensor");
    check(&with_header(&|h| remove(h, norm)), "a hole");
    let mut rng = lpc::seed::stream(4, "flips");
    for _ in 0..300 {
        let mut bytes = good.clone();
        let at = lpc::seed::below(&mut rng, 8 + length);
        bytes[at] ^= 1 << lpc::seed::below(&mut rng, 8);
        fs::write(&path, &bytes).unwrap();
        let (result, allocation) = largest(|| huggingface::load(folder.path()));
        assert!(allocation < 8 << 20);
        if result.is_err() {
            message(result);
        }
    }
}

#[test]
fn missing_and_foreign_tensors() {
    let config = tiny::config();
    let folder = saved(&config);
    let write = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let mut weights = tiny::weights(&config, 1);
        change(&mut weights);
        serialize_to_file(weights, None, &folder.path().join("model.safetensors")).unwrap();
        huggingface::load(folder.path())
    };
    let some = || Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    assert!(message(write(&|w| drop(w.remove(name)))).contains(name));
    let bias = "model.layers.0.self_attn.q_proj.bias";
    assert!(message(write(&|w| drop(w.insert(bias.into(), some())))).contains(bias));
    let name = "a\n\u{1b}".repeat(1000);
    assert!(message(write(&|w| drop(w.insert(name.clone(), some())))).len() < 1000);
    let derived = "model.layers.0.self_attn.rotary_emb.inv_freq";
    assert!(write(&|w| drop(w.insert(derived.into(), some()))).is_ok());
}

/// Weights stay in their files: what is written there after its content was hashed is not read as it.
#[test]
fn files_that_change_under_a_model() {
    let config = tiny::config();
    let folder = saved(&config);
    let opened = huggingface::open(folder.path()).unwrap();
    let norm = |weights: &HashMap<String, Tensor>| bits(&weights["model.norm.weight"]);
    let expected = tiny::weights(&config, 1).into_iter().collect();
    assert_eq!(norm(&opened.tensors().unwrap()), norm(&expected));
    let path = folder.path().join("model.safetensors");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(9)).unwrap();
    assert!(message(opened.tensors().map(|_| ())).contains("written since"));
}

/// The same numbers in flat memory and in tensors.
#[test]
fn drawn_weights_are_one_model() {
    let config = tiny::config();
    let folder = saved(&config);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let drawn = huggingface::draw(folder.path(), 3).unwrap();
    let room = Room { tokens: 4, row: 4, scores: 1 };
    let gpu = Gpu::new(&lpc::machine::device::Device::host(), &config, FORMATS[3], room).unwrap();
    fill(&gpu.weights, &drawn).unwrap();
    for (name, tensor) in drawn.tensors().unwrap().iter() {
        let numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        assert!(gpu.weights.get(name).unwrap() == numbers, "{name}");
    }
    assert_ne!(drawn.fingerprint, huggingface::draw(folder.path(), 4).unwrap().fingerprint);
}
