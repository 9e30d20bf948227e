//! Every situation of `tests/cases.toml` is held by tests that are there.

use serde::Deserialize;
use std::fs;

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    what: String,
    tests: Vec<String>,
}

#[test]
fn every_case_has_its_tests() {
    let Cases { case } = toml::from_str(include_str!("../cases.toml")).unwrap();
    assert!(!case.is_empty());
    for Case { what, tests } in case {
        assert!(!tests.is_empty(), "{what}");
        for test in tests {
            let [suite, file, name] = test.split("::").collect::<Vec<_>>()[..] else { panic!("{test}") };
            let path = format!("{}/tests/{suite}/{file}.rs", env!("CARGO_MANIFEST_DIR"));
            let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{what}: {path}: {e}"));
            let before = source.split(&format!("fn {name}(")).next().unwrap();
            assert!(before.len() < source.len(), "{what}: no {name} in {path}");
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]"), "{what}: {name} is no test");
        }
    }
}
