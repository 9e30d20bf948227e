//! Folders and files that a stranger made: tokenizers at which the library panics, tokens above the
//! embedding, a million positions, names that are not what they seem.

use crate::allocations::largest;
use crate::folder::edit;
use crate::message::message;
use crate::program::Lpc;
use crate::tiny;
use crate::tiny_files::{self, bits};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as Metadata;
use lpc::model::config::DecoderConfig;
use lpc::model::decoder::Decoder;
use lpc::model::load::{gguf, huggingface};
use lpc::model::parameters::Parameters;
use lpc::model::rows::{Row, TokenRows};
use lpc::model::save::save;
use lpc::passes::Passes;
use lpc::passes::fused::Fused;
use lpc::text::panics::caught;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn saved(config: &DecoderConfig) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::save(folder.path(), config, None);
    folder
}

fn template(single: Value) -> Value {
    json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}})
}

/// Each takes for granted what the file does not keep to, in another part of the library.
#[test]
fn tokenizers_that_panic_are_one_error() {
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let unknown = json!({"SpecialToken": {"id": "zz", "type_id": 0}});
    let bpe = |vocabulary: Value, prefix: Value| json!({"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]], "continuing_subword_prefix": prefix});
    let cases = [
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        (
            "normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "!"}]}),
        ),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        (
            "pre_tokenizer",
            json!({"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]}),
        ),
        ("post_processor", template(json!([unknown, sequence("A")]))),
        ("post_processor", template(json!([sequence("B")]))),
        ("post_processor", json!({"type": "Sequence", "processors": [template(json!([unknown]))]})),
        ("model", bpe(json!({"a": 0, "b": 1}), Value::Null)),
        ("model", bpe(json!({"a": 0, "b": 1, "ab": 2}), json!("###"))),
    ];
    let lpc = Lpc::new();
    let folder = lpc.path("model");
    tiny::save(&folder, &tiny::config(), None);
    let path = folder.join("tokenizer.json");
    let good = fs::read(&path).unwrap();
    for (part, value) in cases {
        fs::write(&path, &good).unwrap();
        edit(&path, |json| json[part] = value.clone());
        let text = message(huggingface::load(&folder));
        assert!(
            text.contains("tokenizer.json: expected a tokenizer, got one at which"),
            "{part} {value}: {text}"
        );
        assert_eq!(message(huggingface::load_tokenizer(&folder)), text);
        // Nothing is said beside the error, and the program comes to its end.
        let output = lpc.run(&["generate", "model", "--prompt", "ab", "--max-new-tokens", "1"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{part} {value}: {said}");
        assert!(said.lines().count() == 1 && said.contains("tokenizer.json"), "{part} {value}: {said}");
    }
}

/// As in the hub's folders: a template that doubles a string, and one that nests operators. With little
/// address space the program still says which template it is, once, and what of it.
#[test]
#[cfg(unix)]
fn templates_that_fill_memory_or_stack_are_one_error() {
    let doubled = format!("{{% set x = 'ab' %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60));
    let nested = "{% set ns = namespace(x=1) %}{% for a in range(9000) %}{% for b in range(90) %}{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}{{ ns.x }}";
    let operators = format!("{{{{ {}1 }}}}", "-".repeat(200_000));
    let folder = saved(&tiny::config());
    for (source, expected) in [
        (doubled.as_str(), Some("it takes more than 64 MiB of memory")),
        (nested, Some("it takes more than 64 MiB of memory")),
        (operators.as_str(), None),
    ] {
        fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
        let output = Command::new("sh")
            .args([
                "-c",
                "ulimit -v 3000000; exec \"$0\" --threads 1 generate \"$1\" --prompt ab --max-new-tokens 1",
            ])
            .args([env!("CARGO_BIN_EXE_lpc"), folder.path().to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match expected {
            Some(expected) => {
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.lines().count() == 1 && said.contains(expected), "{said}");
            }
            None => assert!(matches!(output.status.code(), Some(0 | 1)), "{said}"),
        }
    }
}

#[test]
fn tokenizers_that_fill_the_memory() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let insert = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "12345678"});
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false});
    let twice = json!({"Sequence": {"id": "A", "type_id": 0}});
    let folder = saved(&tiny::config());
    let path = folder.path().join("tokenizer.json");
    let good = fs::read(&path).unwrap();
    for (part, steps, step, most) in [
        ("normalizer", "normalizers", double.clone(), 8),
        ("normalizer", "normalizers", insert, 2),
        ("decoder", "decoders", double, 9),
        ("pre_tokenizer", "pretokenizers", bytes, 9),
        ("post_processor", "processors", template(json!([twice, twice])), 8),
    ] {
        let read = |count: usize| {
            fs::write(&path, &good).unwrap();
            edit(&path, |json| json[part] = json!({"type": "Sequence", steps: vec![step.clone(); count]}));
            huggingface::load_tokenizer(folder.path())
        };
        for count in [most + 1, 60] {
            let text = message(read(count));
            assert!(text.contains("at most 1024 times longer") && text.contains(part), "{part}: {text}");
        }
        // With the tiny tokenizer's own steps this is 1024 times, or less.
        assert!(part == "post_processor" || read(most).is_ok(), "{part}");
    }
}

/// What fails at some texts only is an error of those.
#[test]
fn panics_at_a_text() {
    let folder = saved(&tiny::config());
    let path = folder.path().join("tokenizer.json");
    let strip = json!({"type": "Strip", "content": "z", "start": 1, "stop": 1});
    edit(&path, |json| json["decoder"] = strip);
    let tokenizer = huggingface::load(folder.path()).unwrap().tokenizer;
    let [z, a] = ["z", "a"].map(|text| tokenizer.encode(text, false).unwrap());
    assert!(message(tokenizer.decode(&z, false)).contains("tokenizer: ids"));
    assert_eq!(tokenizer.decode(&a, false).unwrap(), "a");
    // Another panic is heard as before, and one inside stays inside.
    assert_eq!(caught(|| 5), Ok(5));
    assert_eq!(
        caught(|| if a.len() == 1 {
            panic!("so {a:?}")
        })
        .unwrap_err(),
        format!("so {a:?}")
    );
    assert_eq!(caught(|| caught(|| panic!("x")).unwrap_err()), Ok("x".into()));
}

/// The id that follows the vocabulary, which the embedding does not have.
fn add_token(folder: &Path, id: usize, special: bool) {
    edit(&folder.join("tokenizer.json"), |json| {
        let token = json!({
            "id": id, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special,
        });
        json["added_tokens"].as_array_mut().unwrap().push(token);
    });
}

#[test]
fn tokens_above_the_embedding_may_be_there_but_not_be_used() {
    let config = tiny::config();
    let plain = huggingface::load(saved(&config).path()).unwrap();
    for special in [true, false] {
        let folder = saved(&config);
        add_token(folder.path(), config.vocab_size, special);
        edit(&folder.path().join("tokenizer_config.json"), |json| json["pad_token"] = "[PAD]".into());
        let padded = huggingface::load(folder.path()).unwrap();
        for text in ["ab abab a b", "é</s>x", "[PAD", ""] {
            let encode =
                |tokenizer: &lpc::text::tokenizer::TextTokenizer| tokenizer.encode(text, true).unwrap();
            assert_eq!(encode(&padded.tokenizer), encode(&plain.tokenizer), "{text:?}");
        }
        let text = message(padded.tokenizer.encode("ab[PAD]", true));
        assert!(
            text.contains("\"[PAD]\"") && text.contains("260 rows") && text.contains("number 260"),
            "{text}"
        );
        // As the model is saved and read again, and where its tokenizer is read alone.
        let again = tempfile::tempdir().unwrap();
        save(again.path(), &padded.config, &padded.tensors().unwrap(), &padded.tokenizer).unwrap();
        assert_eq!(message(huggingface::load(again.path()).unwrap().tokenizer.encode("ab[PAD]", true)), text);
        assert_eq!(
            message(huggingface::load_tokenizer(folder.path()).unwrap().encode("ab[PAD]", true)),
            text
        );
    }
    // One that ends every answer is used.
    let folder = saved(&config);
    add_token(folder.path(), config.vocab_size, true);
    edit(&folder.path().join("tokenizer_config.json"), |json| json["eos_token"] = "[PAD]".into());
    assert!(message(huggingface::load(folder.path())).contains("below the embedding's 260 rows"));
    // A tokenizer whose own tokens have no rows is another model's.
    let folder = saved(&config);
    edit(&folder.path().join("tokenizer.json"), |json| json["model"]["vocab"]["abc"] = 300.into());
    assert!(message(huggingface::load(folder.path())).contains("ids up to 300"));
}

#[test]
fn tables_are_as_long_as_used() {
    let few = DecoderConfig { max_position_embeddings: 700, ..tiny::config() };
    let many = DecoderConfig { max_position_embeddings: 1 << 28, ..tiny::config() };
    let decoder = |config: &DecoderConfig| {
        let parameters = Parameters::from_tensors(&tiny::weights(config, 1)).unwrap();
        Decoder::new(config, &parameters, lpc::config::Precision::F32).unwrap()
    };
    let small = decoder(&few);
    let (large, allocation) = largest(|| decoder(&many));
    assert!(allocation < 1 << 20, "{allocation} bytes");
    let rows = |position: usize| {
        let mut row = Row::default();
        row.push(&[5, 9, 2], position, 0);
        TokenRows::new(vec![row])
    };
    // Shorter tables, longer ones, and the shorter ones again.
    for position in [0, 253, 254, 690, 3] {
        let (both, allocation) =
            largest(|| [&small, &large].map(|d| Fused.hidden(d, &rows(position)).unwrap()));
        assert_eq!(bits(&both[0]), bits(&both[1]), "{position}");
        assert!(allocation < 1 << 20, "{allocation} bytes");
        let (cos, sin) = large.turns(&rows(position)).unwrap();
        let half = many.head_dim / 2;
        for (i, (cos, sin)) in cos.into_iter().zip(sin).enumerate() {
            let power = -2.0 * (i % half) as f64 / many.head_dim as f64;
            let angle = (position + i / half) as f64 * 10_000f64.powf(power);
            assert_eq!([cos, sin], [angle.cos() as f32, angle.sin() as f32], "{position} {i}");
        }
    }
    assert!(Fused.hidden(&small, &rows(697)).is_ok());
    assert!(message(Fused.hidden(&small, &rows(698))).contains("below the context of 700"));
}

#[test]
fn names_are_seen_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny::config();
    let path = folder.path().join("named.gguf");
    for (name, expected) in [
        (
            "ok\u{1b}[2J\u{1b}]0;x\u{7}\n| a | 99.9 |\r\n<b>",
            r"ok\u{1b}[2J\u{1b}]0;x\u{7}\u{a}\u{7c} a \u{7c} 99.9 \u{7c}\u{d}\u{a}\u{3c}b\u{3e}",
        ),
        ("\u{9b}31m \u{202e}abc\u{200b}\u{2028}d", r"\u{9b}31m \u{202e}abc\u{200b}\u{2028}d"),
        (" Größe 7B-\"Instruct\" 模型 e\u{301} हिन्दी", "Größe 7B-\"Instruct\" 模型 e\u{301} हिन्दी"),
        ("\n", "an unnamed model"),
    ] {
        let mut metadata = tiny_files::metadata(&config);
        metadata.retain(|(key, _)| *key != "general.name");
        metadata.push(("general.name", Metadata::String(name.into())));
        metadata.push(("general.license", Metadata::String(name.into())));
        tiny_files::write_gguf(&path, &config, &tiny::weights(&config, 1), &metadata, GgmlDType::F32);
        let loaded = gguf::load(&path).unwrap();
        assert_eq!(loaded.description.split(" (GGUF)").next().unwrap(), expected);
        assert!(loaded.licence.is_some_and(|licence| licence == expected || name == "\n"));
    }
    // A folder's name, and the licence in its card.
    let folder = folder.path().join("a\u{1b}[2Jb");
    tiny::save(&folder, &config, None);
    fs::write(folder.join("README.md"), "---\nlicense: mit\u{1b}[2J<b>\n---\n").unwrap();
    let loaded = huggingface::load(&folder).unwrap();
    assert!(loaded.description.starts_with(r"a\u{1b}[2Jb: 2 layers"), "{}", loaded.description);
    assert_eq!(loaded.licence.unwrap(), r"mit\u{1b}[2J\u{3c}b\u{3e}");
}
