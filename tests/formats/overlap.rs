//! What data have in common: counted by hand.

use crate::program::Lpc;
use crate::tiny;
use lpc::config::{DataSource, IdenticalCompletions, Truncation};
use lpc::data::inspect::inspect;
use lpc::data::overlap::{Item, contradictions, count, find, shared};
use lpc::data::pairs::{Pair, Pairs};
use lpc::experiment::dataset::TextPairs;
use serde_json::json;

fn pair(prompt: &str, chosen: &str, rejected: &str) -> Pair {
    Pair::of_texts(prompt, chosen, rejected)
}

#[test]
fn pairs_against_pairs() {
    let train = [pair("a", "1", "2"), pair("a", "2", "1"), pair("b", "1", "2"), pair("c", "1", "1")];
    assert!(contradictions(&train).unwrap().starts_with("2 of 4 pairs"));
    assert_eq!(contradictions(&train[1..]), None);
    let test = [pair("b", "1", "2"), pair("b", "2", "1"), pair("b", "3", "4"), pair("d", "1", "2")];
    let found = shared(&test, &train);
    assert_eq!((found.pairs, found.turned, found.prompts), (2, 1, 3));
    assert!(
        found
            .note("test", "training")
            .unwrap()
            .contains("3 of 4 pairs have a prompt of the training pairs; 2 are")
    );
    assert_eq!(shared(&test[3..], &train).note("test", "training"), None);
}

const LONG: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen";

#[test]
fn questions_by_thirteen_words() {
    let item = |text: &str| Item { task: "t".into(), line: 1, text: text.into() };
    let items = [item(LONG), item("How many legs does a spider have?"), item("Why not?")];
    let words: Vec<&str> = LONG.split(' ').collect();
    let found = |text: &str| -> Vec<usize> {
        find(&items, &[pair("x", text, "y")]).into_iter().map(|hit| hit.item).collect()
    };
    assert_eq!(found(&words[..13].join(", ").to_uppercase()), [0]);
    assert_eq!(found(&words[1..].join("\n")), [0]);
    assert_eq!(found(&words[1..13].join(" ")), [0; 0]);
    assert_eq!(found("Tell me how many legs does a spider have, and why not?"), [1]);
    assert_eq!(found("How many legs does a spider"), [0; 0]);
    assert_eq!(found("why not"), [2]);
    // Not across two messages.
    assert_eq!(find(&items, &[pair("How many legs", "does a spider have?", "y")]), []);
    let both = Pair { source: "s".into(), ..pair(LONG, LONG, LONG) };
    let pairs = [both.clone(), both, pair("q", "r", "Why not?")];
    let hits = find(&items, &pairs);
    assert_eq!(
        hits.iter().map(|hit| (hit.item, hit.pair, hit.part)).collect::<Vec<_>>(),
        [(0, 0, "prompt"), (0, 1, "prompt"), (2, 2, "rejected")]
    );
    let text = count(&items, &pairs, &hits).to_string();
    assert!(text.starts_with("t: 2 of 3 questions found (66.7 %)\n"), "{text}");
    assert!(text.contains("s                                     1 in 2 pairs"), "{text}");
}

#[test]
fn the_command_reads_tasks_as_eval_does() {
    let lpc = Lpc::new();
    let arc = r#"{"question": "Which of these is a mammal?", "choices": {"text": ["cat", "ant"], "label": ["A", "B"]}, "answerKey": "A"}"#;
    let sum = r#"{"question": "Ann has 3 apples and buys 4 more. How many has she?", "answer": "7 #### 7"}"#;
    let shot =
        |n: usize| format!("{{\"question\": \"Shot number {n} is shown?\", \"answer\": \"#### {n}\"}}\n");
    let truth = r#"{"question": "Do cats have nine lives?", "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]}, "mc2_targets": {"choices": ["No", "Yes"], "labels": [1, 0]}}"#;
    lpc.write("tasks/arc_easy/test.jsonl", arc);
    lpc.write("tasks/gsm8k/test.jsonl", sum);
    lpc.write("tasks/gsm8k/train.jsonl", (0..6).map(shot).collect::<String>());
    lpc.write("tasks/truthfulqa/validation.jsonl", truth);
    let rows = [
        r#"{"prompt": "do cats have nine lives", "chosen": "no", "rejected": "yes", "source": "truthful_qa", "id": "t"}"#,
        r#"{"prompt": "Sum up: ann has 3 apples, and buys 4 more; how many has she", "chosen": "7", "rejected": "8"}"#,
        r#"{"prompt": "Shot number 1 is shown? What is the square root of banana?", "chosen": "7", "rejected": "8"}"#,
    ];
    lpc.write("pairs.jsonl", rows.join("\n"));
    let text = lpc.ok(&["data", "overlap", "pairs.jsonl", "tasks", "--csv", "found.csv"]);
    for line in ["arc_easy: 0 of 1", "gsm8k: 1 of 1", "truthfulqa: 1 of 1", "  truthful_qa  "] {
        assert!(text.contains(line), "{text}");
    }
    let found = lpc.read("found.csv");
    assert_eq!(found, "task,line,pair,source,part\ntruthfulqa,1,t,truthful_qa,prompt\ngsm8k,1,2,,prompt\n");
    let text = lpc.ok(&["data", "inspect", "pairs.jsonl", "--against", "pairs.jsonl", "--tasks", "tasks"]);
    assert!(text.contains("against: 3 of 3 pairs have a prompt") && text.contains("gsm8k: 1 of 1"), "{text}");
    // Before a run trains on them, too; this one's model is nowhere.
    for split in ["data/train.jsonl", "data/test.jsonl"] {
        lpc.write(split, rows.join("\n"));
    }
    let recipe = include_str!("../../paper/recipes/dpo-lpc.toml");
    lpc.write("recipe.toml", recipe.replace("data/ultrafeedback_binarized", "data"));
    let output = lpc.run(&["train", "recipe.toml", "--tasks", "tasks"]);
    let [text, fault] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(text.contains("gsm8k: 1 of 1") && text.contains("truthfulqa: 1 of 1"), "{text} {fault}");
    let fault = lpc.refused(&["data", "overlap", "pairs.jsonl", "tasks/gsm8k"]);
    assert!(fault.contains("or --task with its file"), "{fault}");
    let text = lpc.ok(&["data", "overlap", "pairs.jsonl", "tasks/gsm8k", "--task", "gsm8k"]);
    assert!(text.starts_with("gsm8k: 1 of 1"), "{text}");
}

/// A byte is a token: of five tokens in all two completions have what differs behind their end.
#[test]
fn completions_alike_as_truncated_are_named() {
    let named = |id: &str, pair: Pair| Pair { id: id.into(), ..pair };
    let pairs = vec![
        named("a", pair("x", "yyyyx", "yyyyz")),
        named("b", pair("x", "yx", "yz")),
        named("c", pair("x", "y", "y")),
    ];
    let read = Pairs { identical: 1, pairs, ..Pairs::default() };
    let limits = Truncation { max_length: 5, max_prompt_length: 2 };
    let found = inspect(&read, Some((&tiny::tokenizer(None), &limits))).unwrap();
    assert_eq!(found.identical_ids, ["a", "c"]);
    let text = found.to_string();
    assert!(text.contains("completions of the same tokens as truncated: 2 of 3 (a, c)\n"), "{text}");
}

/// The pairs stay in order and keep their places; the test keeps all of its pairs.
#[test]
fn a_recipe_says_whether_they_are_trained_on() {
    let train = vec![pair("x", "y", "y"), pair("x", "yx", "yz"), pair("x", "yyyyx", "yyyyz")];
    let text = |identical| TextPairs {
        train: train.clone(),
        test: train.clone(),
        identical,
        ..TextPairs::default()
    };
    let limits = Truncation { max_length: 5, max_prompt_length: 2 };
    let tokenizer = tiny::tokenizer(None);
    let places = |identical| -> (Vec<usize>, Vec<String>) {
        let data = text(identical).tokenized_by(&tokenizer, 5, &limits).unwrap();
        assert_eq!(data.test.len(), 3);
        (data.train.iter().map(|pair| pair.index).collect(), data.notes("tiny", &limits))
    };
    let (all, notes) = places(IdenticalCompletions::Train);
    assert_eq!(all, [0, 1, 2]);
    assert!(
        notes[1].starts_with("tiny: 2 of 3 training pairs have two completions of the same tokens"),
        "{notes:?}"
    );
    let (some, notes) = places(IdenticalCompletions::LeaveOut);
    assert_eq!(some, [1]);
    assert!(notes[1].ends_with("; they are left out."), "{notes:?}");
    let none = TextPairs { train: train[..1].to_vec(), ..text(IdenticalCompletions::LeaveOut) };
    let refused = none.tokenized_by(&tokenizer, 5, &limits).err().unwrap().to_string();
    assert!(refused.contains("data.identical_completions"), "{refused}");

    let mut source = json!({"kind": "jsonl", "folder": "f", "limit": null, "empty_completion": "refuse"});
    let read: DataSource = serde_json::from_value(source.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), source);
    source["identical_completions"] = "leave-out".into();
    let read: DataSource = serde_json::from_value(source.clone()).unwrap();
    assert!(matches!(read, DataSource::Jsonl { identical_completions: IdenticalCompletions::LeaveOut, .. }));
    assert_eq!(serde_json::to_value(&read).unwrap(), source);
}
