//! `lpc reproduce table1`: every number from a document's verdict, every verdict from its answer.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use lpc::data::world::{self, utility};
use lpc::eval::tasks::{Question, Task, world::documents};
use lpc::run::evidence::Evidence;
use serde_json::Value;
use std::collections::HashMap;

/// Of the matrix in [`Settings`].
const SEED: u64 = 3;

type Row = HashMap<String, String>;

fn rows(lpc: &Lpc, name: &str) -> Vec<Row> {
    csv::Reader::from_path(lpc.path(name)).unwrap().deserialize().map(Result::unwrap).collect()
}

/// P(at least as far from half of n as k), n fair coins.
fn two_sided(k: u64, n: u64) -> f64 {
    let choose = |k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
    let tail: f64 = (0..=k.min(n - k)).map(choose).sum();
    (2.0 * tail / 2f64.powi(n as i32)).min(1.0)
}

/// What the journal holds of every document, judged here once more.
fn check_verdicts(lpc: &Lpc) {
    let asked = Task::ALL.map(|task| (task, documents(task, SEED)));
    let mut seen = 0;
    for line in lpc.read("runs/table1/answers.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let record = &entry["value"];
        let (_, documents) = asked.iter().find(|(task, _)| record["task"] == task.name()).unwrap();
        let document = &documents[record["doc"].as_u64().unwrap() as usize];
        let likelihoods = || -> Vec<f64> {
            let choices = record["choices"].as_array().unwrap().iter();
            choices.map(|c| c["loglikelihood"].as_f64().unwrap()).collect()
        };
        match &document.question {
            Question::Choice { gold, .. } => {
                let lls = likelihoods();
                let right = lls.iter().enumerate().all(|(i, l)| i == *gold || *l < lls[*gold]);
                assert_eq!(record["verdicts"]["acc"], f64::from(u8::from(right)));
            }
            Question::Share { truths, .. } => {
                let mass: Vec<f64> = likelihoods().iter().map(|l| l.exp()).collect();
                let truth: f64 = mass.iter().zip(truths).filter(|(_, t)| **t).map(|(m, _)| m).sum();
                let share = truth / mass.iter().sum::<f64>();
                assert!((record["verdicts"]["acc"].as_f64().unwrap() - share).abs() < 1e-9);
            }
            Question::Text { answer, .. } => {
                let text = record["generated"]["text"].as_str().unwrap();
                let words: Vec<&str> = text.split(' ').filter(|w| !w.is_empty()).collect();
                let at = words.iter().position(|w| *w == "is");
                let right = at.and_then(|i| words.get(i + 1)) == Some(&answer.as_str());
                assert_eq!(record["verdicts"]["exact_match,strict-match"], f64::from(u8::from(right)));
            }
        }
        seen += 1;
    }
    // Four benchmarks, the base model and each of two runs.
    let columns = asked.iter().filter(|(task, _)| *task != Task::TruthfulqaMc1);
    let expected: usize = columns.map(|(_, documents)| documents.len()).sum();
    assert_eq!(seen, 3 * expected);
}

#[test]
fn every_number_comes_from_verdicts() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix());
    let call = ["reproduce", "table1", "--recipe", "matrix.toml", "--objectives", "DPO", "--seeds", "1"];
    let shown = lpc.ok(&call);
    assert!(shown.contains("| toy Llama | none: base model | – |"), "{shown}");
    // The paper's numbers of the model that this one stands for; its rows with LPC have averages alone.
    assert!(shown.contains("50.43 / 80.05 / 49.51 / 43.82 | 55.95 |"), "{shown}");
    assert!(shown.contains("| not in the source | 58.92 |"), "{shown}");
    check_verdicts(&lpc);

    let evidence = Evidence::read(&lpc.path("reports/toy-own/table1.evidence.jsonl.gz")).unwrap();
    assert_eq!(evidence.runs.len(), 2);
    let measured = |latent: bool, name: &str| {
        let run = evidence.runs.iter().find(|r| r.latent == latent).unwrap();
        evidence.measured(run, name).unwrap()
    };
    let page = lpc.read("reports/toy-own/table1.md");
    let csv = rows(&lpc, "reports/toy-own/table1.csv");
    assert_eq!(csv.len(), 12);
    let mut raw = vec![];
    for (task, name) in [
        ("arc_challenge", "ARC-Challenge"),
        ("arc_easy", "ARC-Easy"),
        ("gsm8k", "GSM8K"),
        ("truthfulqa_mc2", "TruthfulQA"),
    ] {
        for (latent, column) in [("without", task), ("with", task), ("", &format!("base/{task}"))] {
            let values = measured(latent == "with", column);
            let row = csv.iter().find(|r| r["benchmark"] == task && r["latent"] == latent).unwrap();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!((row["mean"].parse::<f64>().unwrap() - mean).abs() < 1e-7, "{task} {latent}");
            assert_eq!(row["documents"], values.len().to_string());
        }
        let (without, with) = (measured(false, task), measured(true, task));
        let mean = with.iter().zip(&without).map(|(a, b)| a - b).sum::<f64>() / with.len() as f64;
        let line = page.lines().find(|l| l.contains(&format!("| DPO | {name} |"))).unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!((cells[4].split(' ').next().unwrap().parse::<f64>().unwrap() - 100.0 * mean).abs() < 0.006);
        if task != "truthfulqa_mc2" {
            let only = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(a, b)| a > b).count() as u64;
            let (better, worse) = (only(&with, &without), only(&without, &with));
            let p = two_sided(better, better + worse);
            let told = cells[5].trim_start_matches('<').parse::<f64>().unwrap();
            assert!((told - p).abs() < 0.0011, "{task}: {line}, {p}");
        }
        raw.push(cells[5].to_string());
    }
    assert_eq!(raw.len(), 4);

    // The same again trains and asks nothing, and every byte follows from the evidence.
    let before = (page, lpc.read("runs/table1/answers.jsonl"));
    lpc.ok(&call);
    let after = (lpc.read("reports/toy-own/table1.md"), lpc.read("runs/table1/answers.jsonl"));
    assert!(before == after);
    lpc.ok(&["audit", "reports/toy-own"]);
}

/// Right answers are right by the world itself, wrong ones are wrong, and no training pair asks the same.
#[test]
fn documents_of_the_world() {
    let settings = lpc::config::World { seed: SEED, train: 4000, test: 1, ..Default::default() };
    let data = world::generate(&settings).unwrap();
    let trained: Vec<String> = data.train.iter().map(|p| p.pair.prompt_text().into_owned()).collect();
    for task in Task::ALL {
        let all = documents(task, SEED);
        assert!((100..=400).contains(&all.len()), "{}: {}", task.name(), all.len());
        assert_eq!(all, documents(task, SEED));
        for document in &all {
            let prompt = document.context.trim_end_matches(" the answer here is");
            assert!(!trained.iter().any(|t| t == prompt), "{prompt}");
            // Correctness is the only factor in which two such completions differ.
            let worth = |answer: &str| utility(prompt, &format!("the answer here is {answer} .")).unwrap();
            match &document.question {
                Question::Choice { choices, gold, .. } => {
                    let right = worth(&choices[*gold]);
                    let differ = |i: usize| i == *gold || worth(&choices[i]) != right;
                    assert!((0..choices.len()).all(differ), "{prompt} {choices:?}");
                }
                Question::Share { choices, truths } => {
                    assert_eq!(truths.iter().filter(|t| **t).count(), 1);
                    assert_ne!(worth(&choices[0]), worth(&choices[1]), "{prompt}");
                }
                Question::Text { answer, .. } => assert_ne!(worth(answer), worth("paris"), "{prompt}"),
            }
        }
    }
}

#[test]
fn real_models_need_real_documents() {
    let lpc = Lpc::with_base();
    let pair = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n".repeat(2);
    std::fs::create_dir(lpc.path("pairs")).unwrap();
    lpc.write("pairs/train.jsonl", &pair);
    lpc.write("pairs/test.jsonl", &pair);
    let refused = lpc.refused(&["reproduce", "table1", "--scale", "small", "--data", "pairs"]);
    assert!(refused.contains("expected --tasks, a folder of them"), "{refused}");
    lpc.write("matrix.toml", Settings::default().matrix());
    std::fs::create_dir(lpc.path("tasks")).unwrap();
    let refused = lpc.refused(&["reproduce", "table1", "--recipe", "matrix.toml", "--tasks", "tasks"]);
    assert!(refused.contains("arc_challenge/test.jsonl"), "{refused}");
}

/// exp(−β · margin) is infinite after the first step. DPO's numbers are those of a table of DPO alone.
#[test]
fn a_diverged_run_leaves_the_rest_of_the_table() {
    let lpc = Lpc::with_base();
    let wild = Settings::default().matrix().replace("name = \"SimPO\"", "name = \"wild\"");
    let wild =
        wild.replace("kind = \"simpo\", beta = 0.5, gamma = 0.1", "kind = \"exponential\", beta = 1e30");
    lpc.write("matrix.toml", wild);
    for table in ["table1", "table3"] {
        let call = ["reproduce", table, "--recipe", "matrix.toml", "--seeds", "1"];
        let error = lpc.refused(&call);
        assert!(error.contains("loss = inf, expected finite"), "{error}");
        lpc.ok(&[&call[..], &["--objectives", "DPO", "--reports", "alone"]].concat());
        let page = lpc.read(&format!("reports/toy-own/{table}.md"));
        assert!(page.contains("Not run: toy Llama, wild, seed 1: diverged at step "), "{page}");
        assert!(page.contains("Not run: toy Llama, wild w. LPC, seed 1: diverged at step "), "{page}");
        let of_dpo = |folder: &str| -> Vec<Row> {
            let mut rows = rows(&lpc, &format!("{folder}/toy-own/{table}.csv"));
            rows.retain(|row| row["objective"] == "DPO");
            rows
        };
        let (beside, alone) = (of_dpo("reports"), of_dpo("alone"));
        assert!(!alone.is_empty() && beside.len() == alone.len(), "{table}: {beside:?}");
        let numbers = |row: &Row| ["mean", "win_rate"].map(|column| row.get(column).cloned());
        for (beside, alone) in beside.iter().zip(&alone) {
            assert!(numbers(alone).iter().flatten().any(|number| !number.is_empty()), "{alone:?}");
            assert_eq!(numbers(beside), numbers(alone));
        }
    }
}
