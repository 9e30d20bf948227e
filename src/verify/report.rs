//! What a verification found, as a page.

use super::equations::Row;
use super::suites::Outcomes;

/// A row of the table with the checks of its that did not pass.
#[derive(Debug, Clone)]
pub struct Verdict<'a> {
    pub row: &'a Row,
    /// Failed, ignored, or never run.
    pub not_passed: Vec<&'a str>,
}

impl<'a> Verdict<'a> {
    pub fn new(row: &'a Row, outcomes: &Outcomes) -> Self {
        let not_passed = |check: &&String| outcomes.get(*check) != Some(&true);
        Self { row, not_passed: row.checks.iter().filter(not_passed).map(String::as_str).collect() }
    }

    /// Every check passed, and there is one.
    pub fn passed(&self) -> bool {
        self.not_passed.is_empty() && !self.row.checks.is_empty()
    }

    /// `3/3`, or what is wrong.
    pub fn says(&self) -> String {
        let n = self.row.checks.len();
        match self.not_passed[..] {
            [] if n == 0 => "FAILED: no check".into(),
            [] => format!("{n}/{n}"),
            _ => format!("{}/{n}, FAILED: {}", n - self.not_passed.len(), quoted(&self.not_passed)),
        }
    }
}

/// The report; nothing in it depends on when or where it was made.
pub fn render(verdicts: &[Verdict], outcomes: &Outcomes) -> String {
    let mut text = String::from(HEAD);
    for verdict in verdicts {
        let Row { equation, says, checks, .. } = verdict.row;
        let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
        text += &format!("| {equation} | {says} | {} | {} |\n", quoted(&checks), verdict.says());
    }
    let others: Vec<&str> =
        unnamed(verdicts, outcomes).filter(|(_, passed)| !passed).map(|(n, _)| n).collect();
    text += "\nTests of the three suites that no row names: ";
    text += &if others.is_empty() { "passed.\n".into() } else { format!("FAILED: {}\n", quoted(&others)) };
    text
}

/// Tests that ran and that no row names, and whether they passed.
pub fn unnamed<'a>(verdicts: &[Verdict], outcomes: &'a Outcomes) -> impl Iterator<Item = (&'a str, bool)> {
    let named: std::collections::BTreeSet<String> =
        verdicts.iter().flat_map(|v| v.row.checks.iter().cloned()).collect();
    let other = move |(name, _): &(&String, &bool)| !named.contains(*name);
    outcomes.iter().filter(other).map(|(name, passed)| (name.as_str(), *passed))
}

const HEAD: &str = "\
# Verification

`just verify` runs `tests/properties`, `tests/golden` and `tests/parity` and joins what they say with the rows of
`paper/equations.md`: each equation, the tests that check it, how many of them pass.

| eq. | says | checks | passed |
|---|---|---|---|
";

/// The page of the planted errors, from its table's rows.
pub fn planted(rows: &str) -> String {
    format!("{PLANTED}{rows}")
}

const PLANTED: &str = "\
# Planted errors

`just planted` plants each error of `tests/planted/errors.toml` in a copy of the tree and runs the suites of `just verify`, for
the code of GPUs those of `tests/device`, until one turns red: these tests saw it.

| error | what | file | caught by |
|---|---|---|---|
";

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}
