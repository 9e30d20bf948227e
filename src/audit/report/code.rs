//! Where a run comes from: the code that it states, against this program or the commit it names.

use super::Audit;
use crate::run::evidence::Evidence;
use crate::run::manifest::Code;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

pub(super) fn check(audit: &mut Audit, evidence: &Evidence) {
    let table = evidence.header.table.name();
    let mut versions: BTreeMap<&str, (usize, &Code)> = BTreeMap::new();
    for run in &evidence.runs {
        let code = &run.manifest.code;
        versions.entry(&code.fingerprint).or_insert((0, code)).0 += 1;
    }
    for (fingerprint, (runs, code)) in versions {
        let short: String = fingerprint.chars().take(12).collect();
        let line = match (&code.git_commit, fingerprint == Code::current().fingerprint) {
            (_, true) => "the very code of this program".to_string(),
            (None, _) => "not this program's, and no commit is named: taken as stated".to_string(),
            (Some(commit), _) => match at_commit(commit) {
                Some(found) if found == fingerprint => format!("that of commit {commit}"),
                Some(_) if code.git_dirty == Some(true) => {
                    format!("not that of commit {commit}: the tree had uncommitted changes")
                }
                Some(found) => {
                    let what = format!("{runs} runs state code {fingerprint}; commit {commit} has {found}");
                    audit.difference(format!("{table}: code"), what);
                    continue;
                }
                None => format!("not this program's; commit {commit} is not in this clone: taken as stated"),
            },
        };
        audit.checked.push(format!("{table}: code {short} of {runs} runs: {line}"));
    }
}

/// The fingerprint that `build.rs` gives the sources of a commit; none without git or the commit.
fn at_commit(commit: &str) -> Option<String> {
    let hexadecimal = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    if !hexadecimal {
        return None;
    }
    let script = git(&["show", &format!("{commit}:build.rs")])?;
    let listed = decide_numbers(&String::from_utf8(script).ok()?)?;
    let mut arguments = vec!["ls-tree", "-r", "-z", "--name-only", commit, "--"];
    arguments.extend(listed.iter().map(String::as_str));
    let names = String::from_utf8(git(&arguments)?).ok()?;
    let mut files: Vec<PathBuf> = names.split('\0').filter(|n| !n.is_empty()).map(PathBuf::from).collect();
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        let name = file.to_string_lossy().replace('\\', "/");
        let content = git(&["show", &format!("{commit}:{name}")])?;
        hash.update(format!("{name}\0{}\0", content.len()));
        hash.update(content);
    }
    Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// The list in a `build.rs`, which differs from commit to commit: older ones list what decided run ids.
fn decide_numbers(script: &str) -> Option<Vec<String>> {
    let start = ["const HASHED", "const DECIDE_NUMBERS"].into_iter().find(|start| script.contains(start))?;
    let (_, rest) = script.split_once(start)?;
    let (_, rest) = rest.split_once('=')?;
    let (list, _) = rest.split_once("];")?;
    Some(list.split('"').skip(1).step_by(2).map(String::from).collect())
}

fn git(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then_some(output.stdout)
}
