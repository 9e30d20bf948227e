//! Prompts, choices, filters and verdicts are lm-eval's, to the byte, on documents of our own.

use lpc::eval::harness::summary::summarise;
use lpc::eval::harness::{Answer, Record};
use lpc::eval::loglikelihood::Likelihood;
use lpc::eval::tasks::Task;
use serde_json::Value;
use std::path::Path;

pub fn expected() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/golden/lm_eval_formats.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

pub fn write_files(expected: &Value, folder: &Path) {
    for (name, text) in expected["files"].as_object().unwrap() {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_str().unwrap()).unwrap();
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn every_task_asks_and_judges_as_lm_eval_does() {
    let expected = expected();
    assert_eq!(expected["version"], "0.4.13");
    let folder = tempfile::tempdir().unwrap();
    write_files(&expected, folder.path());
    let tasks =
        Task::ALL.into_iter().map(|t| (t, t.name().to_string())).chain([(Task::Gsm8k, "gsm8k_small".into())]);
    for (task, name) in tasks {
        let source = task.source();
        let place = if name == "gsm8k_small" { name.clone() } else { source.folder.into() };
        let file = |split: &str| folder.path().join(&place).join(format!("{split}.jsonl"));
        let few_shot = source.few_shot.map(file);
        let documents = task.documents(&file(source.split), few_shot.as_deref()).unwrap();
        let theirs = expected["tasks"][&name]["documents"].as_array().unwrap();
        assert_eq!(documents.len(), theirs.len(), "{name}");
        let mut records = vec![];
        for (document, theirs) in documents.iter().zip(theirs) {
            let what = format!("{name}, line {}", document.line);
            assert_eq!(document.context, theirs["context"].as_str().unwrap(), "{what}");
            let (answer, verdicts) = if task == Task::Gsm8k {
                let text = theirs["text"].as_str().unwrap();
                let found = document.extract(text);
                for filter in ["strict-match", "flexible-extract"] {
                    assert_eq!(
                        found.extractions[filter],
                        theirs[filter][0].as_str().unwrap(),
                        "{what}: {text:?}"
                    );
                    let verdict = found.verdicts[&format!("exact_match,{filter}")];
                    assert_eq!(verdict, theirs[filter][1].as_f64().unwrap(), "{what}: {text:?}");
                }
                (Answer::Generated { text: text.into(), extractions: found.extractions }, found.verdicts)
            } else {
                assert_eq!(document.continuations(), strings(&theirs["continuations"]), "{what}");
                let likelihoods: Vec<Likelihood> = theirs["likelihoods"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|l| Likelihood {
                        loglikelihood: l[0].as_f64().unwrap(),
                        is_greedy: l[1].as_bool().unwrap(),
                    })
                    .collect();
                let verdicts = document.judge(&likelihoods);
                for (metric, verdict) in &verdicts {
                    let theirs = theirs[metric].as_f64().unwrap();
                    assert!((verdict - theirs).abs() < 1e-14, "{what}: {metric} {verdict}, lm-eval {theirs}");
                }
                (Answer::Choices(likelihoods), verdicts)
            };
            records.push(Record {
                task: name.clone(),
                doc: document.index,
                line: document.line,
                id: None,
                prompt: String::new(),
                answer,
                verdicts,
                truncated: false,
                latent: None,
            });
        }
        aggregates(&name, &records, &expected["tasks"][&name]["metrics"]);
    }
}

/// Means and standard errors by lm-eval's names: `acc,none`, `exact_match_stderr,strict-match`.
pub fn aggregates(name: &str, records: &[Record], theirs: &Value) {
    for measured in summarise(records).unwrap() {
        let (metric, filter) = measured.metric.split_once(',').unwrap_or((&measured.metric, "none"));
        let at =
            |key: String| theirs[&key].as_f64().unwrap_or_else(|| panic!("{name}: no {key} in {theirs}"));
        let (mean, error) = (at(format!("{metric},{filter}")), at(format!("{metric}_stderr,{filter}")));
        let printed = |x: f64| format!("{x:.4}");
        assert_eq!(printed(measured.mean), printed(mean), "{name}: {metric}");
        assert_eq!(printed(measured.standard_error.unwrap()), printed(error), "{name}: {metric}");
    }
}

/// lm-eval scores choices of equal likelihood and equal length; some of our documents must have them.
#[test]
fn the_documents_have_ties() {
    let expected = expected();
    let tied = |task: &str| {
        let documents = expected["tasks"][task]["documents"].as_array().unwrap();
        documents.iter().any(|d| {
            let lls: Vec<f64> =
                d["likelihoods"].as_array().unwrap().iter().map(|l| l[0].as_f64().unwrap()).collect();
            let highest = lls.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            lls.iter().filter(|l| **l == highest).count() > 1
        })
    };
    assert!(["arc_easy", "arc_challenge", "truthfulqa_mc1"].into_iter().any(tied));
}
