//! Files that are no task's, and contexts that do not fit.

use crate::tiny;
use candle_core::Device;
use lpc::config::Precision;
use lpc::eval::harness::{Answer, Record, Subject, data, run};
use lpc::eval::journal::Journal;
use lpc::eval::loglikelihood::encode;
use lpc::eval::predictor::Predictor;
use lpc::eval::tasks::{ChoiceMetric, Document, Question, Task, Written};
use lpc::experiment::prepared::reference_policy;
use lpc::model::config::DecoderConfig;
use lpc::model::load::huggingface;
use lpc::progress::Progress;

fn refused(task: Task, line: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{}.jsonl", task.source().split));
    std::fs::write(&file, format!("\n{line}\n")).unwrap();
    std::fs::write(folder.path().join("train.jsonl"), "{\"question\": \"q\", \"answer\": \"a\"}\n".repeat(9))
        .unwrap();
    let error = data::read(task, folder.path()).err().expect(line).to_string();
    error.replace(&file.display().to_string(), "FILE")
}

#[test]
fn a_fault_names_file_line_and_field() {
    let arc = |rest: &str| refused(Task::ArcEasy, &format!("{{\"question\": \"q\", {rest}}}"));
    let choices = r#""choices": {"text": ["a", "b"], "label": ["A", "B"]}"#;
    assert_eq!(arc(choices), "FILE:2: field `answerKey`: expected a value, got nothing");
    assert_eq!(
        arc(&format!(r#"{choices}, "answerKey": "E""#)),
        "FILE:2: field `answerKey`: expected one of A, B, got E"
    );
    assert_eq!(
        arc(r#""choices": {"text": ["a"], "label": ["A", "B"]}, "answerKey": "A""#),
        "FILE:2: field `choices.label`: expected 1, one a choice, got 2"
    );
    assert_eq!(
        arc(r#""choices": {"text": [], "label": []}, "answerKey": "A""#),
        "FILE:2: field `choices.text`: expected at least one value, got none"
    );
    assert_eq!(
        arc(r#""choices": {"text": ["a", 1], "label": ["A", "B"]}, "answerKey": "A""#),
        "FILE:2: field `choices.text`: expected non-empty strings, got a number"
    );
    assert_eq!(arc(r#""choices": 3"#), "FILE:2: field `choices.text`: expected a value, got nothing");
    let truth = |labels: &str| {
        let line =
            format!(r#"{{"question": "q", "mc2_targets": {{"choices": ["a", "b"], "labels": {labels}}}}}"#);
        refused(Task::TruthfulqaMc2, &line)
    };
    assert_eq!(truth("[1]"), "FILE:2: field `mc2_targets.labels`: expected 2, one a choice, got 1");
    assert_eq!(truth("[1, 2]"), "FILE:2: field `mc2_targets.labels`: expected 0 or 1, got 2");
    assert_eq!(
        refused(Task::Gsm8k, r#"{"question": "q"}"#),
        "FILE:2: field `answer`: expected a value, got nothing"
    );
    assert_eq!(
        refused(Task::Gsm8k, r#"{"question": "", "answer": "a"}"#),
        "FILE:2: field `question`: expected a non-empty string, got an empty string"
    );
    for broken in ["{", "[1]", "nonsense", "{\"question\": \"q\""] {
        let error = refused(Task::ArcEasy, broken);
        assert!(error.starts_with("FILE:2: expected a JSON object, got "), "{error}");
    }
    assert_eq!(refused(Task::ArcEasy, ""), "FILE: expected at least one document, got none");
}

#[test]
fn examples_and_places() {
    let folder = tempfile::tempdir().unwrap();
    let read = |task| data::read(task, folder.path()).err().unwrap().to_string();
    assert!(read(Task::ArcEasy).ends_with("expected arc_easy/test.jsonl or test.jsonl, got neither"));
    std::fs::write(folder.path().join("test.jsonl"), "{\"question\": \"q\", \"answer\": \"a\"}\n").unwrap();
    assert!(read(Task::Gsm8k).ends_with("expected gsm8k/train.jsonl or train.jsonl, got neither"));
    std::fs::write(folder.path().join("train.jsonl"), "{\"question\": \"q\", \"answer\": \"a\"}\n").unwrap();
    assert_eq!(read(Task::Gsm8k), "few-shot: examples = 1, expected at least 5");
}

/// lm-eval feeds the last window + 1 tokens of context and continuation, but for the very last.
#[test]
fn a_context_longer_than_the_window_loses_its_beginning() {
    let tokenizer = tiny::tokenizer(None);
    let context = "x".repeat(40);
    let tokens = |text: &str| tokenizer.encode(text, true).unwrap().len();
    let (short, long) = (" a".to_string(), format!(" {}", "b".repeat(20)));
    let total = tokens(&format!("{context}{short}"));
    let choices = [short, long];
    // One token less than the two together: all still fit, since the last is never fed.
    let fits = encode(&tokenizer, &context, &choices[..1], total - 1).unwrap();
    assert_eq!((fits.truncated, fits.tokens()), (0, total));
    let cut = encode(&tokenizer, &context, &choices, total - 1).unwrap();
    assert_eq!((cut.truncated, cut.tokens()), (1, total));
    let cut = encode(&tokenizer, &context, &choices, total - 2).unwrap();
    assert_eq!((cut.truncated, cut.tokens()), (2, total - 1));
    let refused = encode(&tokenizer, &context, &choices, 5).err().unwrap().to_string();
    assert!(
        refused.starts_with("loglikelihood: continuation = ") && refused.ends_with("expected 1 to 5 tokens")
    );
    let refused = encode(&tokenizer, &context, &[String::new()], 5).err().unwrap().to_string();
    assert_eq!(refused, "loglikelihood: continuation = 0, expected 1 to 5 tokens");
}

/// White space at the end of a context belongs to the continuation.
#[test]
fn the_boundary_is_between_words() {
    let tokenizer = tiny::tokenizer(None);
    let [a, b] = [("the mat \n", "x"), ("the mat", " \nx")].map(|(context, choice)| {
        format!("{:?}", encode(&tokenizer, context, &[choice.to_string()], 96).unwrap())
    });
    assert_eq!(a, b);
}

/// Of a window of 300: the last 300 - 256 tokens where 256 may be written, and the last 301 of
/// context and continuation together where they are scored, as lm-eval cuts them.
#[test]
fn a_context_that_lost_its_beginning_is_what_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let config = DecoderConfig { max_position_embeddings: 300, ..tiny::config() };
    tiny::save(folder.path(), &config, None);
    let loaded = huggingface::load(folder.path()).unwrap();
    let policy = reference_policy(&loaded, Precision::F32, &Device::Cpu).unwrap();
    let predictor = Predictor::new(&policy, None, None).unwrap();
    let tokenizer = &loaded.tokenizer;
    let subject =
        Subject { predictor: &predictor, tokenizer, seed: 1, latent: None, identity: String::new() };
    // Every byte is a token of its own: the vocabulary's one word is not in it.
    let context: String = (0..400).map(|i| char::from(b'c' + (i * i % 23) as u8)).collect();
    assert_eq!(tokenizer.encode(&context, true).unwrap().len(), 400);
    let answer = |task: Task, context: &str, question: &Question| -> Record {
        let document =
            Document { index: 0, line: 1, id: None, context: context.into(), question: question.clone() };
        let bar = Progress::hidden().task("", 1);
        run(task, &[document], &subject, &Journal::in_memory(), &bar).unwrap().remove(0)
    };
    let text = Question::Text { answer: "1".into(), written: Written::Gsm8k };
    // " cd" are three tokens.
    let choice = Question::Choice { choices: vec!["cd".into()], gold: 0, metrics: &[ChoiceMetric::Acc] };
    for (task, question, kept) in [(Task::Gsm8k, &text, 300 - 256), (Task::ArcEasy, &choice, 301 - 3)] {
        let [all, tail, more] =
            [400, kept, kept + 1].map(|last| answer(task, &context[400 - last..], question));
        assert_eq!(all.answer, tail.answer, "{task:?}");
        assert_eq!([all.truncated, more.truncated, tail.truncated], [true, true, false], "{task:?}");
        let fewer = answer(task, &context[400 - kept + 1..], question);
        assert_ne!(all.answer, fewer.answer, "{task:?}");
        if let Answer::Generated { text, .. } = &all.answer {
            assert!(!text.is_empty());
        }
    }
}
