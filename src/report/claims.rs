//! Every claim the paper makes in words, and what the evidence at each scale says of it.

use super::document::{Block, Cell, Document, Grid, Section, columns, csv, markdown};
use super::paper::{self, Claim, ClaimTest};
use super::study::Outcome;
use super::text::{NOT_RUN, bracketed, p_value, points};
use super::verdict::{self, Decision, Verdict};
use super::{publish, study, table1, table2, table3};
use crate::error::{Error, Result};
use crate::eval::stats::{SIGNIFICANCE, normal_p};
use crate::plan::Scale;
use crate::plan::Table;
use crate::run::evidence::Evidence;
use std::path::Path;

/// What LPC changes in one cell of a table: with minus without.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    pub base: String,
    pub objective: String,
    /// Where a table has several.
    pub column: String,
    /// Within the family of its table.
    pub decision: Decision,
}

/// A claim at one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub scale: Scale,
    /// None: not run.
    pub found: Option<(Verdict, String)>,
}

const SCALES: [Scale; 3] = [Scale::Toy, Scale::Small, Scale::Paper];

/// Verdicts on every claim by the evidence in `reports`; a scale whose folder is missing did not run.
///
/// Errors: evidence that cannot be read or makes no table.
pub fn findings(reports: &Path) -> Result<Vec<(&'static Claim, Vec<Finding>)>> {
    let mut evidence = vec![];
    for scale in SCALES {
        let folder = reports.join(scale.name());
        let read = if folder.is_dir() { publish::read(&folder)? } else { vec![] };
        evidence.push((scale, read.into_iter().map(|(evidence, _)| evidence).collect::<Vec<_>>()));
    }
    let judge = |claim: &'static Claim| {
        let at = |(scale, all): &(Scale, Vec<Evidence>)| {
            let table = match &claim.test {
                ClaimTest::Improves { table, .. }
                | ClaimTest::Less { table, .. }
                | ClaimTest::Study { table, .. } => *table,
            };
            let found = match all.iter().find(|e| e.header.table == table) {
                None => None,
                Some(evidence) => decide(&claim.test, evidence)?,
            };
            Ok(Finding { scale: *scale, found })
        };
        Ok((claim, evidence.iter().map(at).collect::<Result<Vec<_>>>()?))
    };
    paper::claims().iter().map(judge).collect()
}

fn decide(test: &ClaimTest, evidence: &Evidence) -> Result<Option<(Verdict, String)>> {
    match test {
        ClaimTest::Improves { objective, .. } => {
            // Where a table has a mean over columns, claims are about that.
            let of = |e: &Effect| {
                objective.as_ref().is_none_or(|o| *o == e.objective)
                    && [table1::AVERAGE, ""].contains(&e.column.as_str())
            };
            Ok(improves(&effects(evidence)?.into_iter().filter(of).collect::<Vec<_>>()))
        }
        ClaimTest::Less { columns, than, .. } => Ok(less(&effects(evidence)?, columns, than)),
        ClaimTest::Study { test, at_toy_scale, .. } => {
            let toy = at_toy_scale.as_ref().filter(|_| evidence.header.scale == Scale::Toy);
            let test = toy.unwrap_or(test);
            let summary = study::summarise(evidence)?;
            let answer = summary.answers.iter().find(|a| a.test.id == *test).ok_or_else(|| {
                Error::argument("claims", "test", test, format!("one of {}", evidence.header.table.name()))
            })?;
            let said = |o: Outcome| format!("{}; {}", study::measured(&o), o.decision.because());
            Ok(answer.outcome.map(|o| (o.decision.verdict, said(o))))
        }
    }
}

fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    match evidence.header.table {
        Table::Table1 => table1::effects(evidence),
        Table::Table2 => table2::effects(evidence),
        Table::Table3 => table3::effects(evidence),
        Table::Figure2 | Table::Reviews => Err(Error::argument(
            "claims",
            "table",
            evidence.header.table.name(),
            "a table with and without LPC",
        )),
    }
}

/// One verdict on effects that are all claimed to be above 0; see [`verdict::all`].
fn improves(effects: &[Effect]) -> Option<(Verdict, String)> {
    let verdicts: Vec<Verdict> = effects.iter().map(|e| e.decision.verdict).collect();
    let said = match effects {
        [one] => format!(
            "{} points; {}",
            bracketed(&one.decision.compared.estimate, points),
            one.decision.because()
        ),
        _ => {
            let means = || effects.iter().map(|e| e.decision.compared.estimate.mean);
            let (low, high) =
                (means().fold(f64::INFINITY, f64::min), means().fold(f64::NEG_INFINITY, f64::max));
            let largest = effects.iter().map(|e| e.decision.detectable).fold(0.0, f64::max);
            format!(
                "{} to {} points. {} Detectable with 80 % power in each: {} points",
                points(low),
                points(high),
                verdict::count(&verdicts, 0),
                points(largest).trim_start_matches('+')
            )
        }
    };
    verdict::all(&verdicts).map(|verdict| (verdict, said))
}

/// Mean effect in `than` minus that in `columns`, cells taken as independent.
fn less(effects: &[Effect], columns: &[String], than: &[String]) -> Option<(Verdict, String)> {
    let mean = |names: &[String]| {
        let of: Vec<&Effect> = effects.iter().filter(|e| names.contains(&e.column)).collect();
        let n = of.len() as f64;
        let estimates = || of.iter().map(|e| e.decision.compared.estimate);
        let variance = estimates().map(|e| e.standard_error.powi(2)).sum::<f64>() / (n * n);
        (!of.is_empty()).then(|| (estimates().map(|e| e.mean).sum::<f64>() / n, variance))
    };
    let ((less, a), (more, b)) = (mean(columns)?, mean(than)?);
    let p = if a + b > 0.0 { normal_p((more - less) / (a + b).sqrt()) } else { 1.0 };
    let verdict = match (p < SIGNIFICANCE, more > less) {
        (true, true) => Verdict::Supported,
        (true, false) => Verdict::Refuted,
        _ => Verdict::Undecided,
    };
    Some((verdict, format!("{} against {} points, p = {}", points(less), points(more), p_value(p))))
}

/// `claims.md`.
pub fn markdown_page(findings: &[(&Claim, Vec<Finding>)]) -> String {
    let row = |(claim, findings): &(&Claim, Vec<Finding>)| {
        let verdict = |f: &Finding| match &f.found {
            None => NOT_RUN.into(),
            Some((verdict, said)) => format!("**{}**: {said}", verdict.name()),
        };
        [claim.says.clone(), claim.source.clone()].into_iter().chain(findings.iter().map(verdict)).collect()
    };
    let columns = columns(&["The paper says", "Where", "Toy scale", "Small scale", "Paper's scale"], &[]);
    let text = "Each claim's test stands in `paper/claims.toml`; verdicts are made of the evidence in \
                `reports/<scale>` by `lpc reproduce claims`, by one rule. Supported and refuted: p < 0.05 after Holm's \
                correction over all comparisons of the table or study. No difference: any difference is smaller than the \
                margin that the recipe stated before the runs, by two one-sided tests with the same correction. Undecided: \
                neither. What a design could have found stands beside each verdict. A small model on a small world can \
                support or undermine a claim about mechanisms, not about 7–8B models.";
    let grid = Grid::of_text(columns, findings.iter().map(row));
    let lead = Section::new("", vec![Block::paragraph(text), Block::Grid(grid)]);
    markdown::render(&Document { title: "What the paper claims".into(), lead, sections: vec![] })
}

/// `claims.csv`: a row a claim and scale.
pub fn csv(findings: &[(&Claim, Vec<Finding>)]) -> Result<Vec<u8>> {
    let mut grid = Grid::new(columns(&["claim", "scale", "verdict", "measured"], &[]), vec![]);
    for (claim, findings) in findings {
        for Finding { scale, found } in findings {
            let (verdict, said) = found.as_ref().map_or((NOT_RUN, ""), |(v, said)| (v.name(), said.as_str()));
            grid.rows.push([&claim.id, scale.name(), verdict, said].map(Cell::text).to_vec());
        }
    }
    csv::render(&grid)
}
