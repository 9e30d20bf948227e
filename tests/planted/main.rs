//! Plants every error of `errors.toml` in a copy of the tree, one at a time, runs the suites that
//! `just verify` runs until one turns red, and writes `reports/planted.md`. An error that no test
//! sees, or that does not compile, fails. `cargo test --test planted -- WORD` plants those alone
//! whose kind or file has the word, and writes nothing.

use lpc::verify::suites;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

#[derive(Deserialize)]
struct Errors {
    error: Vec<Planted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planted {
    kind: String,
    what: String,
    file: String,
    old: String,
    new: String,
}

impl Planted {
    fn suites(&self) -> Suites {
        match &self.file {
            file if file.starts_with("src/spec/") => OF_SPEC,
            file if file.starts_with("src/machine/device/") || file.starts_with("src/passes/gpu/") => {
                OF_DEVICE
            }
            _ => OF_TENSOR,
        }
    }
}

/// What a build needs.
const TREE: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "build.rs", "src", "tests", "fixtures", "paper", "reports"];

/// What could see an error.
#[derive(Clone, Copy, PartialEq)]
struct Suites {
    names: &'static [&'static str],
    cargo: &'static [&'static str],
    /// Modules to leave out.
    skip: &'static [&'static str],
}

/// The formulas of `spec` need no candle.
const OF_SPEC: Suites =
    Suites { names: &["golden", "properties"], cargo: &["--no-default-features"], skip: &[] };
/// What `parity` has about decoders is slow unoptimised, and blind to the formulas.
const OF_TENSOR: Suites = Suites {
    names: &["golden", "parity"],
    cargo: &[],
    skip: &["decoder::", "gradients::", "long_rows::", "packing::"],
};
/// A GPU's kernels and pass, on the host.
const OF_DEVICE: Suites = Suites { names: &["device"], cargo: &[], skip: &[] };
/// Each error is compiled once and run once: compiling is what takes long.
const UNOPTIMISED: [&str; 4] =
    ["--config", "profile.dev.opt-level=0", "--config", "profile.test.opt-level=0"];

/// Failing tests that a row of the report names.
const NAMED: usize = 3;

fn main() -> ExitCode {
    let word = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    match run(word.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("planted: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(word: Option<&str>) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/planted/errors.toml")).map_err(|e| e.to_string())?;
    let Errors { mut error } = toml::from_str(&list).map_err(|e| e.to_string())?;
    error.retain(|e| word.is_none_or(|word| e.kind.contains(word) || e.file.contains(word)));
    let tree = Tree::copy(root).map_err(|e| format!("copying the tree: {e}"))?;

    for suites in
        [OF_SPEC, OF_TENSOR, OF_DEVICE].into_iter().filter(|s| error.iter().any(|e| e.suites() == *s))
    {
        if let Some(red) = tree.first_red(suites)? {
            return Err(format!("the tree is red before anything is planted: {}", red.join(" ")));
        }
    }
    let mut rows = String::new();
    let mut unseen = 0;
    for (i, planted) in error.iter().enumerate() {
        let caught = tree.plant(planted)?;
        unseen += usize::from(caught.is_none());
        let by = caught.map_or_else(|| "NOTHING".into(), |red| named(&red));
        println!("{}/{} {}, {}, {}: {by}", i + 1, error.len(), planted.kind, planted.what, planted.file);
        rows += &format!("| {} | {} | `{}` | {by} |\n", planted.kind, planted.what, planted.file);
    }
    if word.is_none() {
        let report = lpc::verify::report::planted(&rows);
        let path = root.join("reports/planted.md");
        let part = path.with_extension("md.part");
        fs::write(&part, report).and_then(|()| fs::rename(&part, &path)).map_err(|e| e.to_string())?;
        println!("written: {}", path.display());
    }
    if unseen > 0 { Err(format!("{unseen} errors turned nothing red")) } else { Ok(()) }
}

fn named(red: &[String]) -> String {
    let mut text: Vec<String> = red.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    if red.len() > NAMED {
        text.push(format!("and {} more", red.len() - NAMED));
    }
    text.join(" ")
}

/// A copy to break, with a target folder of its own that the next run finds again.
struct Tree {
    folder: PathBuf,
    target: String,
}

impl Tree {
    fn copy(root: &Path) -> io::Result<Self> {
        let planted = root.join("target/planted");
        let folder = planted.join("tree");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        TREE.iter().try_for_each(|name| copy(&root.join(name), &folder.join(name)))?;
        Ok(Self { folder, target: planted.join("target").display().to_string() })
    }

    /// The failing tests of the first suite that has some.
    fn first_red(&self, suites: Suites) -> Result<Option<Vec<String>>, String> {
        let arguments = [suites.cargo, &UNOPTIMISED, &["--target-dir", &self.target]].concat();
        for suite in suites.names {
            let run = suites::run(suite, &self.folder, &arguments, suites.skip).map_err(|e| e.to_string())?;
            let failed: Vec<String> = run.failed().into_iter().map(String::from).collect();
            if !failed.is_empty() {
                return Ok(Some(failed));
            }
        }
        Ok(None)
    }

    /// What turns red while the error stands.
    fn plant(&self, planted: &Planted) -> Result<Option<Vec<String>>, String> {
        let Planted { kind, what, file, old, new } = planted;
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{file}: {e}"))?;
        let found = text.matches(old.as_str()).count();
        if found != 1 {
            return Err(format!("{kind}, {what}: {file} has the old text {found} times, expected once"));
        }
        fs::write(&path, text.replacen(old.as_str(), new, 1)).map_err(|e| format!("{file}: {e}"))?;
        let red = self.first_red(planted.suites());
        fs::write(&path, text).map_err(|e| format!("{file}: {e}"))?;
        red.map_err(|e| format!("{kind}, {what}, {file}: {e}"))
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
