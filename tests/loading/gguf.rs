use crate::allocations::largest;
use crate::message::message;
use crate::tiny;
use crate::tiny_files::{self, bits};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, quantized_llama};
use lpc::model::config::DecoderConfig;
use lpc::model::load::{Loaded, gguf};
use rand::Rng;
use std::fs;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

fn tiny_file(folder: &Path, config: &DecoderConfig, dtype: GgmlDType) -> PathBuf {
    let path = folder.join("tiny.gguf");
    tiny_files::write_gguf(&path, config, &tiny::weights(config, 1), &tiny_files::metadata(config), dtype);
    path
}

/// Logits after the last token, by candle's unquantised Llama on the loaded weights.
pub fn llama_logits(loaded: &Loaded, ids: &[u32]) -> Vec<f32> {
    let c = &loaded.config;
    assert_eq!(c.head_dim * c.num_attention_heads, c.hidden_size, "candle's Llama derives the head's size");
    let config = llama::Config {
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        vocab_size: c.vocab_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        num_key_value_heads: c.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: c.rms_norm_eps,
        rope_theta: c.rope_theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: c.max_position_embeddings,
        tie_word_embeddings: c.tie_word_embeddings,
    };
    let device = Device::Cpu;
    let builder = VarBuilder::from_tensors(loaded.tensors().unwrap().into_owned(), DType::F32, &device);
    let model = llama::Llama::load(builder, &config).unwrap();
    let mut cache = llama::Cache::new(false, DType::F32, &config, &device).unwrap();
    let input = Tensor::new(ids, &device).unwrap().unsqueeze(0).unwrap();
    model.forward(&input, 0, &mut cache).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The same by candle's own reading of the file, which rotates interleaved pairs.
pub fn quantized_llama_logits(file: &mut (impl Read + Seek), ids: &[u32]) -> Vec<f32> {
    let content = Content::read(file).unwrap();
    let mut model = quantized_llama::ModelWeights::from_gguf(content, file, &Device::Cpu).unwrap();
    let input = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    model.forward(&input, 0).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn f32_file_gives_back_the_weights_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    for tie_word_embeddings in [false, true] {
        let config = DecoderConfig { tie_word_embeddings, ..tiny::config() };
        let loaded = gguf::load(&tiny_file(folder.path(), &config, GgmlDType::F32)).unwrap();
        assert_eq!(loaded.config, config);
        let weights = tiny::weights(&config, 1);
        assert_eq!(loaded.tensors().unwrap().len(), weights.len());
        for (name, tensor) in weights {
            assert_eq!(bits(&loaded.tensors().unwrap()[&name]), bits(&tensor), "{name}");
        }
        let (ours, theirs) = (&loaded.tokenizer, tiny::tokenizer(Some(tiny::TEMPLATE)));
        for text in ["ab abab a b", "é</s>x", "  \n"] {
            assert_eq!(ours.encode(text, true).unwrap(), theirs.encode(text, true).unwrap(), "{text:?}");
        }
        assert_eq!((ours.eos_ids(), ours.bos_id()), (&[1][..], Some(0)));
        assert_eq!(ours.chat_template().unwrap().source(), tiny::TEMPLATE);
    }
}

/// Rotation by pairs (i, i + d/2) on our weights against pairs (2i, 2i + 1) on the file's.
#[test]
fn query_and_key_order_agrees_with_quantized_llama() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny::config();
    let path = tiny_file(folder.path(), &config, GgmlDType::F32);
    let loaded = gguf::load(&path).unwrap();
    for ids in [&[5, 9, 2, 77, 8, 130][..], &[3, 4], &[200, 13, 13, 13, 50, 51, 52, 53, 54]] {
        let (ours, theirs) =
            (llama_logits(&loaded, ids), quantized_llama_logits(&mut fs::File::open(&path).unwrap(), ids));
        let spread = ours.iter().fold(0f32, |m, x| m.max(x.abs()));
        // Both in f32 with other orders of summation; measured 1e-5 on logits up to 7.
        let difference = largest_difference(&ours, &theirs);
        assert!(difference < 1e-4, "{difference} on logits up to {spread}");
        println!("largest difference {difference} on logits up to {spread}");
        assert!(spread > 1.0);
    }
}

#[test]
fn quantised_file_is_near_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny::config();
    // Q8_0 keeps blocks of 32 with a step of max/127, Q4_1 a step of range/15: half a step each.
    for (dtype, bound) in [(GgmlDType::Q8_0, 0.5 / 127.0 + 1e-3), (GgmlDType::Q4_1, 1.0 / 15.0 + 1e-3)] {
        let path = tiny_file(folder.path(), &config, dtype);
        let loaded = gguf::load(&path).unwrap();
        for (name, tensor) in tiny::weights(&config, 1) {
            let exact: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            let read: Vec<f32> = loaded.tensors().unwrap()[&name].flatten_all().unwrap().to_vec1().unwrap();
            let largest = exact.iter().fold(0f32, |m, x| m.max(x.abs()));
            let difference = largest_difference(&exact, &read);
            assert!(difference <= bound * largest, "{dtype:?} {name}: {difference} of {largest}");
        }
    }
}

#[test]
fn truncations_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(tiny_file(folder.path(), &tiny::config(), GgmlDType::Q8_0)).unwrap();
    let path = folder.path().join("cut.gguf");
    for part in 0..50 {
        fs::write(&path, &bytes[..bytes.len() * part / 50]).unwrap();
        let (result, allocation) = largest(|| gguf::load(&path));
        let message = message(result);
        assert!(message.contains("cut.gguf") && message.contains("expected"), "{message}");
        assert!(allocation < 4 << 20, "{allocation} bytes for part {part}");
    }
}

#[test]
fn damaged_headers_neither_panic_nor_allocate() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny::config();
    let bytes = fs::read(tiny_file(folder.path(), &config, GgmlDType::Q8_0)).unwrap();
    let header = Content::read(&mut std::io::Cursor::new(&bytes)).unwrap().tensor_data_offset as usize;
    let path = folder.path().join("damaged.gguf");
    let mut refused = 0;
    let mut check = |damaged: &[u8], what: String| {
        fs::write(&path, damaged).unwrap();
        let (result, allocation) = largest(|| gguf::load(&path));
        // The file itself is 200 kB, and reading it takes a buffer of 1 MiB.
        assert!(allocation < 8 << 20, "{what}: {allocation} bytes");
        if result.is_err() {
            refused += 1;
            message(result);
        }
    };
    let mut rng = lpc::seed::stream(3, "flips");
    for _ in 0..1000 {
        let mut damaged = bytes.clone();
        let (at, bit) = (lpc::seed::below(&mut rng, header), rng.next_u64() % 8);
        damaged[at] ^= 1 << bit;
        check(&damaged, format!("bit {bit} of byte {at}"));
    }
    // Every number of the header, at whatever offset it may lie, as a huge count and as nothing.
    for at in (0..header - 8).step_by(7) {
        for lie in [u64::MAX, 1 << 40, 0] {
            let mut damaged = bytes.clone();
            damaged[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            check(&damaged, format!("{lie} at byte {at}"));
        }
    }
    assert!(refused > 1000, "only {refused} damaged files were refused");
}

#[test]
fn contradictions_name_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny::config();
    let path = folder.path().join("wrong.gguf");
    let cases = [
        ("general.architecture", Value::String("qwen2".into()), "llama, got qwen2"),
        ("general.architecture", Value::String("a\u{1b}[2J\nb".repeat(1000)), "llama, got a\\u{1b}[2J"),
        ("general.alignment", Value::U32(0), "power of two"),
        ("general.alignment", Value::U8(0), "power of two"),
        ("llama.block_count", Value::U32(3), "blk.2.attn_norm.weight"),
        ("llama.block_count", Value::U32(1), "9 others"),
        ("llama.block_count", Value::U32(u32::MAX), "num_hidden_layers"),
        ("llama.attention.head_count_kv", Value::U32(3), "num_key_value_heads"),
        ("llama.attention.head_count", Value::U32(0), "the head's size"),
        ("llama.embedding_length", Value::F32(64.0), "an integer that is not negative, got F32"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "rms_norm_eps"),
        ("llama.rope.scaling.factor", Value::F32(4.0), "1 (read the Hugging Face folder instead), got 4"),
        (
            "llama.rope.scaling.type",
            Value::String("yarn".into()),
            "none (read the Hugging Face folder instead)",
        ),
        ("tokenizer.ggml.pre", Value::String("deepseek-coder".into()), "gpt-2, smollm or llama-bpe"),
        ("tokenizer.ggml.model", Value::String("llama".into()), "gpt2"),
        ("tokenizer.ggml.eos_token_id", Value::U32(9999), "an id of the vocabulary"),
        ("tokenizer.ggml.merges", Value::Array(vec![Value::String("ab".into())]), "two tokens and a space"),
    ];
    for (key, value, expected) in cases {
        let mut metadata = tiny_files::metadata(&config);
        metadata.retain(|(other, _)| *other != key);
        metadata.push((key, value));
        tiny_files::write_gguf(&path, &config, &tiny::weights(&config, 1), &metadata, GgmlDType::F32);
        let message = message(gguf::load(&path));
        assert!(message.contains(expected), "{key}: {message}");
    }
}

#[test]
fn tensors_cannot_share_bytes_or_leave_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(tiny_file(folder.path(), &tiny::config(), GgmlDType::F32)).unwrap();
    let path = folder.path().join("wrong.gguf");
    // A tensor's entry: name, number of dimensions (u32), dimensions (u64), kind (u32), offset (u64).
    let name = b"output_norm.weight";
    let entry = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let (rows, offset) = (entry + 4, entry + 4 + 8 + 4);
    for (at, lie, expected) in [
        (offset, 0u64, "bytes of its own"),
        (offset, bytes.len() as u64, "a tensor inside the file"),
        (offset, u64::MAX - 16, "a tensor inside the file"),
        (rows, 0, "rows of whole blocks"),
        (rows, 1 << 62, "a tensor inside the file"),
        (rows, 32, "shape [64]"),
    ] {
        let mut wrong = bytes.clone();
        wrong[at..at + 8].copy_from_slice(&lie.to_le_bytes());
        fs::write(&path, wrong).unwrap();
        let message = message(gguf::load(&path));
        assert!(message.contains(expected) && message.contains("output_norm.weight"), "{message}");
    }
}

fn archive(path: &Path, method: zip::CompressionMethod, files: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in files {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn archive_with_one_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let plain = tiny_file(folder.path(), &tiny::config(), GgmlDType::Q8_0);
    let bytes = fs::read(&plain).unwrap();
    let path = folder.path().join("model.zip");
    let stored = zip::CompressionMethod::STORE;
    archive(&path, stored, &[("a/readme.txt", b"hi"), ("a/model.gguf", &bytes)]);
    let (inside, outside) = (gguf::load(&path).unwrap(), gguf::load(&plain).unwrap());
    assert_eq!(inside.fingerprint, outside.fingerprint);
    assert_eq!(inside.description, outside.description);

    archive(&path, stored, &[("a.gguf", &bytes), ("b.gguf", &bytes)]);
    assert!(message(gguf::load(&path)).contains("exactly one .gguf, got 2"));
    archive(&path, stored, &[("a.txt", b"")]);
    assert!(message(gguf::load(&path)).contains("exactly one .gguf, got 0"));

    archive(&path, stored, &[("model.gguf", &bytes)]);
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(message(gguf::load(&path)).contains("checksum"));
    fs::write(&path, &damaged[..middle]).unwrap();
    assert!(message(gguf::load(&path)).contains("a whole zip archive"));
}

#[test]
fn missing_file_and_foreign_file() {
    let folder = tempfile::tempdir().unwrap();
    assert!(message(gguf::load(&folder.path().join("none.gguf"))).contains("none.gguf"));
    let path = folder.path().join("text.gguf");
    fs::write(&path, "this is not a model").unwrap();
    assert!(message(gguf::load(&path)).contains("a GGUF file of version 2 or 3"));
}
