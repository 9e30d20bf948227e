//! `reports/verify.md` is what `just verify` writes when every check passes.

use lpc::verify::equations::{self, Row};
use lpc::verify::report::{Verdict, render};
use lpc::verify::suites::Outcomes;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    equations::read(&root().join("paper/equations.md")).unwrap().0
}

fn outcomes(rows: &[Row], of: impl Fn(&str) -> bool) -> Outcomes {
    rows.iter().flat_map(|row| &row.checks).map(|check| (check.clone(), of(check))).collect()
}

#[test]
fn the_committed_report_is_of_todays_table() {
    let rows = rows();
    let passed = outcomes(&rows, |_| true);
    let verdicts: Vec<Verdict> = rows.iter().map(|row| Verdict::new(row, &passed)).collect();
    let committed = std::fs::read_to_string(root().join("reports/verify.md")).unwrap();
    assert!(committed == render(&verdicts, &passed), "reports/verify.md is stale or red: run `just verify`");
}

#[test]
fn what_did_not_pass_is_named() {
    let mut rows = rows();
    rows.truncate(2);
    rows[1].checks.clear();
    let failing = rows[0].checks[0].clone();
    let mut said = outcomes(&rows, |check| check != failing);
    said.insert("golden::elsewhere::broken".into(), false);
    let verdicts: Vec<Verdict> = rows.iter().map(|row| Verdict::new(row, &said)).collect();
    assert!(verdicts.iter().all(|v| !v.passed()));
    let n = rows[0].checks.len();
    assert_eq!(verdicts[0].says(), format!("{}/{n}, FAILED: `{failing}`", n - 1));
    assert_eq!(verdicts[1].says(), "FAILED: no check");
    let report = render(&verdicts, &said);
    assert!(report.ends_with("no row names: FAILED: `golden::elsewhere::broken`\n"), "{report}");
    // A test that never ran has not passed.
    assert!(!Verdict::new(&rows[0], &Outcomes::new()).passed());
}
