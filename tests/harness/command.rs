//! `lpc eval TASK...` as a program: records, resuming, refusals.

use crate::tiny;
use lpc::model::config::DecoderConfig;
use std::path::Path;
use std::process::{Command, Output};

pub fn lpc(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lpc")).current_dir(folder).args(arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = lpc(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A tiny random model and tasks of our own.
pub fn prepare(folder: &Path) {
    let config = DecoderConfig { max_position_embeddings: 400, ..tiny::config() };
    let weights = tiny::weights(&config, 1);
    lpc::model::save::save(&folder.join("model"), &config, &weights, &tiny::tokenizer(None)).unwrap();
    std::fs::create_dir_all(folder.join("tasks/arc_easy")).unwrap();
    std::fs::create_dir_all(folder.join("tasks/gsm8k")).unwrap();
    let arc = |i: usize| {
        let long = if i == 3 { "long ".repeat(100) } else { String::new() };
        format!(
            "{{\"id\": \"d{i}\", \"question\": \"{long}what is {i}?\", \"choices\": {{\"text\": [\"cat\", \"the mat\"], \
             \"label\": [\"1\", \"2\"]}}, \"answerKey\": \"2\"}}\n"
        )
    };
    std::fs::write(folder.join("tasks/arc_easy/test.jsonl"), (0..6).map(arc).collect::<String>()).unwrap();
    let gsm = |i: usize| format!("{{\"question\": \"{i}?\", \"answer\": \"#### {i}\"}}\n");
    std::fs::write(folder.join("tasks/gsm8k/test.jsonl"), (0..3).map(gsm).collect::<String>()).unwrap();
    std::fs::write(folder.join("tasks/gsm8k/train.jsonl"), (0..9).map(gsm).collect::<String>()).unwrap();
}

#[test]
fn records_spans_and_resuming() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);
    let eval = ["eval", "arc_easy", "gsm8k", "--model", "model", "--data", "tasks", "--records"];
    let printed = ok(folder, &[&eval[..], &["all.jsonl"]].concat());
    assert!(printed.contains("arc_easy: 1 contexts were cut at their beginning"), "{printed}");
    // Five examples and a question are 165 bytes, 256 tokens may follow, and the window has 400.
    assert!(printed.contains("gsm8k: 3 contexts were cut at their beginning"), "{printed}");
    assert!(printed.contains("gsm8k: exact_match,strict-match 0.0000 ± 0.0000"), "{printed}");
    let all = std::fs::read_to_string(folder.join("all.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = all.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    assert_eq!((&lines[1]["id"], &lines[1]["line"], &lines[1]["doc"]), (&"d1".into(), &2.into(), &1.into()));
    assert!(lines[3]["truncated"].as_bool().unwrap() && !lines[2]["truncated"].as_bool().unwrap());
    assert_eq!(lines[0]["choices"].as_array().unwrap().len(), 2);
    assert!(!folder.join("all.jsonl.partial").exists());

    // A part of the documents sees what the whole saw: same prompts, same examples.
    ok(folder, &[&eval[..], &["part.jsonl", "--docs", "1..3", "--limit", "2"]].concat());
    let part = std::fs::read_to_string(folder.join("part.jsonl")).unwrap();
    let prompts = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines.map(|v| format!("{} {} {}", v["task"], v["doc"], v["prompt"])).collect()
    };
    let (all_prompts, part_prompts) = (prompts(&all), prompts(&part));
    assert_eq!(part_prompts, [1, 2, 7, 8].map(|i| all_prompts[i].clone()));

    // Killed on the way: what is in the partial file is not worked out again.
    let child = Command::new(env!("CARGO_BIN_EXE_lpc"))
        .current_dir(folder)
        .args([&eval[..], &["cut.jsonl"]].concat())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let partial = folder.join("cut.jsonl.partial");
    while child.try_wait().unwrap().is_none() {
        if std::fs::metadata(&partial).is_ok_and(|m| m.len() > 100) {
            let _ = child.kill();
        }
    }
    if let Ok(text) = std::fs::read_to_string(&partial) {
        // A marked record is kept as it stands: it was read, not calculated.
        let marked = text.replacen("\"id\":\"d0\"", "\"id\":\"kept\"", 1);
        std::fs::write(&partial, &marked).unwrap();
        ok(folder, &[&eval[..], &["cut.jsonl"]].concat());
        let resumed = std::fs::read_to_string(folder.join("cut.jsonl")).unwrap();
        assert_eq!(resumed.replace("\"kept\"", "\"d0\""), all);
        assert_eq!(resumed.contains("\"kept\""), marked.contains("\"kept\""));
    } else {
        assert_eq!(std::fs::read_to_string(folder.join("cut.jsonl")).unwrap(), all);
    }
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);
    let refused = |arguments: &[&str]| {
        let output = lpc(folder, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap().lines().last().unwrap_or_default().to_string()
    };
    let eval = |rest: &[&str]| refused(&[&["eval", "arc_easy", "--model", "model", "--data"], rest].concat());
    assert_eq!(
        eval(&["tasks", "--docs", "6.."]),
        "lpc: eval: --docs = 6, expected a start below 6 documents"
    );
    assert_eq!(
        eval(&["nowhere"]),
        "lpc: nowhere: expected a folder, a file, or organisation/name of the hub, got no such path"
    );
    assert!(eval(&["model"]).ends_with("expected arc_easy/test.jsonl or test.jsonl, got neither"));
    let output = lpc(folder, &["eval", "arc_easy", "--model", "model", "--data", "tasks", "--docs", "3..3"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("expected A below B"));
    let output = lpc(folder, &["eval", "no_task", "--model", "model", "--data", "tasks"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("truthfulqa_mc2"));
    // A short window has no room for what gsm8k may write.
    let config = DecoderConfig { max_position_embeddings: 200, ..tiny::config() };
    lpc::model::save::save(
        &folder.join("short"),
        &config,
        &tiny::weights(&config, 1),
        &tiny::tokenizer(None),
    )
    .unwrap();
    let line = refused(&["eval", "gsm8k", "--model", "short", "--data", "tasks"]);
    assert_eq!(
        line,
        "lpc: eval: the model's window = 200, expected more than the 256 tokens that gsm8k writes"
    );
}
