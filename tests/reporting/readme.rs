//! The README says what the files beside it say.

use crate::git::committed;
use lpc::report::document::markdown::marked;
use std::fs;
use std::path::Path;

fn file(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).ok()
}

/// The committed report: whoever reproduces the table on a machine of their own rewrites the file.
#[test]
fn its_table_is_the_committed_reports() {
    let readme = file("README.md").unwrap();
    let shown = marked("table2", &readme).expect("the README marks its table");
    match committed("reports/toy/table2.md") {
        Some(report) => assert_eq!(shown, marked("table2", &report).expect("the report marks its table")),
        None => println!("skipped: no committed reports/toy/table2.md"),
    }
}

#[test]
fn its_commands_are_the_justfiles() {
    let (readme, justfile) = (file("README.md").unwrap(), file("justfile").unwrap());
    for (name, recipe) in [("test", "test:\n    "), ("reproduce", "reproduce target *args:\n    ")] {
        let command =
            marked(&format!("ci:{name}"), &readme).expect("the README marks the commands that CI runs");
        let command = command.lines().find(|l| l.starts_with("cargo")).expect("a plain cargo line");
        let (_, body) = justfile.split_once(recipe).expect("the justfile has the recipe");
        let body = body.lines().next().unwrap().replace("{{target}}", "table2").replace(" {{args}}", "");
        assert_eq!(command, body);
    }
}
