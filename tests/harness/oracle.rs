//! lm-eval on SmolLM2-135M-Instruct, document by document, where data and model are there.

use crate::formats::aggregates;
use candle_core::Device;
use lpc::eval::harness::data::{self, Span};
use lpc::eval::harness::{Answer, Record, Subject, run};
use lpc::eval::journal::Journal;
use lpc::eval::predictor::Predictor;
use lpc::eval::tasks::Task;
use lpc::experiment::prepared::reference_policy;
use lpc::files::sha256;
use lpc::model::load::gguf;
use lpc::progress::Progress;
use serde_json::Value;
use std::path::PathBuf;

/// Of a log-likelihood: both compute in f32, in other orders.
const RELATIVE_TOLERANCE: f64 = 1e-3;

#[test]
fn every_document_as_lm_eval_has_it() {
    let (Some(model), Some(folder)) = (std::env::var_os("LPC_SMOLLM2"), std::env::var_os("LPC_TASKS")) else {
        println!("skipped: set LPC_SMOLLM2 to the GGUF file or its wheel and LPC_TASKS to a folder of tasks");
        return;
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/golden/lm_eval.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(golden["versions"]["lm-eval"], "0.4.13");
    let folder = PathBuf::from(folder);
    for (name, expected) in golden["data"].as_object().unwrap() {
        let got = sha256(&std::fs::read(folder.join(name)).unwrap());
        assert_eq!(got, expected.as_str().unwrap(), "{name} is not the file that lm-eval read");
    }
    let loaded = gguf::load(&PathBuf::from(model)).unwrap();
    let policy = reference_policy(&loaded, lpc::config::Precision::F32, &Device::Cpu).unwrap();
    let predictor = Predictor::new(&policy, None, None).unwrap();
    let subject = Subject {
        predictor: &predictor,
        tokenizer: &loaded.tokenizer,
        seed: 1,
        latent: None,
        identity: String::new(),
    };
    for task in Task::ALL {
        let expected = &golden["tasks"][task.name()];
        let theirs = expected["documents"].as_array().unwrap();
        let documents = data::read(task, &folder).unwrap().documents;
        let documents = Span { start: 0, end: None }.of(documents, Some(theirs.len())).unwrap();
        let bar = Progress::hidden().task(task.name(), documents.len());
        let records = run(task, &documents, &subject, &Journal::in_memory(), &bar).unwrap();
        let worst = records.iter().zip(theirs).map(|(r, t)| compare(r, t)).fold(0.0, f64::max);
        aggregates(task.name(), &records, &expected["metrics"]);
        let answers = match task {
            Task::Gsm8k => "texts equal".into(),
            _ => format!("log-likelihoods within {worst:.1e} relative"),
        };
        println!("{}: {} documents, every verdict equal; {answers}", task.name(), records.len());
    }
}

/// The largest relative difference of a log-likelihood; everything else must be equal.
fn compare(ours: &Record, theirs: &Value) -> f64 {
    let what = format!("{} document {}", ours.task, ours.doc);
    assert_eq!(ours.doc as u64, theirs["index"].as_u64().unwrap());
    assert_eq!(&ours.prompt[..16], theirs["prompt"].as_str().unwrap(), "{what}: another prompt");
    match &ours.answer {
        Answer::Generated { text, extractions } => {
            assert_eq!(text.chars().count() as u64, theirs["characters"].as_u64().unwrap(), "{what}");
            assert_eq!(&sha256(text.as_bytes())[..16], theirs["generation"].as_str().unwrap(), "{what}");
            for (filter, found) in extractions {
                assert_eq!(found, theirs[filter]["extracted"].as_str().unwrap(), "{what}");
                let verdict = ours.verdicts[&format!("exact_match,{filter}")];
                assert_eq!(verdict, theirs[filter]["exact_match"].as_f64().unwrap(), "{what}");
            }
            0.0
        }
        Answer::Choices(likelihoods) => {
            let expected = theirs["loglikelihoods"].as_array().unwrap();
            assert_eq!(likelihoods.len(), expected.len(), "{what}");
            for (metric, verdict) in &ours.verdicts {
                let theirs = theirs[metric].as_f64().unwrap();
                // A share of a likelihood moves with it; right and wrong do not move.
                let allowed = if ours.task == "truthfulqa_mc2" { 1e-3 } else { 0.0 };
                assert!((verdict - theirs).abs() <= allowed, "{what}: {metric} {verdict}, lm-eval {theirs}");
            }
            let difference = likelihoods.iter().zip(expected).map(|(ours, theirs)| {
                assert_eq!(ours.is_greedy, theirs[1].as_bool().unwrap(), "{what}");
                let theirs = theirs[0].as_f64().unwrap();
                (ours.loglikelihood - theirs).abs() / theirs.abs()
            });
            let worst = difference.fold(0.0, f64::max);
            assert!(worst <= RELATIVE_TOLERANCE, "{what}: {worst:e}");
            worst
        }
    }
}
