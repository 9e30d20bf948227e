//! `lpc eval TASK...` as a program: records, resuming, refusals.

use crate::program::Lpc;
use crate::tiny;
use lpc::model::config::DecoderConfig;

/// A tiny random model, whose chat template no task uses, and tasks of our own.
pub fn prepared() -> Lpc {
    let lpc = Lpc::new();
    let config = DecoderConfig { max_position_embeddings: 400, ..tiny::config() };
    tiny::save(&lpc.path("model"), &config, Some(tiny::TEMPLATE));
    let arc = |i: usize| {
        let long = if i == 3 { "long ".repeat(100) } else { String::new() };
        format!(
            "{{\"id\": \"d{i}\", \"question\": \"{long}what is {i}?\", \"choices\": {{\"text\": [\"cat\", \"the mat\"], \
             \"label\": [\"1\", \"2\"]}}, \"answerKey\": \"2\"}}\n"
        )
    };
    lpc.write("tasks/arc_easy/test.jsonl", (0..6).map(arc).collect::<String>());
    let gsm = |i: usize| format!("{{\"question\": \"{i}?\", \"answer\": \"#### {i}\"}}\n");
    lpc.write("tasks/gsm8k/test.jsonl", (0..3).map(gsm).collect::<String>());
    lpc.write("tasks/gsm8k/train.jsonl", (0..9).map(gsm).collect::<String>());
    lpc
}

#[test]
fn records_spans_and_resuming() {
    let lpc = prepared();
    let eval = ["eval", "arc_easy", "gsm8k", "--model", "model", "--data", "tasks", "--records"];
    let printed = lpc.ok(&[&eval[..], &["all.jsonl"]].concat());
    assert!(printed.contains("arc_easy: 1 contexts were cut at their beginning"), "{printed}");
    // Five examples and a question are 165 bytes, 256 tokens may follow, and the window has 400.
    assert!(printed.contains("gsm8k: 3 contexts were cut at their beginning"), "{printed}");
    assert!(printed.contains("gsm8k: exact_match,strict-match 0.0000 ± 0.0000"), "{printed}");
    let all = lpc.read("all.jsonl");
    let lines: Vec<serde_json::Value> = all.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    assert_eq!((&lines[1]["id"], &lines[1]["line"], &lines[1]["doc"]), (&"d1".into(), &2.into(), &1.into()));
    assert!(lines[3]["truncated"].as_bool().unwrap() && !lines[2]["truncated"].as_bool().unwrap());
    assert_eq!(lines[0]["choices"].as_array().unwrap().len(), 2);
    assert!(!lpc.path("all.jsonl.partial").exists());

    // A part of the documents sees what the whole saw: same prompts, same examples.
    lpc.ok(&[&eval[..], &["part.jsonl", "--docs", "1..3", "--limit", "2"]].concat());
    let part = lpc.read("part.jsonl");
    let prompts = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines.map(|v| format!("{} {} {}", v["task"], v["doc"], v["prompt"])).collect()
    };
    let (all_prompts, part_prompts) = (prompts(&all), prompts(&part));
    assert_eq!(part_prompts, [1, 2, 7, 8].map(|i| all_prompts[i].clone()));

    // Killed on the way: what is in the partial file is not worked out again.
    let child = lpc
        .command(&[&eval[..], &["cut.jsonl"]].concat())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let partial = lpc.path("cut.jsonl.partial");
    while child.try_wait().unwrap().is_none() {
        if std::fs::metadata(&partial).is_ok_and(|m| m.len() > 100) {
            let _ = child.kill();
        }
    }
    if let Ok(text) = std::fs::read_to_string(&partial) {
        // A marked record is kept as it stands: it was read, not calculated.
        let marked = text.replacen("\"id\":\"d0\"", "\"id\":\"kept\"", 1);
        std::fs::write(&partial, &marked).unwrap();
        lpc.ok(&[&eval[..], &["cut.jsonl"]].concat());
        let resumed = lpc.read("cut.jsonl");
        assert_eq!(resumed.replace("\"kept\"", "\"d0\""), all);
        assert_eq!(resumed.contains("\"kept\""), marked.contains("\"kept\""));
    } else {
        assert_eq!(lpc.read("cut.jsonl"), all);
    }
}

#[test]
fn refusals() {
    let lpc = prepared();
    let eval =
        |rest: &[&str]| lpc.refused(&[&["eval", "arc_easy", "--model", "model", "--data"], rest].concat());
    assert_eq!(
        eval(&["tasks", "--docs", "6.."]),
        "lpc: eval: --docs = 6, expected a start below 6 documents"
    );
    assert_eq!(
        eval(&["nowhere"]),
        "lpc: nowhere: expected a folder, a file, or organisation/name of the hub, got no such path"
    );
    assert!(eval(&["model"]).ends_with("expected arc_easy/test.jsonl or test.jsonl, got neither"));
    let output = lpc.run(&["eval", "arc_easy", "--model", "model", "--data", "tasks", "--docs", "3..3"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("expected A below B"));
    let output = lpc.run(&["eval", "no_task", "--model", "model", "--data", "tasks"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("truthfulqa_mc2"));
    // A short window has no room for what gsm8k may write.
    let config = DecoderConfig { max_position_embeddings: 200, ..tiny::config() };
    tiny::save(&lpc.path("short"), &config, None);
    let line = lpc.refused(&["eval", "gsm8k", "--model", "short", "--data", "tasks"]);
    assert_eq!(
        line,
        "lpc: eval: the model's window = 200, expected more than the 256 tokens that gsm8k writes"
    );
}
