//! Table 2 on the page: every cell with what it rests on.

use super::markdown::{
    BY_SOURCE, LATENTS, LATENTS_HEADER, LIMITS, LIMITS_HEADER, MAIN_HEADER, PUBLISHED_HEADER,
    by_source_header, by_source_row, caption, latents_row, limits_row, main_row, published_note,
    published_row, sentence, verdict_line,
};
use super::{Arm, Comparison, Row, RunSummary, Summary, correct};
use crate::error::Result;
use crate::eval::stats::{
    Estimate, bootstrap_interval, mcnemar_exact, paired_bootstrap, resamples, wilson_interval,
};
use crate::report::exhibit::{Cell, Grid, Panel, Section};
use crate::report::paper::Published;
use crate::report::table::{p_value, percent, points};
use crate::run::evidence::Evidence;
use crate::seed;
use ndarray::Array2;
use std::collections::BTreeMap;

/// Resamples behind every bootstrap interval of the page.
const RESAMPLES: usize = 1000;

pub(super) fn sections(summary: &Summary, evidence: &Evidence, figure: String) -> Result<Vec<Section>> {
    let mut page = Page {
        positions: evidence.runs.iter().enumerate().map(|(i, r)| (r.manifest.run.as_str(), i)).collect(),
        resamples: BTreeMap::new(),
    };
    let mut main = vec![];
    for row in &summary.rows {
        main.push(page.main(row)?);
    }
    let strings = |header: &[&str]| header.iter().map(|h| h.to_string()).collect::<Vec<_>>();
    let grid = |caption: &str, alignment: &str, header: Vec<String>, rows| Grid {
        caption: caption.into(),
        alignment: alignment.into(),
        header,
        rows,
    };
    let mut verdicts = vec![verdict_line(summary) + " Decided means: p < 0.05 after Holm's correction."];
    for row in &summary.rows {
        if let Some(comparison) = &row.comparison {
            let text = sentence(comparison).replace("**", "");
            verdicts.push(format!("{}, {}: {text}", row.base, row.objective));
        }
    }
    let mut sections = vec![
        Section {
            title: "Preference accuracy".into(),
            paragraphs: vec![caption(summary)],
            grids: vec![grid("", "llrrrrrr", strings(&MAIN_HEADER), main)],
            figure: Some(figure),
        },
        Section {
            title: "Does LPC raise accuracy here?".into(),
            paragraphs: verdicts,
            grids: vec![],
            figure: None,
        },
    ];
    let mut put = |title: &str, text: String, grids: Vec<Grid>| {
        if grids.iter().any(|g| !g.rows.is_empty()) {
            sections.push(Section { title: title.into(), paragraphs: vec![text], grids, figure: None });
        }
    };
    let rows = summary.bases.iter().map(|base| page.limits(summary, base)).collect();
    put("Floor and ceiling", LIMITS.into(), vec![grid("", "lrrr", strings(&LIMITS_HEADER), rows)]);
    let rows = summary.rows.iter().filter_map(|row| page.latents(row)).collect();
    put(
        "The latent after training",
        LATENTS.into(),
        vec![grid("", "llrrrrr", strings(&LATENTS_HEADER), rows)],
    );
    let rows = summary.rows.iter().filter_map(|row| page.published(row)).collect();
    put("The paper's numbers", published_note(), vec![grid("", "lllrrr", strings(&PUBLISHED_HEADER), rows)]);
    let by_source = summary.bases.iter().filter(|b| !b.sources.is_empty()).map(|base| {
        let header = by_source_header(base);
        let alignment = format!("l{}", "r".repeat(header.len() - 1));
        let rows = summary.rows.iter().filter(|r| r.base == base.name);
        grid(base.name, &alignment, header, rows.map(|row| page.by_source(base, row)).collect())
    });
    put("By source", BY_SOURCE.into(), by_source.collect());
    Ok(sections)
}

struct Page<'a> {
    /// Run ids to their positions in the evidence.
    positions: BTreeMap<&'a str, usize>,
    /// By number of pairs: comparisons on the same pairs use the same resamples.
    resamples: BTreeMap<usize, Array2<usize>>,
}

impl Page<'_> {
    fn runs<'r>(&self, runs: impl IntoIterator<Item = &'r RunSummary>) -> Vec<usize> {
        runs.into_iter().filter_map(|r| self.positions.get(r.run_id.as_str()).copied()).collect()
    }

    fn resamples(&mut self, pairs: usize) -> &Array2<usize> {
        self.resamples
            .entry(pairs)
            .or_insert_with(|| resamples(&mut seed::stream(0, "report/bootstrap"), RESAMPLES, pairs))
    }

    fn main(&mut self, row: &Row) -> Result<Vec<Cell>> {
        let text = main_row(row);
        let name = format!("{}, {}", row.base, row.objective);
        let arms = [
            self.arm(&format!("{name}, without LPC"), &row.without)?,
            self.arm(&format!("{name}, with LPC"), &row.with)?,
        ];
        let comparison = row.comparison.as_ref().map(|c| self.comparison(&name, c)).transpose()?;
        let published = row.published.map(|p| published_panel(&name, p));
        let [without, with] = arms;
        let panels =
            [None, None, without, with, comparison.clone(), comparison.clone(), comparison, published];
        Ok(text.into_iter().zip(panels).map(|(text, panel)| Cell { text, panel }).collect())
    }

    fn arm(&mut self, title: &str, arm: &Arm) -> Result<Option<Panel>> {
        let (Some(accuracy), Some(first)) = (&arm.accuracy, arm.runs.first()) else { return Ok(None) };
        let pairs = first.records.len();
        let mut facts = estimate(accuracy, percent, " %");
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
        if let Ok(interval) = bootstrap_interval(&means, self.resamples(pairs).view()) {
            facts.push(bootstrap_fact(format!("{} to {}", percent(interval.low), percent(interval.high))));
        }
        Ok(Some(Panel {
            title: title.into(),
            how: format!(
                "Mean over {} seeds and {pairs} test pairs of: is the chosen completion's implicit reward (4) the higher \
                 one (margin above 0)?",
                arm.runs.len()
            ),
            facts,
            runs: self.runs(arm.runs.iter().copied()),
            filter: String::new(),
        }))
    }

    fn comparison(&mut self, name: &str, c: &Comparison) -> Result<Panel> {
        let mut facts = estimate(&c.difference, points, " points");
        facts.push((
            "p".into(),
            format!("{}; after Holm's correction {}", p_value(c.difference.p_value), p_value(c.p_holm)),
        ));
        facts.push(("Verdict".into(), c.verdict.name().into()));
        for (without, with) in &c.runs {
            let both = || without.records.iter().zip(&with.records);
            let gained = both().filter(|(a, b)| !a.correct && b.correct).count();
            let lost = both().filter(|(a, b)| a.correct && !b.correct).count();
            let p = p_value(mcnemar_exact(lost, gained));
            facts.push((
                format!("Seed {}", with.seed),
                format!("{gained} pairs gained, {lost} lost; McNemar p = {p}"),
            ));
        }
        let pairs = c.runs.first().map_or(0, |(_, with)| with.records.len());
        let mean = |side: fn(&(&RunSummary, &RunSummary), usize) -> f64| -> Vec<f64> {
            (0..pairs).map(|i| c.runs.iter().map(|r| side(r, i)).sum::<f64>() / c.runs.len() as f64).collect()
        };
        let (without, with) = (mean(|r, i| correct(&r.0.records[i])), mean(|r, i| correct(&r.1.records[i])));
        if let Ok(b) = paired_bootstrap(&without, &with, self.resamples(pairs).view()) {
            let (low, high) = (points(b.interval.low), points(b.interval.high));
            facts.push(bootstrap_fact(format!("{low} to {high}, p = {}", p_value(b.p_value))));
        }
        Ok(Panel {
            title: format!("{name}: with LPC minus without"),
            how: "Mean difference of right answers, paired by seed and test pair.".into(),
            facts,
            runs: self.runs(c.runs.iter().flat_map(|(without, with)| [*without, *with])),
            filter: String::new(),
        })
    }

    fn limits(&self, summary: &Summary, base: &super::BaseSummary) -> Vec<Cell> {
        let text = limits_row(base);
        let first = summary.rows.iter().filter(|r| r.base == base.name).flat_map(|r| [&r.without, &r.with]);
        let first = first.flat_map(|arm| &arm.runs).copied();
        let reference = first.clone().find(|r| r.records.iter().all(|r| r.reference_chosen_logps.is_some()));
        let panel = |what: &str, how: &str, run: Option<&RunSummary>| {
            Some(Panel {
                title: format!("{}: {what}", base.name),
                how: how.into(),
                facts: vec![],
                runs: self.runs(run),
                filter: String::new(),
            })
        };
        let floor = base.accuracy.and(panel(
            "before preference training",
            "Share of test pairs whose chosen completion the base model finds likelier by summed log-probability: \
             reference_chosen_logps above reference_rejected_logps in the records of any run with a reference.",
            reference,
        ));
        let ceiling = |what: &str, how: &str| base.ceiling.and(panel(what, how, first.clone().next()));
        let panels = [
            None,
            floor,
            ceiling(
                "Bayes-optimal, expected",
                "Mean of max(p, 1 − p), p the true probability `bayes` of each label.",
            ),
            ceiling(
                "Bayes-optimal, these labels",
                "Share of test pairs with `bayes` above 0.5; even odds count half.",
            ),
        ];
        text.into_iter().zip(panels).map(|(text, panel)| Cell { text, panel }).collect()
    }

    fn latents(&self, row: &Row) -> Option<Vec<Cell>> {
        let text = latents_row(row)?;
        let hows = [
            "Final metric `kl` of each run's manifest, mean over seeds.",
            "Final metric `prior_entropy` of each run's manifest, mean over seeds.",
            "Final metric `code_perplexity` of each run's manifest, mean over seeds.",
            "Mean of `marginal_loss` over all records of all seeds.",
            "Mean of `bound_gap` over all records of all seeds.",
        ];
        let cells =
            text.into_iter().enumerate().map(|(i, text)| match i.checked_sub(2).and_then(|i| hows.get(i)) {
                None => Cell::plain(text),
                Some(how) => {
                    let panel = Panel {
                        title: format!("{}, {} with LPC: {}", row.base, row.objective, LATENTS_HEADER[i]),
                        how: how.to_string(),
                        facts: vec![],
                        runs: self.runs(row.with.runs.iter().copied()),
                        filter: String::new(),
                    };
                    Cell::leading_to(text, panel)
                }
            });
        Some(cells.collect())
    }

    fn published(&self, row: &Row) -> Option<Vec<Cell>> {
        let published = row.published?;
        let panel = published_panel(&published.cell, published);
        let cells = published_row(row)?.into_iter().enumerate().map(|(i, text)| match i {
            0..3 => Cell::plain(text),
            _ => Cell::leading_to(text, panel.clone()),
        });
        Some(cells.collect())
    }

    fn by_source(&self, base: &super::BaseSummary, row: &Row) -> Vec<Cell> {
        let runs = self.runs(row.without.runs.iter().chain(&row.with.runs).copied());
        let sources = std::iter::once(None).chain(base.sources.keys().map(Some));
        let cells = by_source_row(base, row).into_iter().zip(sources).map(|(text, source)| match source {
            Some(source) if !runs.is_empty() => Cell::leading_to(
                text,
                Panel {
                    title: format!("{}, {}: pairs of {source}", row.base, row.objective),
                    how: "Share of right answers on this source's test pairs, mean over seeds, without / with LPC.".into(),
                    facts: vec![],
                    runs: runs.clone(),
                    filter: source.to_string(),
                },
            ),
            _ => Cell::plain(text),
        });
        cells.collect()
    }
}

fn bootstrap_fact(interval: String) -> (String, String) {
    (
        "Bootstrap over pairs".into(),
        format!("{interval} ({RESAMPLES} resamples, BCa; these training runs only)"),
    )
}

fn estimate(e: &Estimate, format: fn(f64) -> String, unit: &str) -> Vec<(String, String)> {
    vec![
        ("Mean".into(), format!("{}{unit}", format(e.mean))),
        (
            "95 % interval".into(),
            format!("{} to {} (seeds and pairs crossed, Student's t)", format(e.low), format(e.high)),
        ),
        (
            "Standard error".into(),
            format!("{:.3} points, {:.1} degrees of freedom", 100.0 * e.standard_error, e.degrees_of_freedom),
        ),
    ]
}

fn published_panel(title: &str, p: &Published) -> Panel {
    let table = crate::report::paper::table2();
    let side = |name: &str, accuracy: f64| {
        let i = table.interval(accuracy);
        let pairs = table.test_pairs;
        (
            name.to_string(),
            format!("{accuracy:.1} %; {pairs} test pairs alone leave {:.1} to {:.1} (Wilson)", i.low, i.high),
        )
    };
    Panel {
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
        runs: vec![],
        filter: String::new(),
    }
}
