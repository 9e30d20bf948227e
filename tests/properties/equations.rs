//! `paper/equations.md` names only functions and tests that exist, and every formula of `spec`; so
//! do the derivations with their tests.

use lpc::verify::equations;
use lpc::verify::suites::SUITES;
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

#[track_caller]
fn assert_known(named: &BTreeSet<String>, known: &BTreeSet<String>) {
    let unknown: Vec<_> = named.difference(known).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in the source");
}

/// Tests of every suite as a runner names them, those inside `proptest!` too.
fn tests() -> BTreeSet<String> {
    let of = |suite: &str, head: &str| functions(&root().join("tests").join(suite), suite, head);
    SUITES.iter().flat_map(|suite| of(suite, "fn ").into_iter().chain(of(suite, "    fn "))).collect()
}

fn set(names: &[String]) -> BTreeSet<String> {
    names.iter().cloned().collect()
}

#[test]
fn the_table_is_true_and_complete() {
    let spec = functions(&root().join("src/spec"), "spec", "pub fn ");
    let tensor = functions(&root().join("src/tensor"), "tensor", "pub fn ");
    let tests = tests();
    // With the loss that it composes of `tensor`'s functions.
    let parity = std::fs::read_dir(root().join("tests/parity"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([root().join("tests/common/composed.rs")])
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect::<String>();

    let (rows, without) = equations::read(&root().join("paper/equations.md")).unwrap();
    let alone: BTreeSet<String> = without.iter().flat_map(|a| a.functions.clone()).collect();
    assert_known(&alone, &spec);
    without.iter().for_each(|a| assert!(a.why.len() > 20, "{:?}", a.functions));

    let mut listed = BTreeSet::new();
    for row in &rows {
        let (ours, twins) = (set(&row.spec), set(&row.tensor));
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
        assert!(!row.checks.is_empty(), "{}: no check", row.equation);
        assert_known(&set(&row.checks), &tests);
        // Both sides of an equation are held to something, and to each other.
        let held = |suite: &str| row.checks.iter().any(|check| check.starts_with(suite));
        assert!(held("properties::"), "{}: no property", row.equation);
        assert!(held("parity::") || twins.is_empty(), "{}: twins without parity", row.equation);
        let known = ["exact", "bound", "relaxation", "heuristic", "choice"];
        assert!(known.contains(&row.status.as_str()), "{}", row.status);
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

#[test]
fn every_derivation_has_its_checks() {
    let text = std::fs::read_to_string(root().join("paper/derivations.md")).unwrap();
    let tests = tests();
    for section in text.split("\n## ").skip(1) {
        let quoted = section.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
        let named: BTreeSet<String> =
            quoted
                .filter(|name| !name.ends_with('*'))
                .map(|name| {
                    if name.matches("::").count() == 2 { name.into() } else { format!("properties::{name}") }
                })
                .collect();
        assert_known(&named, &tests);
        assert!(section.contains("::"), "{}: no check", section.lines().next().unwrap());
    }
}
