//! The planted errors still fit the tree, and `reports/planted.md` is about them.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Deserialize)]
struct Errors {
    error: Vec<Planted>,
}

#[derive(Deserialize)]
struct Planted {
    kind: String,
    what: String,
    file: String,
    old: String,
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn errors() -> Vec<Planted> {
    toml::from_str::<Errors>(&read("tests/planted/errors.toml")).unwrap().error
}

#[test]
fn every_text_stands_once() {
    for Planted { kind, what, file, old } in errors() {
        assert_eq!(read(&file).matches(&old).count(), 1, "{kind}, {what}: {file}");
    }
}

#[test]
fn every_kind_is_planted_on_both_sides() {
    for kind in [
        "swapped pair",
        "dropped beta",
        "wrong KL direction",
        "mean for sum",
        "sigma for log sigma",
        "alpha reversed",
        "noise clipped",
        "code axis confused",
        "baseline latent mistaken",
    ] {
        let files: Vec<String> = errors().into_iter().filter(|e| e.kind == kind).map(|e| e.file).collect();
        for side in ["src/spec/", "src/tensor/"] {
            assert!(files.iter().any(|f| f.starts_with(side)), "{kind}: nothing in {side}");
        }
    }
}

#[test]
fn the_committed_report_is_of_todays_list() {
    let report = read("reports/planted.md");
    let rows = report.lines().filter(|line| line.starts_with("| ")).skip(1);
    let reported: BTreeSet<String> = rows.map(|row| row.rsplit_once(" | ").unwrap().0.into()).collect();
    let row = |e: Planted| format!("| {} | {} | `{}`", e.kind, e.what, e.file);
    let listed: BTreeSet<String> = errors().into_iter().map(row).collect();
    assert_eq!(reported, listed, "reports/planted.md is stale: run `just planted`");
    assert!(!report.contains("NOTHING"), "an error that nothing catches");
}
