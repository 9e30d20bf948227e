//! Running a test binary and reading what it says of each test.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The suites that hold the equations: `tests/<suite>`.
pub const SUITES: [&str; 3] = ["properties", "golden", "parity"];

/// Random cases of a verification are the same in every run; `cargo test` draws new ones.
const PROPTEST_SEED: &str = "20250713";

/// `suite::module::test` and whether it passed. What was ignored did not.
pub type Outcomes = BTreeMap<String, bool>;

/// What a suite said, and its whole output for whoever must find out why.
#[derive(Debug, Clone)]
pub struct Run {
    pub outcomes: Outcomes,
    pub output: String,
}

impl Run {
    pub fn failed(&self) -> Vec<&str> {
        self.outcomes.iter().filter(|(_, passed)| !**passed).map(|(name, _)| name.as_str()).collect()
    }
}

/// `cargo test --locked --test <suite>` in `folder`, with `arguments` of cargo's beside.
///
/// Errors: cargo cannot be started; the suite does not build, or ends before its summary.
pub fn run(suite: &str, folder: &Path, arguments: &[&str]) -> Result<Run> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["test", "--locked", "--test", suite]).args(arguments).args(["--", "--color=never"]);
    command.current_dir(folder).env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stderr(Stdio::inherit());
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        command.env("PROPTEST_RNG_SEED", PROPTEST_SEED);
    }
    let output = command.output().map_err(Error::io(Path::new(&cargo)))?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    match outcomes(suite, &output) {
        Some(outcomes) => Ok(Run { outcomes, output }),
        None => {
            let expected = "to build, run and end with a summary";
            Err(Error::argument("verify", format!("tests/{suite}"), "none", expected))
        }
    }
}

/// Reads libtest's output: `test module::name ... ok`. Nothing without its summary, or where the
/// summary counts other tests than were read.
///
/// ```
/// use lpc::verify::suites::outcomes;
/// let said = "test a::b ... ok\ntest a::c - should panic ... FAILED\n\n\
///             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
/// let read = outcomes("golden", said).unwrap();
/// assert!(read["golden::a::b"] && !read["golden::a::c"]);
/// assert!(outcomes("golden", "test a::b ... ok\n").is_none());
/// ```
pub fn outcomes(suite: &str, output: &str) -> Option<Outcomes> {
    let line = |line: &str| {
        let (name, said) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let name = name.trim_end_matches(" - should panic");
        Some((format!("{suite}::{name}"), said == "ok"))
    };
    let read: Outcomes = output.lines().filter_map(line).collect();
    let summary = output.lines().find_map(|line| line.strip_prefix("test result: "))?;
    let counted = |what: &str| -> Option<usize> {
        let (before, _) = summary.split_once(&format!(" {what}"))?;
        before.rsplit(' ').next()?.parse().ok()
    };
    let counts = counted("passed")? + counted("failed")? + counted("ignored")?;
    (counts == read.len()).then_some(read)
}
