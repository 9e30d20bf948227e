//! `lpc generate --prompts`: a set of prompts to AlpacaEval's model_outputs.json.

use crate::program::Lpc;
use crate::tiny;
use serde_json::{Value, json};
use std::fs;
use std::process::Output;

/// With a model to ask.
fn with_model() -> Lpc {
    let lpc = Lpc::new();
    tiny::save(&lpc.path("model"), &tiny::config(), Some(tiny::TEMPLATE));
    lpc
}

fn answer(lpc: &Lpc, more: &[&str]) -> Output {
    let call =
        ["generate", "model", "--prompts", "prompts.json", "--out", "out.json", "--max-new-tokens", "6"];
    lpc.run(&[&call[..], more].concat())
}

fn answers(lpc: &Lpc) -> Vec<Value> {
    serde_json::from_str(&lpc.read("out.json")).unwrap()
}

#[test]
fn a_set_of_prompts() {
    let lpc = with_model();
    let prompts = json!([
        { "dataset": "koala", "instruction": "ab ab?", "output": "somebody else's", "generator": "base" },
        { "instruction": "ba" },
        { "instruction": "aab" },
    ]);
    lpc.write("prompts.json", prompts.to_string());
    let output = answer(&lpc, &["--name", "tiny", "--temperature", "1", "--seed", "3"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = answers(&lpc);
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
    let call = ["generate", "model", "--max-new-tokens", "6", "--temperature", "1", "--seed", "3"];
    let shown = lpc.run(&[&call[..], &arguments].concat());
    let expected: String = written
        .iter()
        .map(|w| format!("> {}\n{}\n\n", w["instruction"].as_str().unwrap(), w["output"].as_str().unwrap()))
        .collect();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), expected);
    assert!(!lpc.path("out.json.partial").exists());
}

#[test]
fn answers_that_are_there_are_kept() {
    let lpc = with_model();
    let prompts = json!([{ "instruction": "ab" }, { "instruction": "ba" }, { "instruction": "bab" }]);
    lpc.write("prompts.json", prompts.to_string());
    // A folder in the way: the answers cannot be written, but they stay.
    fs::create_dir(lpc.path("out.json")).unwrap();
    let output = answer(&lpc, &[]);
    assert_eq!(output.status.code(), Some(1));
    fs::remove_dir(lpc.path("out.json")).unwrap();

    // Replace what is kept: if it is used, it shows.
    let partial = lpc.path("out.json.partial");
    let kept = lpc.read("out.json.partial");
    assert_eq!(kept.lines().count(), 3);
    let mut line: Value = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
    line["value"] = json!({ "output": "from before", "cut": "context" });
    fs::write(&partial, format!("{line}\n{{\"key\":")).unwrap();
    assert!(answer(&lpc, &[]).status.success());
    assert_eq!(answers(&lpc)[0]["output"], "from before");
    assert_eq!(answers(&lpc)[0]["finish_reason"], "context");
    assert!(!partial.exists());

    // Other settings are other answers.
    fs::write(&partial, format!("{line}\n")).unwrap();
    assert!(answer(&lpc, &["--temperature", "0.5"]).status.success());
    assert_ne!(answers(&lpc)[0]["output"], "from before");
}

fn marks(answers: &[Value]) -> Vec<Option<&str>> {
    answers.iter().map(|a| a.get("finish_reason").map(|mark| mark.as_str().unwrap())).collect()
}

/// Hot draws of a random model end with its end token now and then. An answer without a mark is the same
/// with one token more allowed, and so is one that its end token follows right behind the limit.
#[test]
fn answers_cut_at_the_limit_are_counted_and_marked() {
    let lpc = with_model();
    let prompts: Vec<Value> = (0..40).map(|i| json!({ "instruction": format!("ab {i}") })).collect();
    lpc.write("prompts.json", json!(prompts).to_string());
    let at_most = |tokens: &str| {
        let call = ["generate", "model", "--prompts", "prompts.json", "--out", "out.json", "--name", "hot"];
        let said = lpc.ok(&[&call[..], &["--temperature", "3", "--max-new-tokens", tokens]].concat());
        (answers(&lpc), said)
    };
    let (fewer, said) = at_most("60");
    let (more, _) = at_most("61");
    let cut = marks(&fewer).into_iter().flatten().count();
    assert!((1..40).contains(&cut) && marks(&fewer).into_iter().flatten().all(|mark| mark == "length"));
    let end = format!("40 answers of hot: {cut} cut at the limit of tokens, as their `finish_reason` says\n");
    assert!(said.ends_with(&end), "{said}");
    for ((few, many), mark) in fewer.iter().zip(&more).zip(marks(&more)) {
        match (few.get("finish_reason"), mark) {
            (None, mark) => assert_eq!((mark, &few["output"]), (None, &many["output"])),
            (Some(_), None) => assert_eq!(few["output"], many["output"]),
            (Some(_), Some(mark)) => assert_eq!(mark, "length"),
        }
    }
    assert!(fewer.iter().zip(&more).any(|(few, many)| few["output"] != many["output"]));
    // The judge says so, too, and takes them all the same; marks of other programs mean nothing to it.
    let others = json!([{ "instruction": "ab 0", "output": "x", "generator": "base", "finish_reason": 7 }]);
    lpc.write("base.json", others.to_string());
    let judge =
        ["judge", "--outputs", "out.json", "--baseline", "base.json", "--model", "j", "--attempts", "1"];
    let output = lpc.run(&[&judge[..], &["--base-url", "http://127.0.0.1:9/v1", "--out", "a.csv"]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let cut = marks(&more).into_iter().flatten().count();
    assert!(said.contains(&format!("out.json: of 40 outputs {cut} cut at the limit of tokens")), "{said}");
    assert!(!said.contains("base.json: of"), "{said}");
}

/// A prompt that does not fit, or has no tokens, is nothing to the others.
#[test]
fn a_prompt_that_cannot_be_answered_is_marked() {
    let lpc = with_model();
    let long = "ba".repeat(200);
    let prompts = |prompts: &[&str]| {
        let entries: Vec<Value> = prompts.iter().map(|p| json!({ "instruction": p })).collect();
        lpc.write("prompts.json", json!(entries).to_string());
    };
    prompts(&["ab", &long, "bab"]);
    let output = answer(&lpc, &["--name", "tiny"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let end = "3 answers of tiny: 2 cut at the limit of tokens, 1 empty, the prompt being longer than the \
               context, as their `finish_reason` says\n";
    assert!(said.ends_with(end), "{said}");
    let with = answers(&lpc);
    assert_eq!(marks(&with), [Some("length"), Some("prompt_too_long"), Some("length")]);
    assert_eq!((&with[1]["instruction"], &with[1]["output"]), (&json!(long), &json!("")));
    // The others' answers are what they are beside a prompt that fits.
    prompts(&["ab", "b", "bab"]);
    assert!(answer(&lpc, &["--name", "tiny"]).status.success());
    assert_eq!((&answers(&lpc)[0], &answers(&lpc)[2]), (&with[0], &with[2]));
    // Nothing to answer at all.
    prompts(&[&long]);
    let output = answer(&lpc, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("prompts.json: expected a prompt of 1 to 127 tokens, got none among 1"), "{said}");

    // Shown ones: the others are answered, and the status says that one was not.
    let call = ["generate", "model", "--max-new-tokens", "6", "--prompt", "ab", "--prompt"];
    let output = lpc.run(&[&call[..], &[&long, "--prompt", "bab"]].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("generate: --prompt 2 = ") && errors.contains(", expected 1 to 127 tokens"),
        "{errors}"
    );
    assert_eq!(errors.matches("6 tokens in ").count(), 2, "{errors}");
    assert_eq!(errors.matches("; 1 cut at the limit of tokens").count(), 2, "{errors}");
    let text = |i: usize| with[i]["output"].as_str().unwrap();
    let expected = format!("> ab\n{}\n\n> bab\n{}\n\n", text(0), text(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// What AlpacaEval's own configurations allow a model, where nothing else is asked for.
#[test]
fn a_set_is_answered_with_2048_tokens() {
    let lpc = Lpc::new();
    let config = lpc::model::config::DecoderConfig { max_position_embeddings: 3000, ..tiny::config() };
    tiny::save(&lpc.path("model"), &config, Some(tiny::TEMPLATE));
    lpc.write("prompts.json", r#"[{ "instruction": "ab" }]"#);
    let mut written = vec![];
    for more in [&[][..], &["--max-new-tokens", "2048"], &["--max-new-tokens", "2040"]] {
        let call = ["generate", "model", "--prompts", "prompts.json", "--out", "out.json"];
        lpc.ok(&[&call[..], more].concat());
        written.push(answers(&lpc).remove(0));
    }
    assert_eq!((&written[0], written[0]["finish_reason"].as_str()), (&written[1], Some("length")));
    assert_ne!(written[0], written[2]);
    let shown = lpc.run(&["generate", "model", "--prompt", "ab"]);
    assert!(String::from_utf8_lossy(&shown.stderr).starts_with("128 tokens in "));
}

/// The limit of a temperature that goes to 0 is the likeliest token, and so is that of top-p.
#[test]
fn next_to_0_is_greedy() {
    let lpc = with_model();
    let write = |more: &[&str]| {
        let call = ["generate", "model", "--prompt", "ab ba", "--max-new-tokens", "24"];
        lpc.ok(&[&call[..], more].concat())
    };
    let greedy = write(&[]);
    for temperature in ["1e-5", "1e-6", "1e-8", "1e-20", "1e-38", "1e-40", "1e-300", "5e-324"] {
        assert_eq!(write(&["--temperature", temperature]), greedy, "{temperature}");
        assert_eq!(write(&["--temperature", temperature, "--top-p", "0.9"]), greedy, "{temperature}");
    }
    for top_p in ["1e-3", "1e-8", "1e-45", "1e-46", "1e-300"] {
        assert_eq!(write(&["--temperature", "1", "--top-p", top_p]), greedy, "{top_p}");
    }
    // All but certainty is left out of nothing.
    let drawn = write(&["--temperature", "1"]);
    assert_eq!(write(&["--temperature", "1", "--top-p", "0.99999999999"]), drawn);
    assert_ne!(drawn, greedy);
}

#[test]
fn needs_a_set_and_a_file() {
    let lpc = Lpc::new();
    for arguments in [
        &["generate", "model"][..],
        &["generate", "model", "--prompts", "p.json"],
        &["generate", "model", "--prompt", "x", "--out", "o.json"],
        &["generate", "model", "--prompt", "x", "--prompts", "p.json", "--out", "o.json"],
    ] {
        assert_eq!(lpc.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let lpc = with_model();
    lpc.write("prompts.json", r#"[{"instruction":"a"},{"instruction":"a"}]"#);
    let said = String::from_utf8(answer(&lpc, &[]).stderr).unwrap();
    assert!(said.contains("prompts.json: field `[1].instruction`: expected each instruction once"), "{said}");
}
