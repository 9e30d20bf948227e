//! `paper/equations.md` names only functions and tests that exist, and twins of the same name.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether `a::b::name` under `folder` is a function of a/b.rs or a/b/mod.rs.
fn exists(folder: &Path, path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").expect("module::function");
    let stem = folder.join(module.replace("::", "/"));
    [stem.with_extension("rs"), stem.join("mod.rs")]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .any(|source| source.contains(&format!("fn {name}(")))
}

#[test]
fn everything_named_in_the_table_exists() {
    let table = std::fs::read_to_string(root().join("paper/equations.md")).unwrap();
    let rows: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| eq.")).collect();
    assert!(rows.len() >= 15, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, spec, tensor, tests, status, _] = cells[..] else { panic!("seven cells: {row}") };
        let names = |cell: &str| -> Vec<String> {
            cell.split_whitespace().map(|word| word.trim_matches('`').to_string()).collect()
        };
        for path in names(spec) {
            let inner = path.strip_prefix("spec::").expect("spec::…");
            assert!(exists(&root().join("src/spec"), inner), "{path}");
        }
        let twins: Vec<String> = names(spec).iter().map(|path| path.replacen("spec", "tensor", 1)).collect();
        assert!(tensor.trim() == "-" || names(tensor) == twins, "{tensor}");
        for test in names(tests) {
            assert!(exists(&root().join("tests/properties"), &test), "{test}");
        }
        let known = ["exact", "bound", "relaxation", "heuristic", "choice"];
        assert!(known.contains(&status.trim()), "{status}");
    }
}
