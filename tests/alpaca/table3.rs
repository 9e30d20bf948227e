//! `lpc reproduce table3`: the world's judge by AlpacaEval's protocol, in the process and over HTTP.

use crate::program::Lpc;
use crate::server::{Act, Server};
use crate::toy_runs::Settings;
use crate::winrate::table;
use lpc::data::world::{corpus, utility};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

fn matrix() -> String {
    let settings = Settings { train: 64, learning_rate: "3e-3", ..Settings::default() };
    let matrix = r#"seeds = [1, 2]
[[models]]
name = "toy Llama"
source = { kind = "world", shape = "llama" }
[[objectives]]
name = "DPO"
objective = { kind = "dpo", beta = 0.1 }
"#;
    format!("{matrix}{}", settings.data_and_training())
}

type Row = HashMap<String, String>;

fn rows(path: &Path) -> Vec<Row> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

fn outputs(path: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap()
}

#[test]
#[cfg(unix)]
fn every_number_comes_from_answers_and_utilities() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", matrix());

    // Runs of another table, without their models, are no obstacle.
    lpc.ok(&["reproduce", "table2", "--recipe", "matrix.toml", "--seeds", "1"]);
    let call = ["reproduce", "table3", "--recipe", "matrix.toml"];
    let shown = lpc.ok(&call);
    assert!(shown.contains("| toy Llama | DPO |"), "{shown}");
    let csv = lpc.path("reports/toy-own/table3.csv");
    let table3 = rows(&csv);
    assert_eq!(table3.len(), 4);
    for row in &table3 {
        let run = lpc.path("runs/table3").join(&row["run_id"]);
        let (baseline, answers) =
            (outputs(&run.join("baseline.json")), outputs(&run.join("model_outputs.json")));
        let annotations = rows(&run.join("annotations.csv"));
        assert_eq!((annotations.len(), answers.len()), (baseline.len(), baseline.len()));
        for (annotation, (base, model)) in annotations.iter().zip(baseline.iter().zip(&answers)) {
            let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_string();
            let prompt = text(base, "instruction");
            let u = |entry: &Value| utility(&prompt, &text(entry, "output")).unwrap();
            // Whatever the order in which the judge saw the two.
            let expected = 2.0 - 1.0 / (1.0 + (1.5 * (u(model) - u(base))).exp());
            let preference = number(annotation, "preference");
            assert!((preference - expected).abs() < 1e-12, "{preference} {expected}");
        }
        let difficulty: String = (0..answers.len()).map(|i| format!("{i},0\n")).collect();
        lpc.write("d.csv", format!("instruction_index,difficulty\n{difficulty}"));
        let annotations = format!("runs/table3/{}/annotations.csv", row["run_id"]);
        let files = ["--annotations", &annotations, "--difficulty", "d.csv"];
        let ours = table(&lpc, &[&files[..], &["--glm", "minimal"]].concat());
        let ours = &ours[&row["run_id"]];
        for (column, ours) in [
            ("win_rate", ours["win_rate"]),
            ("standard_error", ours["standard_error"]),
            ("length_controlled_minimal", ours["length_controlled_winrate"]),
        ] {
            assert!((number(row, column) - ours).abs() < 1e-6, "{column}");
        }
    }

    // The same comparisons, by the client, from a server with the same judge.
    let server = Server::start(|asked| {
        let text = asked.body["messages"][0]["content"].as_str().unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let difference = 1.5 * (utility(lines[0], lines[1]).unwrap() - utility(lines[0], lines[2]).unwrap());
        let p = 1.0 / (1.0 + (-difference).exp());
        Act::Says(p.ln(), (1.0 - p).ln())
    });
    let run = format!("runs/table3/{}", table3[0]["run_id"]);
    lpc.write("prompt.txt", "{instruction}\n{output_1}\n{output_2}\n?");
    let (outputs, baseline) = (format!("{run}/model_outputs.json"), format!("{run}/baseline.json"));
    let files = ["--outputs", &outputs, "--baseline", &baseline, "--prompt", "prompt.txt"];
    let judge = ["judge", "--base-url", &server.base_url, "--model", "world", "--out", "over_http.csv"];
    lpc.ok(&[&judge[..], &files].concat());
    let annotations = rows(&lpc.path(&format!("{run}/annotations.csv")));
    for (here, there) in annotations.iter().zip(rows(&lpc.path("over_http.csv"))) {
        let (here, there) = (number(here, "preference"), number(&there, "preference"));
        assert!((here - there).abs() < 1e-9, "{here} {there}");
    }

    // Again: nothing is trained, and the bytes are the same.
    let before = fs::read(&csv).unwrap();
    assert_eq!(lpc.ok(&call), shown);
    assert_eq!(fs::read(&csv).unwrap(), before);
}

/// Prompts of a file and a judge over HTTP: nothing is judged without one, a budget stops it, the same
/// command goes on and pays for nothing twice, a missing verdict counts in no mean, the audit follows.
#[test]
#[cfg(unix)]
fn an_endpoint_judges() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", matrix());
    let mut prompts: Vec<String> = corpus(9, 30).into_iter().map(|(prompt, _)| prompt).collect();
    prompts.sort();
    prompts.dedup();
    let entries: Vec<Value> = prompts.iter().map(|p| serde_json::json!({ "instruction": p })).collect();
    lpc.write("prompts.json", serde_json::to_vec(&entries).unwrap());
    lpc.write("template.txt", "{instruction}\n{output_1}\n{output_2}\n?");

    let call = "reproduce table3 --recipe matrix.toml --seeds 1 --prompts prompts.json --max-new-tokens 12";
    let call: Vec<&str> = call.split(' ').collect();
    let shown = lpc.ok(&call);
    // Both arms, difference, lengths; the paper's numbers stand beside.
    assert_eq!(shown.matches("| not run ").count(), 8, "{shown}");
    assert!(shown.contains("| 13.55 → 13.57 | 15.03 → 15.31 |"), "{shown}");
    let csv = lpc.path("reports/toy-own/table3.csv");
    assert_eq!(rows(&csv).len(), 0);

    let silent = prompts[3].clone();
    let server = Server::start(move |asked| {
        let text = asked.body["messages"][0]["content"].as_str().unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        if lines[0] == silent {
            return Act::NoLogprobs;
        }
        let difference = 1.5 * (utility(lines[0], lines[1]).unwrap() - utility(lines[0], lines[2]).unwrap());
        let p = 1.0 / (1.0 + (-difference).exp());
        Act::Says(p.ln(), (1.0 - p).ln())
    });
    let judge = ["--base-url", &server.base_url, "--judge", "world", "--judge-prompt", "template.txt"];
    let call = [&call[..], &judge].concat();
    let prices = ["--price-in", "1000", "--price-out", "1000", "--concurrency", "2", "--budget", "4"];
    let stopped = lpc.run(&[&call[..], &prices].concat());
    let errors = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("--budget = used up") && errors.contains(" questions for world: about "),
        "{errors}"
    );
    let before = server.requests();
    assert!((2..8).contains(&before), "{before}");

    let shown = lpc.ok(&call);
    assert!(!shown.contains("not run"), "{shown}");
    let table3 = rows(&csv);
    assert_eq!(table3.len(), 2);
    let mut texts = std::collections::HashSet::new();
    for row in &table3 {
        let run = lpc.path("runs/table3").join(&row["run_id"]);
        let (baseline, answers) =
            (outputs(&run.join("baseline.json")), outputs(&run.join("model_outputs.json")));
        let mut wins = vec![];
        for (annotation, (base, model)) in
            rows(&run.join("annotations.csv")).iter().zip(baseline.iter().zip(&answers))
        {
            let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_string();
            let prompt = text(base, "instruction");
            let same = text(base, "output") == text(model, "output");
            if !same {
                texts.insert((prompt.clone(), text(base, "output"), text(model, "output")));
            }
            if prompt == prompts[3] && !same {
                assert_eq!(annotation["missing"], "no_logprobs");
                continue;
            }
            let u = |entry: &Value| utility(&prompt, &text(entry, "output")).unwrap();
            let expected = 1.0 - 1.0 / (1.0 + (1.5 * (u(model) - u(base))).exp());
            assert!((number(annotation, "preference") - 1.0 - expected).abs() < 1e-9);
            wins.push(expected);
        }
        assert_eq!(number(row, "prompts"), prompts.len() as f64);
        let mean = 100.0 * wins.iter().sum::<f64>() / wins.len() as f64;
        assert!((number(row, "win_rate") - mean).abs() < 1e-6, "{mean}");
    }
    // Two runs that say the same are judged once, and each call asks again about what has no verdict.
    let unjudged = texts.iter().filter(|(prompt, ..)| *prompt == prompts[3]).count();
    let requests = server.requests();
    assert!((texts.len()..=texts.len() + unjudged).contains(&requests), "{requests}");
    lpc.ok(&["audit", "reports/toy-own"]);
    let bytes = fs::read(&csv).unwrap();
    assert_eq!(lpc.ok(&call), shown);
    assert_eq!((fs::read(&csv).unwrap(), server.requests()), (bytes, requests + unjudged));
}

/// A run that answers as its base model does: draws throughout, and no length to control.
#[test]
fn answers_of_equal_length_have_no_length_controlled_rate() {
    use lpc::eval::winrate::Annotation;
    use lpc::report::table3::RunWinRate;
    let row = |instruction| Annotation { instruction, preference: Some(1.5), length_1: 10, length_2: 10 };
    let rows: Vec<Annotation> = (0..4).map(row).collect();
    let run = RunWinRate::new(("base", "DPO", true), 1, "run", &rows);
    assert_eq!((run.win_rate.map(|e| e.mean), run.length_controlled), (Some(50.0), None));
    // A run that nobody judged is no error of the table, and its answers have lengths all the same.
    let unjudged: Vec<Annotation> = rows.iter().map(|row| Annotation { preference: None, ..*row }).collect();
    let run = RunWinRate::new(("base", "DPO", true), 1, "run", &unjudged);
    assert_eq!((run.win_rate, run.length_controlled, run.length), (None, None, 10.0));
    assert!(run.wins.iter().all(|win| win.is_nan()));
}
