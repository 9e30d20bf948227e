//! A second data set for a study: HH-RLHF's transcripts beside another file, in miniature.

use crate::program::Lpc;
use crate::tiny;
use flate2::Compression;
use flate2::write::GzEncoder;
use lpc::model::config::DecoderConfig;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::Write;

const STUDY: &str = r#"
title = "Two data sets"
seeds = [1]
objective = "DPO"
second_world = { seed = 5 }
[[arms]]
name = "DPO"
set.latent = { mode = "none" }
[[arms]]
name = "LPC"
set.latent.codes = 4
[[arms]]
name = "DPO, second data"
pairs = "second"
set.latent = { mode = "none" }
[[arms]]
name = "LPC, second data"
pairs = "second"
set.latent.codes = 4
[[arms]]
name = "told"
set.latent = { mode = "factors", output_std = 0.02 }
scales = ["toy"]
[[questions]]
id = "data"
asks = "And on other preference data?"
[[questions.tests]]
id = "first"
claim = "LPC scores higher"
rule = { kind = "positive", contrast = { LPC = 1, DPO = -1 } }
[[questions.tests]]
id = "second-data"
claim = "On a second data set LPC scores higher"
rule = { kind = "positive", contrast = { "LPC, second data" = 1, "DPO, second data" = -1 } }
[[questions.tests]]
id = "told"
claim = "LPC scores higher than one told the truth"
rule = { kind = "positive", contrast = { LPC = 1, told = -1 } }
"#;

const REPRODUCE: [&str; 10] = [
    "reproduce",
    "reviews",
    "--scale",
    "small",
    "--model",
    "model",
    "--data",
    "first",
    "--study",
    "study.toml",
];

/// A tiny random model with a chat template, a first data set, and the study.
fn workplace() -> Lpc {
    let lpc = Lpc::new();
    let config = DecoderConfig { max_position_embeddings: 1024, ..tiny::config() };
    tiny::save(&lpc.path("model"), &config, Some(tiny::TEMPLATE));
    let pairs = |from: usize, to: usize| -> String {
        let pair =
            |i| json!({ "prompt": format!("say ab {i}"), "chosen": format!("ab {i}"), "rejected": "no" });
        (from..to).map(|i| format!("{}\n", pair(i))).collect()
    };
    lpc.write("first/train.jsonl", pairs(0, 16));
    lpc.write("first/test.jsonl", pairs(16, 20));
    lpc.write("study.toml", STUDY);
    lpc
}

fn transcript(turns: &[&str]) -> String {
    let speaker = |i: usize| if i.is_multiple_of(2) { "Human" } else { "Assistant" };
    turns.iter().enumerate().map(|(i, text)| format!("\n\n{}: {text}", speaker(i))).collect()
}

/// Sixteen conversations, the first four of them twice: as they began, and as they went on. And one whose
/// transcripts differ too early.
fn conversations() -> Vec<Value> {
    let mut rows = vec![];
    for i in 0..16 {
        let asks = format!("ask ab {i}");
        let pair = |answer: &str| transcript(&[&asks, answer]);
        rows.push(json!({ "chosen": pair("ab ab"), "rejected": pair("no") }));
        if i < 4 {
            let pair = |answer: &str| transcript(&[&asks, "no", "again", answer]);
            rows.push(json!({ "chosen": pair("ab ab ab"), "rejected": pair("no no") }));
        }
    }
    let other = |asks: &str| transcript(&[asks, "a", "b", "c"]);
    rows.push(json!({ "chosen": other("x"), "rejected": other("y") }));
    rows
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn with(second: &str) -> Vec<&str> {
    REPRODUCE.into_iter().chain(["--second-data", second]).collect()
}

#[test]
fn a_file_of_transcripts_is_split_without_a_conversation_in_both() {
    let lpc = workplace();
    lpc.write("hh.jsonl.gz", gz(&lines(&conversations())));
    lpc.ok(&with("hh.jsonl.gz"));
    assert_eq!(lpc.runs().len(), 4);

    let folder = std::fs::read_dir(lpc.path("runs/data")).unwrap().next().unwrap().unwrap().path();
    let split = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (train, test) = (split("train.jsonl"), split("test.jsonl"));
    // A fifth of twenty; a conversation that is there twice stays together and may not fit.
    assert_eq!((train.len() + test.len(), test.len()), (20, 4));
    let openings = |rows: &[Value]| -> HashSet<String> {
        rows.iter().map(|row| row["prompt"][0]["content"].as_str().unwrap().to_string()).collect()
    };
    assert!(openings(&train).is_disjoint(&openings(&test)));
    assert_eq!(openings(&train).len() + openings(&test).len(), 16);

    let report = lpc.read("reports/small-own/reviews.md");
    let row = |name: &str| report.lines().find(|l| l.starts_with(&format!("| {name} |"))).unwrap();
    assert!(
        !row("LPC, second data").contains("not run")
            && !row("On a second data set LPC scores higher").contains("not run")
    );
    let note = "split here: 16 pairs for training, 4 for the test, 1 left out for transcripts that differ before their last answer";
    assert!(report.contains(note), "{report}");
    // What cannot run at this scale says so, in every file that people read.
    assert!(row("told").contains("not run"), "{report}");
    for file in ["reviews.md", "reviews.html"] {
        let text = lpc.read(&format!("reports/small-own/{file}"));
        assert!(text.contains("told: an arm of the toy scale alone"), "{file}");
    }
    lpc.ok(&["audit", "reports/small-own"]);

    // The same bytes elsewhere are the same data: nothing is trained again.
    let manifests = |lpc: &Lpc| -> Vec<_> {
        let written = |run: &std::path::PathBuf| std::fs::metadata(run.join("manifest.json")).unwrap();
        lpc.runs().iter().map(|run| written(run).modified().unwrap()).collect()
    };
    let before = manifests(&lpc);
    lpc.write("elsewhere/other.jsonl.gz", gz(&lines(&conversations())));
    lpc.ok(&with("elsewhere/other.jsonl.gz"));
    assert_eq!(manifests(&lpc), before);

    // A folder comes split; and without a second data set its arms say why they did not run.
    lpc.ok(&with("first"));
    assert!(
        lpc.read("reports/small-own/reviews.md").contains("0 of its test pairs open as a training pair does")
    );
    lpc.ok(&REPRODUCE);
    let report = lpc.read("reports/small-own/reviews.md");
    let row =
        |name: &str| report.lines().find(|l| l.starts_with(&format!("| {name} |"))).unwrap().to_string();
    assert!(
        row("LPC, second data").contains("not run")
            && row("On a second data set LPC scores higher").contains("not run")
    );
    assert!(
        report.contains("Not run: DPO, second data: no second data set was given (--second-data)"),
        "{report}"
    );
    assert!(!row("LPC").contains("not run"));
}

#[test]
fn a_second_data_set_that_is_none_is_refused_before_anything_is_trained() {
    let lpc = workplace();
    let rows = conversations();
    let broken = lines(&rows).replacen("{\"chosen\":", "{\"chosen\"", 3).replacen(
        "{\"chosen\"\"",
        "{\"chosen\":\"",
        2,
    );
    let compressed = gz(&lines(&rows));
    lpc.write("empty.jsonl", "");
    lpc.write("broken.jsonl.gz", gz(&broken));
    lpc.write("cut.jsonl.gz", &compressed[..compressed.len() / 2]);
    lpc.write("plain.jsonl.gz", lines(&rows));
    lpc.write("one.jsonl", lines(&rows[..2]));
    lpc.write("half/train.jsonl", lines(&rows));
    for (file, expected) in [
        ("nowhere.jsonl.gz", "nowhere.jsonl.gz: No such file"),
        ("empty.jsonl", "empty.jsonl: expected at least one pair, got none"),
        ("broken.jsonl.gz", "broken.jsonl.gz:3: expected a JSON object"),
        ("cut.jsonl.gz", "cut.jsonl.gz:"),
        ("plain.jsonl.gz", "plain.jsonl.gz:1: expected readable bytes"),
        ("one.jsonl", "one.jsonl: expected conversations enough"),
        ("half", "half: expected test.jsonl"),
    ] {
        let refused = lpc.refused(&with(file));
        assert!(refused.contains(expected), "{file}: {refused}");
    }
    lpc.write("hh.jsonl.gz", compressed);
    let refused = |arguments: &[&str]| lpc.refused(&[arguments, &["--second-data", "hh.jsonl.gz"]].concat());
    assert!(refused(&["reproduce", "reviews"]).contains("has a second data set of its own"));
    assert!(refused(&["reproduce", "figure2"]).contains("expected a study with arms on a second data set"));
    assert_eq!(lpc.runs().len(), 0);
    assert!(!lpc.path("reports").exists());
}
