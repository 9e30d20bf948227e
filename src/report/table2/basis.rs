//! What the cells of table 2 rest on: seeds, intervals and tests of each.

use super::summary::{Arm, Comparison, Difference, Pooled, RunSummary, correct};
use crate::error::Result;
use crate::eval::stats::{
    Estimate, Method, bootstrap_interval, mcnemar_exact, paired_bootstrap, resamples, wilson_interval,
};
use crate::report::document::Basis;
use crate::report::paper::{self, Published};
use crate::report::text::{p_value, percent, points};
use crate::report::verdict::Decision;
use crate::seed;
use ndarray::Array2;
use std::collections::BTreeMap;

/// Behind every bootstrap interval of the page.
const RESAMPLES: usize = 1000;

/// By number of pairs: comparisons on the same pairs use the same resamples.
#[derive(Default)]
pub(super) struct Resamples(BTreeMap<usize, Array2<usize>>);

impl Resamples {
    fn of(&mut self, pairs: usize) -> &Array2<usize> {
        let drawn = || resamples(&mut seed::stream(0, "report/bootstrap"), RESAMPLES, pairs);
        self.0.entry(pairs).or_insert_with(drawn)
    }

    /// None: not run.
    pub(super) fn arm(&mut self, title: String, arm: &Arm) -> Result<Option<Basis>> {
        let (Some(accuracy), Some(first)) = (&arm.accuracy, arm.runs.first()) else { return Ok(None) };
        let pairs = first.records.len();
        let mut facts = estimate(accuracy, percent, " %").to_vec();
        for run in &arm.runs {
            let right = run.records.iter().filter(|r| r.correct).count();
            let interval = wilson_interval(right, pairs)?;
            let text = format!(
                "{} % ({right} of {pairs}; Wilson {} to {})",
                percent(right as f64 / pairs as f64),
                percent(interval.low),
                percent(interval.high)
            );
            facts.push((format!("Seed {}", run.seed), text));
        }
        let mean =
            |i: usize| arm.runs.iter().map(|r| correct(&r.records[i])).sum::<f64>() / arm.runs.len() as f64;
        let means: Vec<f64> = (0..pairs).map(mean).collect();
        if let Ok(interval) = bootstrap_interval(&means, self.of(pairs).view()) {
            facts.push(bootstrap_fact(format!("{} to {}", percent(interval.low), percent(interval.high))));
        }
        let how = format!(
            "Mean over {} seeds and {pairs} test pairs of: is the chosen completion's implicit reward (4) the higher \
             one (margin above 0)?",
            arm.runs.len()
        );
        Ok(Some(Basis { title, how, facts, runs: ids(arm.runs.iter().copied()), source: String::new() }))
    }

    pub(super) fn comparison(&mut self, name: &str, c: &Comparison) -> Basis {
        let mut facts = difference(&c.difference, &c.decision);
        for (without, with) in &c.runs {
            let both = || without.records.iter().zip(&with.records);
            let gained = both().filter(|(a, b)| !a.correct && b.correct).count();
            let lost = both().filter(|(a, b)| a.correct && !b.correct).count();
            let p = p_value(mcnemar_exact(lost, gained));
            let text = format!("{gained} pairs gained, {lost} lost; McNemar p = {p}");
            facts.push((format!("Seed {}", with.seed), text));
        }
        let pairs = c.runs.first().map_or(0, |(_, with)| with.records.len());
        let mean = |side: fn(&(&RunSummary, &RunSummary), usize) -> f64| -> Vec<f64> {
            (0..pairs).map(|i| c.runs.iter().map(|r| side(r, i)).sum::<f64>() / c.runs.len() as f64).collect()
        };
        let (without, with) = (mean(|r, i| correct(&r.0.records[i])), mean(|r, i| correct(&r.1.records[i])));
        if let Ok(b) = paired_bootstrap(&without, &with, self.of(pairs).view()) {
            let (low, high) = (points(b.interval.low), points(b.interval.high));
            facts.push(bootstrap_fact(format!("{low} to {high}, p = {}", p_value(b.p_value))));
        }
        Basis {
            title: format!("{name}: with LPC minus without"),
            how: "Mean difference, paired by seed and test pair. The seeds' variance is that of all cells of the \
                  objective together."
                .into(),
            facts,
            runs: ids(c.runs.iter().flat_map(|(without, with)| [*without, *with])),
            source: String::new(),
        }
    }
}

/// What a pooled row rests on.
pub(super) fn pooled(p: &Pooled, cells: &[&Comparison]) -> Basis {
    Basis {
        title: format!("Mean over {} cells, {}: with LPC minus without", p.cells, p.name()),
        how: "The mean over the cells for every seed and test pair, then an interval over both: what cells share is \
              counted once. The cells are taken as they are, not as drawn from others."
            .into(),
        facts: difference(&p.difference, &p.decision),
        runs: ids(cells.iter().flat_map(|c| c.runs.iter().flat_map(|(without, with)| [*without, *with]))),
        source: String::new(),
    }
}

fn difference(difference: &Difference, decision: &Decision) -> Vec<(String, String)> {
    let mut facts = vec![];
    if let Some(e) = &difference.by_probability {
        facts.extend(
            estimate(e, points, " points").map(|(name, fact)| (format!("{name}, true probability"), fact)),
        );
    }
    let by_label = estimate(&difference.by_label, points, " points");
    facts.extend(by_label.map(|(name, fact)| (format!("{name}, labels as drawn"), fact)));
    let p = p_value(difference.decides().p_value);
    facts.push(("p".into(), format!("{p}; after Holm's correction {}", p_value(decision.p_holm))));
    facts.push(("Verdict".into(), format!("{}: {}.", decision.verdict.name(), decision.because())));
    facts
}

pub(super) fn ids<'a>(runs: impl IntoIterator<Item = &'a RunSummary>) -> Vec<String> {
    runs.into_iter().map(|run| run.run_id.clone()).collect()
}

fn bootstrap_fact(interval: String) -> (String, String) {
    (
        "Bootstrap over pairs".into(),
        format!("{interval} ({RESAMPLES} resamples, BCa; these training runs only)"),
    )
}

fn estimate(e: &Estimate, format: fn(f64) -> String, unit: &str) -> [(String, String); 3] {
    let how = match e.method {
        Method::Student => "seeds and pairs crossed, Student's t",
        Method::Score { .. } => "Tango's score interval: nearly all verdicts agree",
    };
    [
        ("Mean".into(), format!("{}{unit}", format(e.mean))),
        ("95 % interval".into(), format!("{} to {} ({how})", format(e.low), format(e.high))),
        (
            "Standard error".into(),
            format!("{:.3} points, {:.1} degrees of freedom", 100.0 * e.standard_error, e.degrees_of_freedom),
        ),
    ]
}

pub(super) fn published(title: &str, p: &Published) -> Basis {
    let table = paper::table2();
    let side = |name: &str, accuracy: f64| {
        let (i, pairs) = (table.interval(accuracy), table.test_pairs);
        let left = format!("{pairs} test pairs alone leave {:.1} to {:.1} (Wilson)", i.low, i.high);
        (name.to_string(), format!("{accuracy:.1} %; {left}"))
    };
    Basis {
        title: format!("{title}: the paper"),
        how: format!(
            "As published for {} ({}), one number a cell, no seeds and no intervals. reports/paper-audit.md examines it.",
            p.base, table.source
        ),
        facts: vec![
            side("Without LPC", p.without),
            side("With LPC", p.with),
            ("Difference".into(), format!("{:+.1} points", p.with - p.without)),
        ],
        ..Basis::default()
    }
}
