//! `lpc reproduce table2`: reports from runs, twice the same bytes.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use std::collections::BTreeMap;
use std::time::SystemTime;

const REPORTS: [&str; 4] = [
    "reports/toy-own/table2.md",
    "reports/toy-own/table2.csv",
    "reports/toy-own/table2.svg",
    "reports/toy-own/table2.tex",
];

fn reports(lpc: &Lpc) -> Vec<String> {
    REPORTS.iter().map(|name| lpc.read(name)).collect()
}

/// Everything from nothing, the base model included, on one thread and on two.
#[test]
fn the_bytes_do_not_depend_on_threads() {
    let both = ["1", "2"].map(|threads| {
        let lpc = Lpc::new();
        lpc.write("matrix.toml", Settings::default().matrix());
        lpc.ok(&["reproduce", "table2", "--recipe", "matrix.toml", "--threads", threads]);
        let runs: Vec<_> = lpc.runs().iter().map(|r| r.file_name().unwrap().to_owned()).collect();
        let records: Vec<String> =
            lpc.runs().iter().map(|r| std::fs::read_to_string(r.join("records.jsonl")).unwrap()).collect();
        assert_eq!(runs.len(), 8);
        (reports(&lpc), runs, records)
    });
    assert!(both[0] == both[1], "reports, run ids or records differ between 1 and 2 threads");
}

/// One run on one thread and on two, its products large enough for both: every metric but those
/// of time, every record, every weight.
#[test]
fn a_run_does_not_depend_on_its_threads() {
    for dtype in ["f32", "bf16"] {
        let both = ["1", "2"].map(|threads| {
            let lpc = Lpc::with_base();
            lpc.write("recipe.toml", Settings::default().recipe());
            lpc.ok(&["train", "recipe.toml", "--threads", threads, "--dtype", dtype]);
            let run = lpc.runs().remove(0);
            let read = |name: &str| std::fs::read(run.join(name)).unwrap();
            let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
            let untimed = |line: &str| {
                let mut line: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
                assert!(line.remove("seconds").is_some() && line.remove("tokens_per_second").is_some());
                line
            };
            let metrics: Vec<_> = metrics.lines().map(untimed).collect();
            (metrics, read("records.jsonl"), read("model/model.safetensors"), read("model/lpc.safetensors"))
        });
        assert!(both[0] == both[1], "{dtype}: metrics, records or weights differ between 1 and 2 threads");
    }
}

#[test]
fn a_second_call_trains_nothing_and_writes_the_same_bytes() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix());
    let call = ["reproduce", "table2", "--recipe", "matrix.toml"];
    let shown = lpc.ok(&call);
    assert!(shown.contains("| toy Llama | DPO |"), "{shown}");
    let first = reports(&lpc);
    let touched = || -> BTreeMap<_, SystemTime> {
        let manifests = lpc.runs().into_iter().map(|r| r.join("manifest.json"));
        manifests.map(|m| (m.clone(), std::fs::metadata(&m).unwrap().modified().unwrap())).collect()
    };
    let before = touched();
    assert_eq!(lpc.ok(&call), shown);
    assert_eq!(touched(), before);
    assert!(reports(&lpc) == first);
}

/// `reproduce` leaves a report that `audit` finds nothing in, with its runs and without; `report` writes the
/// same bytes from the evidence alone; a digit changed in a run is found.
#[test]
fn the_report_leads_back_to_its_runs() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix());
    lpc.ok(&["reproduce", "table2", "--recipe", "matrix.toml"]);
    let said = lpc.ok(&["audit", "reports/toy-own"]);
    for line in [
        "table2: 8 of 8 runs: records to manifest",
        "table2: data of 8 runs generated again and hashed",
        "table2: 8 of 8 runs are in runs",
        "of 8 runs: the very code of this program",
        "5 of 5 tables, figures and pages are what the evidence makes",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("difference: "), "{said}");
    let files = || {
        let folder = std::fs::read_dir(lpc.path("reports/toy-own")).unwrap();
        let files = folder.map(|e| e.unwrap().path()).map(|p| (p.clone(), std::fs::read(p).unwrap()));
        files.collect::<BTreeMap<_, _>>()
    };
    let before = files();
    assert_eq!(before.len(), 7);
    for name in ["index.html", "table2.tex", "table2.csv"] {
        std::fs::remove_file(lpc.path("reports/toy-own").join(name)).unwrap();
    }
    assert!(lpc.refused(&["audit", "reports/toy-own"]).contains("reports/toy-own: expected every number"));
    lpc.ok(&["report", "reports/toy-own", "--runs", "nowhere"]);
    assert!(files() == before, "from the evidence alone, the same bytes");

    let manifest = lpc.runs()[0].join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("\"wall_seconds\": ", "\"wall_seconds\": 1", 1)).unwrap();
    let output = lpc.run(&["audit", "reports/toy-own"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("manifest.json: not what the evidence holds (table2: toy Llama, "), "{said}");
    assert!(
        lpc.ok(&["audit", "reports/toy-own", "--runs", "nowhere"]).contains("0 of 8 runs are in nowhere")
    );
}

/// Each accuracy in the CSV, recomputed from the margins in the records.
#[test]
fn every_accuracy_comes_from_records() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix());
    lpc.ok(&["reproduce", "table2", "--recipe", "matrix.toml"]);
    let mut accuracies = BTreeMap::new();
    for run in lpc.runs() {
        let records = std::fs::read_to_string(run.join("records.jsonl")).unwrap();
        let margins: Vec<f64> = records
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["margin"].as_f64().unwrap())
            .collect();
        assert_eq!(margins.len(), 40);
        let right = margins.iter().filter(|&&m| m > 0.0).count();
        accuracies.insert(run.file_name().unwrap().to_string_lossy().to_string(), right as f64 / 40.0);
    }
    let csv = lpc.read("reports/toy-own/table2.csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let mut checked = 0;
    for row in reader.deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let arm = ["without", "with"].contains(&row["quantity"].as_str());
        if arm && row["statistic"] == "accuracy" && row["source"].is_empty() {
            let runs: Vec<&str> = row["run_ids"].split_whitespace().collect();
            assert_eq!(runs.len(), 2, "{row:?}");
            let mean = runs.iter().map(|r| accuracies[*r]).sum::<f64>() / runs.len() as f64;
            let reported: f64 = row["value"].parse().unwrap();
            assert!((reported - 100.0 * mean).abs() < 1e-9, "{row:?}: {mean}");
            checked += 1;
        }
    }
    assert_eq!(checked, 4, "{csv}");
}

#[test]
fn shipped_recipes_are_valid() {
    use lpc::plan::Scale;
    let runs = |scale| lpc::plan::matrix::Matrix::built_in(scale).unwrap().cells().len();
    assert_eq!((runs(Scale::Toy), runs(Scale::Small)), (180, 6));
    let recipe = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("paper/recipes/dpo-lpc.toml");
    lpc::config::Recipe::read(&recipe).unwrap();
}
