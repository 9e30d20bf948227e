//! `lpc generate --prompts`: a set of prompts to AlpacaEval's model_outputs.json.

use crate::tiny;
use crate::winrate::lpc;
use lpc::model::save::save;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;

fn model(folder: &Path) {
    let weights = tiny::weights(&tiny::config(), 1);
    save(folder, &tiny::config(), &weights, &tiny::tokenizer(Some(tiny::TEMPLATE))).unwrap();
}

fn answer(folder: &Path, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (model, prompts, out) = (path("model"), path("prompts.json"), path("out.json"));
    let call = ["generate", &model, "--prompts", &prompts, "--out", &out, "--max-new-tokens", "6"];
    lpc(&[&call[..], more].concat())
}

fn answers(folder: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(folder.join("out.json")).unwrap()).unwrap()
}

#[test]
fn a_set_of_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model"));
    let prompts = json!([
        { "dataset": "koala", "instruction": "ab ab?", "output": "somebody else's", "generator": "base" },
        { "instruction": "ba" },
        { "instruction": "aab" },
    ]);
    let prompts_file = folder.join("prompts.json");
    fs::write(&prompts_file, prompts.to_string()).unwrap();
    let output = answer(folder, &["--name", "tiny", "--temperature", "1", "--seed", "3"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = answers(folder);
    assert_eq!(written.len(), 3);
    for (written, prompt) in written.iter().zip(prompts.as_array().unwrap()) {
        assert_eq!(
            (&written["instruction"], &written["generator"]),
            (&prompt["instruction"], &json!("tiny"))
        );
        assert_eq!(written.get("dataset"), prompt.get("dataset"));
    }
    // Through the chat template, and with draws of its own for each prompt: as `--prompt` does it.
    let arguments = ["ab ab?", "ba", "aab"].map(|prompt| ["--prompt", prompt]).concat();
    let model = folder.join("model");
    let call =
        ["generate", model.to_str().unwrap(), "--max-new-tokens", "6", "--temperature", "1", "--seed", "3"];
    let shown = lpc(&[&call[..], &arguments].concat());
    let expected: String = written
        .iter()
        .map(|w| format!("> {}\n{}\n\n", w["instruction"].as_str().unwrap(), w["output"].as_str().unwrap()))
        .collect();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), expected);
    assert!(!folder.join("out.json.partial").exists());
}

#[test]
fn answers_that_are_there_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model"));
    // The last prompt is longer than the context: the answers before it stay.
    let long = "ba".repeat(200);
    let prompts =
        |last: &str| json!([{ "instruction": "ab" }, { "instruction": "ba" }, { "instruction": last }]);
    fs::write(folder.join("prompts.json"), prompts(&long).to_string()).unwrap();
    let output = answer(folder, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("prompts.json: field `[2].instruction`: expected 1 to 127 tokens, got"), "{said}");
    assert!(!folder.join("out.json").exists());

    // Replace what is kept: if it is used, it shows.
    let partial = folder.join("out.json.partial");
    let kept = fs::read_to_string(&partial).unwrap();
    assert_eq!(kept.lines().count(), 2);
    let mut line: Value = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
    line["value"] = json!("from before");
    fs::write(&partial, format!("{line}\n{{\"key\":")).unwrap();
    fs::write(folder.join("prompts.json"), prompts("bab").to_string()).unwrap();
    assert!(answer(folder, &[]).status.success());
    assert_eq!(answers(folder)[0]["output"], "from before");
    assert!(!partial.exists());

    // Other settings are other answers.
    fs::write(&partial, format!("{line}\n")).unwrap();
    assert!(answer(folder, &["--temperature", "0.5"]).status.success());
    assert_ne!(answers(folder)[0]["output"], "from before");
}

#[test]
fn needs_a_set_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for arguments in [
        &["generate", "model"][..],
        &["generate", "model", "--prompts", "p.json"],
        &["generate", "model", "--prompt", "x", "--out", "o.json"],
        &["generate", "model", "--prompt", "x", "--prompts", "p.json", "--out", "o.json"],
    ] {
        assert_eq!(lpc(arguments).status.code(), Some(2), "{arguments:?}");
    }
    model(&folder.join("model"));
    fs::write(folder.join("prompts.json"), r#"[{"instruction":"a"},{"instruction":"a"}]"#).unwrap();
    let said = String::from_utf8(answer(folder, &[]).stderr).unwrap();
    assert!(said.contains("prompts.json: field `[1].instruction`: expected each instruction once"), "{said}");
}
