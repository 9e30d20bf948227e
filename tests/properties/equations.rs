//! `paper/equations.md` names only functions and tests that exist, and every formula of `spec`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `prefix::module::name` of every function of `folder` that starts a line with `head`.
fn functions(folder: &Path, prefix: &str, head: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        let stem = entry.file_stem().unwrap().to_str().unwrap();
        let module = if stem == "mod" { prefix.to_string() } else { format!("{prefix}::{stem}") };
        if entry.is_dir() {
            found.extend(functions(&entry, &module, head));
        } else {
            let source = std::fs::read_to_string(&entry).unwrap();
            let signatures = source.lines().filter_map(|line| line.strip_prefix(head));
            found.extend(signatures.map(|s| format!("{module}::{}", s.split(['(', '<']).next().unwrap())));
        }
    }
    found
}

/// The names in a cell, without their quotes.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split_whitespace().filter(|w| *w != "-").map(|word| word.trim_matches('`').to_string()).collect()
}

#[track_caller]
fn assert_known(named: &BTreeSet<String>, known: &BTreeSet<String>) {
    let unknown: Vec<_> = named.difference(known).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in the source");
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// The rows of a table below its head.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| line.starts_with("| ")).skip(1)
}

#[test]
fn the_table_is_true_and_complete() {
    let spec = functions(&root().join("src/spec"), "spec", "pub fn ");
    let tensor = functions(&root().join("src/tensor"), "tensor", "pub fn ");
    let tests = functions(&root().join("tests/properties"), "properties", "fn ");
    let in_proptest = functions(&root().join("tests/properties"), "properties", "    fn ");
    let parity = std::fs::read_dir(root().join("tests/parity"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect::<String>();

    let text = std::fs::read_to_string(root().join("paper/equations.md")).unwrap();
    let (table, without) = text.split_once("without a twin:").unwrap();

    let mut alone = BTreeSet::new();
    for row in rows(without) {
        let [functions, why] = cells(row)[..] else { panic!("two cells: {row}") };
        assert!(why.len() > 20, "{row}");
        alone.extend(names(functions));
    }
    assert_known(&alone, &spec);

    let mut listed = BTreeSet::new();
    for row in rows(table) {
        let [_, _, ours, twins, named_tests, status, _] = cells(row)[..] else {
            panic!("seven cells: {row}")
        };
        let (ours, twins) = (names(ours), names(twins));
        assert_known(&ours, &spec);
        assert_known(&twins, &tensor);
        for function in &ours {
            let twin = function.replacen("spec", "tensor", 1);
            assert_ne!(twins.contains(&twin), alone.contains(function), "{function}: a twin, or a reason");
            assert_eq!(tensor.contains(&twin), twins.contains(&twin), "{twin}");
        }
        for twin in &twins {
            let (_, name) = twin.rsplit_once("::").unwrap();
            assert!(parity.contains(&format!("{name}(")), "{twin} is not in tests/parity");
        }
        for test in names(named_tests) {
            let path = format!("properties::{test}");
            assert!(tests.contains(&path) || in_proptest.contains(&path), "{test}");
        }
        let known = ["exact", "bound", "relaxation", "heuristic", "choice"];
        assert!(known.contains(&status), "{status}");
        listed.extend(ours);
    }
    for function in &spec {
        // A gradient is in the row of what it differentiates.
        let primal = function.strip_suffix("_gradient");
        let found = match primal {
            None => listed.contains(function),
            Some(f) => listed.contains(f) || listed.contains(&format!("{f}_loss")),
        };
        assert!(found, "{function} has no row");
    }
}
