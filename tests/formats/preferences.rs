//! What a row's prompt and completions are, as TRL and the rules of each data set have it.

use crate::message::message;
use crate::support::{assert_pair, json, read_rows};
use lpc::config::EmptyCompletion;
use lpc::data::layout::Layout;
use lpc::data::pairs::PairReader;
use lpc::data::ultrafeedback::ScoreCounts;
use lpc::text::message::Message;
use serde_json::{Value, json};

#[test]
fn prompts_are_those_of_trl() {
    let cases = json("pairs.json");
    for case in cases["trl"].as_array().unwrap() {
        let empty = [&case["chosen"], &case["rejected"]].contains(&&json!(""));
        let read = read_rows([&case["row"]]).unwrap();
        match read.pairs.first() {
            Some(pair) => assert_pair(pair, case),
            None => assert!(empty && read.left_out.len() == 1, "{case}"),
        }
        assert_eq!(read.pairs.is_empty(), empty, "{case}");
    }
}

#[test]
fn transcripts() {
    for case in json("pairs.json")["transcripts"].as_array().unwrap() {
        let read = read_rows([&case["row"]]).unwrap();
        assert_eq!(read.layouts, [(Layout::Transcripts, 1)].into());
        let reason = read.left_out.first().map(|(_, reason)| serde_json::to_value(reason).unwrap());
        match (case.get("left_out"), case["rejected"].as_str()) {
            (Some(expected), _) => assert_eq!(reason.as_ref(), Some(expected), "{case}"),
            (None, None) => assert_eq!(reason, Some(json!("empty-completion")), "{case}"),
            (None, Some(_)) => assert_pair(&read.pairs[0], case),
        }
    }
}

#[test]
fn ultrafeedback_by_zephyrs_recipe() {
    let cases = json("pairs.json");
    for case in cases["ultrafeedback"].as_array().unwrap() {
        let read = read_rows([&case["row"]]).unwrap();
        let count = |key: &str| case["counts"][key].as_u64().unwrap() as usize;
        let counts = ScoreCounts {
            tens_corrected: count("tens_corrected"),
            tens_ambiguous: count("tens_ambiguous"),
            missing: count("missing"),
            tied_best: count("tied_best"),
        };
        assert_eq!(read.scores, counts, "{case}");
        if let Some(expected) = case.get("left_out") {
            let reason = read.left_out.first().map(|(_, reason)| serde_json::to_value(reason).unwrap());
            assert_eq!(reason.as_ref(), Some(expected), "{case}");
            continue;
        }
        let pair = &read.pairs[0];
        assert_eq!(pair.chosen_text(), case["chosen"].as_str().unwrap(), "{case}");
        assert!(case["rejected"].as_array().unwrap().contains(&json!(pair.rejected_text())), "{case}");
        assert_eq!(json!(pair.source), case["row"]["source"]);
        assert_eq!(json!(pair.prompt_text()), case["row"]["instruction"]);
    }
}

/// 300 copies of a row: the draw is uniform (each of three within five standard deviations), the
/// same for the same seed, another for another.
#[test]
fn rejected_completions_are_drawn_by_seed() {
    let rows =
        vec![&json("pairs.json")["ultrafeedback"][0]["row"]; 300].into_iter().cloned().collect::<Vec<_>>();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    let drawn = |seed: u64| -> Vec<String> {
        let reader = PairReader::open(std::slice::from_ref(&path), EmptyCompletion::Refuse).unwrap();
        reader.drawing(seed).map(|pair| pair.unwrap().rejected_text().into_owned()).collect()
    };
    let first = drawn(1);
    assert_eq!(first, drawn(1));
    assert_ne!(first, drawn(2));
    for text in ["a", "c", "d"] {
        let count = first.iter().filter(|drawn| *drawn == text).count() as f64;
        assert!((count - 100.0).abs() < 5.0 * (300.0f64 * 2.0 / 9.0).sqrt(), "{text}: {count}");
    }
    let plain = PairReader::open(&[path], EmptyCompletion::Refuse).unwrap().read_all(None);
    assert!(message(plain).contains("rows.jsonl:1: expected a preference pair, got raw UltraFeedback"));
}

#[test]
fn faults_name_the_field() {
    let user = json!({"role": "user", "content": "u"});
    let answer = json!({"role": "assistant", "content": "a"});
    let other = json!({"role": "assistant", "content": "b"});
    let row = |prompt: Value, chosen: Value, rejected: Value| json!({"prompt": prompt, "chosen": chosen, "rejected": rejected});
    let cases = [
        (
            row(json!([user]), json!([answer, user]), json!([other])),
            "field `chosen`: expected the assistant's message first and last, got one of role \"user\"",
        ),
        (
            row(json!([user]), json!([answer]), json!([user])),
            "field `rejected`: expected a message of the assistant",
        ),
        (
            row(json!([answer]), json!([answer]), json!([other])),
            "field `prompt`: expected a last message of the user or of a tool",
        ),
        (
            row(json!([]), json!([answer]), json!([other])),
            "field `prompt`: expected a last message of the user or of a tool, got no message",
        ),
        (
            row(json!([{"role": "user"}]), json!([answer]), json!([other])),
            "field `prompt[0].content`: expected a string, got nothing",
        ),
        (
            row(json!([user]), json!([{"role": "assistant", "content": [1]}]), json!([other])),
            "field `chosen[0].content[0]`: expected a part of a content, got a number",
        ),
        (
            row(json!([user]), json!(["text"]), json!([other])),
            "field `chosen[0]`: expected a message, got a string",
        ),
        (
            row(json!(3), json!([answer]), json!([other])),
            "field `prompt`: expected text or messages, got a number",
        ),
        (
            json!({"chosen": [user, answer], "rejected": "r"}),
            "field `chosen`: expected a string, got an array",
        ),
        (
            json!({"chosen": [answer], "rejected": [other]}),
            "field `prompt`: expected a last message of the user or of a tool, got no message",
        ),
        (
            json!({"chosen": [user, answer, user, answer], "rejected": [user, other]}),
            "field `chosen`: expected messages of the assistant and of tools behind the prompt",
        ),
        (
            json!({"instruction": 1, "completions": []}),
            "field `instruction`: expected a string, got a number",
        ),
        (
            json!({"instruction": "i", "completions": [{}]}),
            "field `completions[0].response`: expected a string, got nothing",
        ),
        (
            json!({"instruction": "i", "completions": [{"response": "", "overall_score": "x"}]}),
            "field `completions[0].overall_score`: expected a number, got a string",
        ),
        (
            json!({"instruction": "i", "completions": {}}),
            "field `completions`: expected an array, got an object",
        ),
    ];
    for (row, expected) in cases {
        let message = message(read_rows([&row]));
        assert!(message.contains("rows.jsonl:1: ") && message.contains(expected), "{message}\n{expected}");
    }
}

/// A prompt that is text beside whole conversations is the conversations'; beside answers alone it is
/// the user's message.
#[test]
fn prompts_as_text_beside_messages() {
    let answer = |text: &str| json!([{"role": "assistant", "content": text}]);
    let read = read_rows([&json!({"prompt": "p", "chosen": answer("c"), "rejected": answer("r")})]).unwrap();
    let pair = &read.pairs[0];
    assert_eq!([pair.prompt_text(), pair.chosen_text(), pair.rejected_text()], ["p", "c", "r"]);
    let prompt = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]);
    let read = read_rows([&json!({"prompt": prompt, "chosen": "c", "rejected": "r"})]).unwrap();
    assert_eq!(read.pairs[0].context(), [Message::new("system", "s")]);
}
