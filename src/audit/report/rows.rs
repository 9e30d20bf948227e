//! What makes a row less trustworthy though nothing contradicts itself: seeds that are missing, trees that
//! were changed, versions or devices that differ within one comparison.

use super::Audit;
use crate::run::evidence::{Evidence, NotRun, Run};
use std::collections::BTreeSet;

pub(super) fn check(audit: &mut Audit, evidence: &Evidence) {
    let header = &evidence.header;
    let table = header.table.name();
    for base in &header.bases {
        for objective in &header.objectives {
            let sides = [false, true].map(|latent| evidence.cell(&base.name, objective, latent));
            let row = format!("{table}: {}, {objective}", base.name);
            let planned = match header.plan {
                None => {
                    vec![
                        (format!("{row}, without LPC"), &false, &sides[0]),
                        (format!("{row}, with LPC"), &true, &sides[1]),
                    ]
                }
                // An arm of a study has one side.
                Some(_) => {
                    vec![(row.clone(), &true, if sides[0].is_empty() { &sides[1] } else { &sides[0] })]
                }
            };
            for (cell, side, runs) in planned {
                let ran: Vec<u64> = runs.iter().map(|r| r.seed()).collect();
                let missing: Vec<String> =
                    header.seeds.iter().filter(|s| !ran.contains(s)).map(u64::to_string).collect();
                if !missing.is_empty() {
                    let latent = header.plan.is_none().then_some(*side);
                    let of = |n: &&NotRun| {
                        n.base == base.name
                            && n.objective == *objective
                            && latent.is_none_or(|l| n.latent == l)
                    };
                    let why: BTreeSet<&str> =
                        header.not_run.iter().filter(of).map(|n| n.why.as_str()).collect();
                    let why = why.into_iter().map(|why| format!(": {why}")).collect::<String>();
                    audit.flag(&cell, format!("seeds {} of the matrix are missing{why}", missing.join(", ")));
                }
                if let Some(other) = ran.iter().find(|s| !header.seeds.contains(s)) {
                    audit.difference(&cell, format!("seed {other} is not in the matrix"));
                }
            }
            let runs: Vec<&Run> = sides.into_iter().flatten().collect();
            mixed(audit, &row, &runs);
        }
    }
}

fn mixed(audit: &mut Audit, row: &str, runs: &[&Run]) {
    let distinct = |of: &dyn Fn(&Run) -> String| runs.iter().map(|r| of(r)).collect::<BTreeSet<String>>();
    let short = |text: &str| text.chars().take(12).collect::<String>();
    for (what, values) in [
        ("code", distinct(&|r| short(&r.manifest.code.fingerprint))),
        ("numerics", distinct(&|r| r.manifest.numerics.to_string())),
        ("crate versions", distinct(&|r| r.manifest.code.crate_version.clone())),
        ("devices", distinct(&|r| r.manifest.machine.device.clone())),
        ("base models", distinct(&|r| short(&r.manifest.model))),
        ("data", distinct(&|r| short(&r.manifest.data))),
    ] {
        if values.len() > 1 {
            let values: Vec<String> = values.into_iter().collect();
            audit.flag(row, format!("mixed {what} in one row: {}", values.join(" | ")));
        }
    }
    let dirty = runs.iter().filter(|r| r.manifest.code.git_dirty == Some(true)).count();
    if dirty > 0 {
        audit.flag(row, format!("{dirty} of {} runs come from a tree with uncommitted changes", runs.len()));
    }
    let unknown = runs.iter().filter(|r| r.manifest.code.git_commit.is_none()).count();
    if unknown > 0 {
        audit.flag(row, format!("{unknown} of {} runs were built without git", runs.len()));
    }
}
