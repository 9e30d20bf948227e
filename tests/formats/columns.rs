//! Whatever a row says is in its pair, refused by name, or counted.

use crate::message::message;
use crate::support::{fixture, json, read, read_rows};
use lpc::data::pairs::Pairs;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

fn text(text: &str) -> lpc::Result<Pairs> {
    named("rows.jsonl", text)
}

fn named(name: &str, text: &str) -> lpc::Result<Pairs> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    read(&[path])
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, rows)| (name.to_string(), rows)).collect()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

fn system(text: &str) -> Value {
    json!({"role": "system", "content": text})
}

#[test]
fn messages_are_those_of_trl_with_all_their_keys() {
    let cases = json("pairs.json");
    for case in cases["conversations"].as_array().unwrap() {
        let read = read_rows([&case["row"]]).unwrap();
        let pair = &read.pairs[0];
        for (got, key) in [(&pair.prompt, "prompt"), (&pair.chosen, "chosen"), (&pair.rejected, "rejected")] {
            assert_eq!(json!(got), case[key], "{key} of {case}");
        }
        assert!(read.not_read.is_empty() && !pair.is_text, "{case}");
    }
}

/// Rows by the names that other trainers give their columns; what each means is written down by hand.
#[test]
fn prompts_under_other_names() {
    let (c, r) = ("The sum is 4.", "The sum is 5.");
    let cases = [
        (json!({"question": "2+2?"}), json!([user("2+2?")])),
        (json!({"query": "2+2?", "prompt": null}), json!([user("2+2?")])),
        (json!({"instruction": "Add.", "input": "2+2"}), json!([user("Add.\n2+2")])),
        (json!({"instruction": "2+2?", "input": ""}), json!([user("2+2?")])),
        (json!({"input": "2+2?"}), json!([user("2+2?")])),
        (json!({"question": "2+2?", "query": "2+2?"}), json!([user("2+2?")])),
        (
            json!({"messages": [system("Be a pirate."), user("2+2?")]}),
            json!([system("Be a pirate."), user("2+2?")]),
        ),
        (json!({"messages": [user("2+2?"), assistant(c)]}), json!([user("2+2?")])),
        (json!({"question": "2+2?", "messages": [user("2+2?")]}), json!([user("2+2?")])),
        (
            json!({"conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"},
                                     {"from": "human", "value": "2+2?"}]}),
            json!([user("1+1?"), assistant("2"), user("2+2?")]),
        ),
        (json!({"system": "Be brief.", "question": "2+2?"}), json!([system("Be brief."), user("2+2?")])),
        (json!({"system_prompt": "Be brief.", "prompt": "2+2?"}), json!([system("Be brief."), user("2+2?")])),
        (json!({"system": "", "prompt": "2+2?"}), json!([user("2+2?")])),
        (
            json!({"prompt": [system("Be brief."), user("2+2?")], "system": "Be brief."}),
            json!([system("Be brief."), user("2+2?")]),
        ),
    ];
    for (mut row, expected) in cases {
        for (chosen, rejected) in [
            (json!(c), json!(r)),
            (json!([assistant(c)]), json!([assistant(r)])),
            (assistant(c), json!({"from": "gpt", "value": r})),
        ] {
            row["chosen"] = chosen;
            row["rejected"] = rejected;
            let read = read_rows([&row]).unwrap();
            let pair = &read.pairs[0];
            assert_eq!(json!(pair.prompt), expected, "{row}");
            assert_eq!([pair.chosen_text(), pair.rejected_text()], [c, r], "{row}");
            assert_eq!(read.not_read, counts([]), "{row}");
            assert!(!pair.is_text || pair.prompt.len() == 1, "{row}");
        }
    }
}

#[test]
fn a_prompt_that_cannot_be_known_is_refused() {
    let row = |other: Value| {
        let mut row = json!({"chosen": "The sum is 4.", "rejected": "The sum is 5."});
        row.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        row
    };
    for (other, expected) in [
        (
            json!({"question": "a?", "instruction": "b?"}),
            "expected one prompt, got question beside instruction",
        ),
        (
            json!({"frage": "a?", "n": 1}),
            "field `prompt`: expected a prompt in a column that `lpc data --help` lists",
        ),
        (json!({"frage": "a?", "n": 1}), "got text in frage, beside chosen and rejected"),
        (json!({"system": "Be brief."}), "got text in system, beside"),
        (json!({"question": 3}), "field `question`: expected text or messages, got a number"),
        (json!({"prompt": "p", "system": ["a"]}), "field `system`: expected a string, got an array"),
        (
            json!({"prompt": "p", "tools": {}}),
            "field `tools`: expected a list of tools, or its JSON as text, got an object",
        ),
        (json!({"prompt": "p", "tools": "["}), "field `tools`: expected JSON as text"),
        (
            json!({"prompt": "p", "chat_template_kwargs": [1]}),
            "field `chat_template_kwargs`: expected an object",
        ),
        (
            json!({"conversations": [{"from": "function_call", "value": "{}"}]}),
            "field `conversations[0].from`: expected human",
        ),
        (
            json!({"messages": [user("a?"), assistant("another")]}),
            "field `prompt`: expected a last message of the user",
        ),
    ] {
        let message = message(read_rows([&row(other)]));
        assert!(message.contains("rows.jsonl:1: ") && message.contains(expected), "{message}\n{expected}");
    }
    let message = message(read_rows([&json!({"prompt": "p", "answer": "c", "score": 1})]));
    assert!(
        message.contains("field `chosen`: expected a string, got nothing (columns: prompt, answer, score)"),
        "{message}"
    );
}

#[test]
fn what_is_not_read_is_counted() {
    let rows = [
        json!({"prompt": "p", "question": "p", "chosen": "c", "rejected": "r", "note": "n", "score": 1, "tags": []}),
        json!({"prompt": "p", "question": "q", "chosen": "c", "rejected": "r", "note": "", "tags": ["a"]}),
        json!({"prompt": [system("s"), user("p")], "system": "t", "chosen": "c", "rejected": "r", "note": null}),
        // The text beside a conversation is its question, or something else; `messages` repeat what was chosen.
        json!({"prompt": "p", "chosen": [user("p"), assistant("c")], "rejected": [user("p"), assistant("r")],
               "messages": [user("p"), assistant("c")]}),
        json!({"prompt": "other", "chosen": [user("p"), assistant("c")], "rejected": [user("p"), assistant("r")]}),
    ];
    let read = read_rows(&rows).unwrap();
    let expected = counts([("note", 1), ("question", 1), ("tags", 1), ("system", 1), ("prompt", 1)]);
    assert_eq!(read.not_read, expected);
    assert_eq!(
        read.notes(),
        ["not read: note (1 rows), prompt (1 rows), question (1 rows), system (1 rows), tags (1 rows)"]
    );
    let read = read_rows([&json!({"question": "q", "system": "s", "chosen": "c", "rejected": "r"})]).unwrap();
    assert_eq!(read.notes(), ["prompt from: question (1 rows), system (1 rows)"]);
}

/// In Parquet, too, where columns that nobody reads stay packed.
#[test]
fn columns_of_parquet() {
    let rows = &json("pairs.json")["parquet"]["columns.parquet"];
    let read = read(&[fixture("columns.parquet")]).unwrap();
    for (pair, row) in read.pairs.iter().zip(rows.as_array().unwrap()) {
        let asked = user(row["question"].as_str().unwrap());
        let expected = match row["system"].as_str() {
            None => json!([asked]),
            Some(text) => json!([system(text), asked]),
        };
        assert_eq!(json!(pair.prompt), expected);
    }
    assert_eq!(read.pairs.len(), 3);
    assert_eq!(read.renamed, counts([("question", 3), ("system", 2)]));
    assert_eq!(read.not_read, counts([("category", 3), ("note", 1), ("tags", 3)]));
}

#[test]
fn tools_and_template_arguments() {
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    for (given, kwargs) in [
        (tools.clone(), json!({"enable_thinking": false})),
        (json!(tools.to_string()), json!(r#"{"enable_thinking": false}"#)),
    ] {
        let row = json!({"prompt": [user("p")], "chosen": "c", "rejected": "r", "tools": given,
                         "chat_template_kwargs": kwargs});
        let pair = &read_rows([&row]).unwrap().pairs[0];
        assert_eq!(pair.tools.as_ref(), Some(&tools));
        assert_eq!(json!(pair.template_kwargs), json!({"enable_thinking": false}));
    }
    for none in [json!(null), json!([]), json!("")] {
        let row = json!({"prompt": "p", "chosen": "c", "rejected": "r", "tools": none});
        assert_eq!(read_rows([&row]).unwrap().pairs[0].tools, None);
    }
}

const GOOD: &str = r#""prompt": "p", "chosen": "c", "rejected": "r""#;

/// As Python's `json.dumps` writes numbers that JSON does not have.
#[test]
fn numbers_that_json_does_not_have() {
    for value in ["NaN", "Infinity", "-Infinity", "1e999", "[1, {\"a\": -Infinity}]", "\"NaN\"", "[NaN,NaN]"]
    {
        let read = text(&format!("{{{GOOD}, \"score\": {value}, \"b\": 2}}\n")).unwrap();
        assert_eq!(read.pairs.len(), 1, "{value}");
    }
    let inside = r#"{"prompt": [{"role": "user", "content": "NaN \" NaN", "weight": NaN}], "chosen": "c\\", "rejected": "r"}"#;
    let read = text(inside).unwrap();
    assert_eq!(read.pairs[0].prompt_text(), "NaN \" NaN");
    for (row, expected) in [
        (
            r#"{"prompt": NaN, "chosen": "c", "rejected": "r"}"#,
            "field `prompt`: expected text or messages, got NaN",
        ),
        (
            r#"{"prompt": "p", "chosen": -Infinity, "rejected": "r"}"#,
            "field `chosen`: expected a string, got -Infinity",
        ),
        (&format!(r#"{{{GOOD}, "id": NaN}}"#), "field `id`: expected a string, got NaN"),
        (&format!(r#"{{{GOOD}, "system": NaN}}"#), "field `system`: expected a string, got NaN"),
        (
            &format!(r#"{{{GOOD}, "chat_template_kwargs": {{"a": NaN}}}}"#),
            "field `chat_template_kwargs.a`: expected a value of JSON, got NaN",
        ),
        (&format!(r#"{{{GOOD}, "score": NaNs}}"#), "expected a JSON object, got expected value at column 58"),
        (&format!(r#"{{{GOOD}, "score": NaN,}}"#), "expected a JSON object, got trailing comma at column 62"),
        (&format!(r#"{{{GOOD}, "score": nan}}"#), "expected a JSON object"),
    ] {
        let message = message(text(row));
        assert!(message.contains("rows.jsonl:1: ") && message.contains(expected), "{message}\n{expected}");
    }
    // Of a key that is there twice Python takes the last.
    let twice =
        text(r#"{"prompt": "a", "chosen": "c", "rejected": "r", "prompt": "b", "chosen": "d"}"#).unwrap();
    assert_eq!([twice.pairs[0].prompt_text(), twice.pairs[0].chosen_text()], ["b", "d"]);
}

#[test]
fn ids_that_repeat_get_their_line() {
    let ids = [r#""q1""#, "null", "2", r#""q1""#, "4", r#""2""#, r#""q1#4""#];
    let rows: String = ids.iter().map(|id| format!("{{{GOOD}, \"id\": {id}}}\n")).collect();
    let read = text(&rows).unwrap();
    let ids: Vec<&str> = read.pairs.iter().map(|pair| pair.id.as_str()).collect();
    assert_eq!(ids, ["q1", "2", "2#3", "q1#4", "4", "2#6", "q1#4#7"]);
    assert_eq!(read.repeated_ids, 4);
    assert_eq!(read.notes(), ["repeated ids: 4 rows, which have # and their line behind the id"]);
}

#[test]
fn one_array_of_rows() {
    let row = |n: usize| format!("{{\n  {GOOD}, \"n\": [{n}, \"], }}\\\"\", NaN]\n}}");
    let array = format!("\u{feff} \n[\n {},\n{} , {} ]\n\n", row(1), row(2), row(3));
    for name in ["rows.jsonl", "rows.json"] {
        let read = named(name, &array).unwrap();
        let ids: Vec<&str> = read.pairs.iter().map(|pair| pair.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "3"]);
    }
    assert_eq!(named("rows.json", "[]").unwrap().pairs, []);
    for (array, expected) in [
        (format!("[{}, 3]", row(1)), "rows.json:2: expected a JSON object, got invalid type: integer `3`"),
        (format!("[{}, {}", row(1), row(2)), "rows.json:2: expected a JSON object, got no end of the array"),
        (
            format!("[{},]", row(1)),
            "rows.json:2: expected a JSON object, got nothing, before a comma or the end",
        ),
        (format!("[{}] x", row(1)), "rows.json:1: expected a JSON object, got more behind the array's end"),
        (format!("[{}, {{\"prompt\": 1}}]", row(1)), "rows.json:2: field `chosen`"),
        ("[".repeat(100_000), "rows.json:1: expected a JSON object, got no end of the array"),
    ] {
        let message = message(named("rows.json", &array));
        assert!(message.contains(expected), "{message}\n{expected}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.json"), &array).unwrap();
    let files = lpc::data::rows::split_files(folder.path(), "train").unwrap();
    assert_eq!(read(&files).unwrap().pairs.len(), 3);
    // Beside rows of another kind it is something else.
    fs::write(folder.path().join("train.jsonl"), "").unwrap();
    let files = lpc::data::rows::split_files(folder.path(), "train").unwrap();
    assert_eq!(files, [folder.path().join("train.jsonl")]);
}
