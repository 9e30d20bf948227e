//! The date that a chat template writes stays what it was when pairs were first read.

use crate::folder::saved;
use crate::message::message;
use crate::tiny;
use lpc::config::Truncation;
use lpc::data::pairs::Pair;
use lpc::data::tokenize::tokenize_prompt;
use lpc::experiment::dataset::TextPairs;
use lpc::experiment::template_date;
use lpc::model::load::{Loaded, huggingface};
use serde_json::json;
use std::fs;
use std::path::Path;

const TEMPLATE: &str = "{{ strftime_now('%Y-%m-%d') }} {% for m in messages %}{{ m.content }}{% endfor %}";

fn model(folder: &Path, template: &str) -> Loaded {
    let path = folder.join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["chat_template"] = json!(template);
    fs::write(path, config.to_string()).unwrap();
    huggingface::load(folder).unwrap()
}

fn pairs(prompt: &str) -> TextPairs {
    let pairs = || vec![Pair::of_texts(prompt, "a", "b")];
    TextPairs { train: pairs(), test: pairs(), bayes: None, notes: vec![], identical: Default::default() }
}

fn prompt(model: &Loaded) -> String {
    let ids = tokenize_prompt("?", &model.tokenizer).unwrap();
    model.tokenizer.decode(&ids, false).unwrap()
}

#[test]
fn a_folder_of_runs_keeps_the_date() {
    let (folder, runs) = (saved(&tiny::config()), tempfile::tempdir().unwrap());
    let mut loaded = model(folder.path(), TEMPLATE);
    let today = jiff::Zoned::now().date().to_string();
    let fixed = template_date::fix(&mut loaded, None, &pairs("x"), runs.path()).unwrap().unwrap();
    assert_eq!(fixed, today, "run again if midnight has just passed");
    let kept: Vec<_> = fs::read_dir(runs.path().join("template-dates")).unwrap().collect();
    let kept = kept[0].as_ref().unwrap().path();

    // As if that had been on another day.
    fs::write(&kept, "2024-02-29\n").unwrap();
    let mut later = model(folder.path(), TEMPLATE);
    let fixed = template_date::fix(&mut later, None, &pairs("x"), runs.path()).unwrap();
    assert_eq!((fixed.as_deref(), prompt(&later).as_str()), (Some("2024-02-29"), "2024-02-29 ?"));
    let tokens = |loaded: &Loaded| {
        let limits = Truncation { max_length: 60, max_prompt_length: 30 };
        pairs("x").tokenized_by(&loaded.tokenizer, 60, &limits).unwrap().fingerprint
    };
    assert_ne!(tokens(&loaded), tokens(&later));
    // Other pairs are read for the first time.
    let fixed = template_date::fix(&mut later, None, &pairs("y"), runs.path()).unwrap();
    assert_eq!(fixed.as_deref(), Some(today.as_str()));
    // What is stated goes first and is not kept.
    template_date::fix(&mut later, Some("1999-12-31"), &pairs("x"), runs.path()).unwrap();
    assert_eq!(prompt(&later), "1999-12-31 ?");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "2024-02-29\n");

    for (stated, text) in [(Some("2023-02-29"), "2024-02-29"), (None, "yesterday")] {
        fs::write(&kept, text).unwrap();
        let message = message(template_date::fix(&mut later, stated, &pairs("x"), runs.path()));
        assert!(message.contains("a date as 2026-01-31"), "{message}");
    }
}

#[test]
fn a_template_without_a_date_keeps_none() {
    let (folder, runs) = (saved(&tiny::config()), tempfile::tempdir().unwrap());
    let mut loaded = model(folder.path(), "{{ messages[0].content }}");
    assert_eq!(template_date::fix(&mut loaded, Some("2024-01-01"), &pairs("x"), runs.path()).unwrap(), None);
    assert!(!runs.path().join("template-dates").exists());
}
