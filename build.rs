//! Tells the crate which code it is: `LPC_CODE`, a SHA-256 over the sources,
//! and the git commit where there is one. Never fails: a build from a tarball lacks only git.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run's manifest states as the code that made it. `audit` reads this list from a commit's own build.rs.
const HASHED: [&str; 3] = ["Cargo.toml", "Cargo.lock", "src"];

/// What the dirty flag looks at; generated reports do not make a build dirty.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "build.rs", "src", "paper"];

/// Sources of the kernels of a GPU, which run on the host too.
#[cfg(feature = "train")]
const KERNELS: &str = "src/machine/device/kernels";

fn main() {
    // Fused products and sums would make the host's numbers depend on the compiler.
    #[cfg(feature = "train")]
    cc::Build::new()
        .file(format!("{KERNELS}/host.c"))
        .std("c11")
        .opt_level(3)
        .flag_if_supported("-ffp-contract=off")
        .compile("lpc_kernels");
    let mut files = Vec::new();
    for path in HASHED {
        collect(Path::new(path), &mut files);
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        let content = fs::read(file).unwrap_or_default();
        // Lengths keep neighbours apart; forward slashes make the same hash everywhere.
        let name = file.to_string_lossy().replace('\\', "/");
        hash.update(format!("{name}\0{}\0", content.len()));
        hash.update(content);
    }
    let code: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    println!("cargo::rustc-env=LPC_CODE={code}");

    let (commit, dirty) = git_state().unwrap_or_default();
    println!("cargo::rustc-env=LPC_GIT_COMMIT={commit}");
    println!("cargo::rustc-env=LPC_GIT_DIRTY={dirty}");
    for path in SOURCES.iter().map(PathBuf::from).filter(|p| p.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else {
        files.extend(path.is_file().then(|| path.into()));
        return;
    };
    for entry in entries.flatten() {
        collect(&entry.path(), files);
    }
}

/// Commit and "true" or "false", if this folder is itself a git checkout (not merely inside one).
fn git_state() -> Option<(String, String)> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    // HEAD moves by a commit or a checkout; the log beside it changes with each.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|p| Path::new(p).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    Some((commit, (!changes.is_empty()).to_string()))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
