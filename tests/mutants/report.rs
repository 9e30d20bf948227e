//! Renders what `cargo mutants` found: `mutants OUTCOMES REASONS REPORT`, as `just mutants` calls it.
//! Fails where a survivor has no reason, a reason no survivor, or the run was interrupted.

use lpc::error::{Error, Place, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
    total_mutants: usize,
    /// Absent where the run was interrupted.
    end_time: Option<String>,
    cargo_mutants_version: String,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: Summary,
}

#[derive(Deserialize)]
enum Scenario {
    Baseline,
    Mutant(Mutant),
}

#[derive(Deserialize)]
struct Mutant {
    file: String,
    /// `src/spec/gumbel.rs:79:50: replace > with >= in hard_sample`
    name: String,
}

impl Mutant {
    /// The name without its position, which every edit above it moves.
    fn key(&self) -> String {
        let what = self.name.splitn(4, ':').nth(3).unwrap_or(&self.name);
        format!("{}:{what}", self.file)
    }
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
enum Summary {
    Success,
    CaughtMutant,
    MissedMutant,
    Timeout,
    Unviable,
    Failure,
}

/// Why no test can, or need, notice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasons {
    survivor: Vec<Reason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// `src/spec/gumbel.rs: replace > with >= in hard_sample`
    mutant: String,
    /// How many mutants of this function read so.
    #[serde(default = "once")]
    times: usize,
    reason: String,
}

fn once() -> usize {
    1
}

#[derive(Default, Clone, Copy)]
struct Tally {
    caught: usize,
    timeout: usize,
    unviable: usize,
    missed: usize,
}

impl Tally {
    fn add(&mut self, summary: Summary) {
        match summary {
            Summary::CaughtMutant => self.caught += 1,
            Summary::Timeout => self.timeout += 1,
            Summary::Unviable => self.unviable += 1,
            Summary::MissedMutant => self.missed += 1,
            Summary::Success | Summary::Failure => {}
        }
    }

    fn judged(self) -> usize {
        self.caught + self.timeout + self.unviable + self.missed
    }

    fn row(self, file: &str) -> String {
        let Self { caught, timeout, unviable, missed } = self;
        let score = match caught + timeout + missed {
            0 => "-".to_string(),
            viable => format!("{:.1} %", 100.0 * (caught + timeout) as f64 / viable as f64),
        };
        format!("| {file} | {} | {caught} | {timeout} | {unviable} | {missed} | {score} |", self.judged())
    }
}

fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let outcome = match &arguments[..] {
        [outcomes, reasons, report] => render(outcomes, reasons, report),
        _ => Err(Error::argument("mutants", "arguments", arguments.len(), "OUTCOMES REASONS REPORT")),
    };
    if let Err(e) = outcome {
        eprintln!("mutants: {e}");
        std::process::exit(1);
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io(path))
}

fn render(outcomes: &Path, reasons: &Path, report: &Path) -> Result<()> {
    let run: Outcomes = serde_json::from_str(&read(outcomes)?)
        .map_err(|e| Error::input(Place::file(outcomes), "outcomes of cargo-mutants", e))?;
    let reasons_text = read(reasons)?;
    let written: Reasons = toml::from_str(&reasons_text).map_err(|e| {
        Error::input(Place::file(reasons), "[[survivor]] with mutant and reason", e.message())
    })?;

    let (mut files, mut all) = (BTreeMap::<&str, Tally>::new(), Tally::default());
    let mut survivors = BTreeMap::<String, usize>::new();
    for outcome in &run.outcomes {
        let Scenario::Mutant(mutant) = &outcome.scenario else { continue };
        files.entry(&mutant.file).or_default().add(outcome.summary);
        all.add(outcome.summary);
        if outcome.summary == Summary::MissedMutant {
            *survivors.entry(mutant.key()).or_default() += 1;
        }
    }
    if run.end_time.is_none() || all.judged() != run.total_mutants {
        let got = format!("{} verdicts on {} mutants", all.judged(), run.total_mutants);
        return Err(Error::input(Place::file(outcomes), "a run that went to its end", got));
    }
    let given: BTreeMap<String, &Reason> = written.survivor.iter().map(|r| (r.mutant.clone(), r)).collect();
    for key in survivors.keys().chain(given.keys()) {
        let (found, explained) = (survivors.get(key).copied(), given.get(key).map(|r| r.times));
        if found != explained {
            let times = |n: Option<usize>| n.unwrap_or(0);
            return Err(Error::input(
                Place::file(reasons).field(key),
                format!("a reason for {} survivors", times(found)),
                times(explained),
            ));
        }
    }

    let mut text = String::from("# Mutants of `spec`\n\n");
    let _ = writeln!(
        text,
        "Mutants of cargo-mutants {}, one at a time, against `tests/properties` and the part of `tests/golden` that \
         needs no candle; `.cargo/mutants.toml` says which. Score: caught or timed out, of those that compile. \
         `just mutants` writes this page; sources and tests have SHA-256 `{}`.\n",
        run.cargo_mutants_version,
        fingerprint()?
    );
    text += "| File | Mutants | Caught | Timeout | Unviable | Missed | Score |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for (file, tally) in &files {
        let _ = writeln!(text, "{}", tally.row(&format!("`{file}`")));
    }
    let _ = writeln!(text, "{}\n\n## Survivors\n", all.row("all"));
    if survivors.is_empty() {
        text += "None.\n";
    }
    for (key, times) in &survivors {
        let often = if *times > 1 { format!(" ({times} times)") } else { String::new() };
        let _ = writeln!(text, "- `{key}`{often}: {}", given[key].reason);
    }
    let partial = report.with_extension("md.partial");
    std::fs::write(&partial, text).map_err(Error::io(&partial))?;
    std::fs::rename(&partial, report).map_err(Error::io(report))
}

/// What was mutated and what it was held against.
fn fingerprint() -> Result<String> {
    let mut files = vec![];
    for folder in ["src/spec", "tests/properties", "tests/golden"] {
        collect(Path::new(folder), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        hash.update(std::fs::read(file).map_err(Error::io(file))?);
    }
    Ok(hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
