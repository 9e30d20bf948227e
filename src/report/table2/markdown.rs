//! Table 2 as Markdown: the verdicts first, then what they rest on.

use super::{Arm, BaseSummary, Comparison, LatentSummary, Record, Row, Summary, Verdict};
use crate::eval::stats::{Estimate, Generalises};
use crate::plan::Scale;
use crate::report::latex::booktabs;
use crate::report::paper;
use crate::report::table::{mark, markdown, p_value, percent, points};
use std::collections::BTreeSet;

const NOT_RUN: &str = "not run";

pub(super) fn render(summary: &Summary) -> String {
    let sections = [
        header(summary),
        mark("table2", &main_table(summary)),
        "![Every cell with its interval](table2.svg)".into(),
        verdicts(summary),
        limits(summary),
        latents(summary),
        published(summary),
        by_source(summary),
        runs(summary),
    ];
    sections
        .map(|s| s.trim_end().to_string())
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join("\n\n")
        + "\n"
}

fn header(summary: &Summary) -> String {
    let mut text = format!("# Table 2 at the {} scale\n\n{}\n", summary.scale.name(), warning(summary.scale));
    for note in summary.notes {
        text += &format!("\n- {note}");
    }
    text
}

fn warning(scale: Scale) -> &'static str {
    match scale {
        Scale::Toy | Scale::Small => {
            "Our own runs, not at the paper's scale: compare the direction of an effect with the paper, never \
             the height of an accuracy. The paper's numbers stand in columns of their own, as published."
        }
        Scale::Paper => {
            "Our own runs at the paper's scale. The paper's numbers stand in columns of their own."
        }
    }
}

pub(super) const MAIN_HEADER: [&str; 8] = [
    "Base model",
    "Objective",
    "Without LPC",
    "With LPC",
    "Paired difference",
    "p",
    "p (Holm)",
    "Paper, 7–8B: without → with",
];

/// The table that the README shows too.
fn main_table(summary: &Summary) -> String {
    let rows: Vec<_> = summary.rows.iter().map(main_row).collect();
    format!("{}\n\n{}", caption(summary), markdown("llrrrrrr", &MAIN_HEADER, &rows))
}

pub(super) fn caption(summary: &Summary) -> String {
    let arms = || summary.rows.iter().flat_map(|r| [&r.without, &r.with]).filter(|a| !a.runs.is_empty());
    let seeds = span(arms().map(|a| a.runs.len()));
    let pairs = span(arms().map(|a| a.runs[0].records.len()));
    let scale = match summary.scale {
        Scale::Paper => "The paper's scale".to_string(),
        other => format!("The {} scale, not the paper's", other.name()),
    };
    let measured = match (seeds, pairs) {
        (Some(seeds), Some(pairs)) => {
            format!("preference accuracy in % on {pairs} held-out pairs, training seeds a cell: {seeds}")
        }
        _ => "nothing run yet".into(),
    };
    let brackets = "Brackets: 95 % intervals over seeds and pairs; differences in points.";
    format!("{scale}: {measured}. {brackets}")
}

/// The main table for a paper's source.
pub(super) fn latex(summary: &Summary) -> String {
    let rows: Vec<_> = summary.rows.iter().map(main_row).collect();
    let name = format!("tab:{}-table2", summary.scale.name());
    booktabs("llrrrrrr", &MAIN_HEADER, &rows, &caption(summary), &name)
}

pub(super) fn main_row(row: &Row) -> Vec<String> {
    let (difference, p, p_holm) = match &row.comparison {
        Some(Comparison { difference, p_holm, .. }) => {
            (bracketed(difference, points), p_value(difference.p_value), p_value(*p_holm))
        }
        None => (NOT_RUN.into(), "–".into(), "–".into()),
    };
    let paper = row.published.map_or("–".into(), |p| format!("{:.1} → {:.1}", p.without, p.with));
    let cells = [accuracy(&row.without), accuracy(&row.with), difference, p, p_holm, paper];
    [row.base.into(), row.objective.into()].into_iter().chain(cells).collect()
}

fn accuracy(arm: &Arm) -> String {
    arm.accuracy.as_ref().map_or(NOT_RUN.into(), |e| bracketed(e, percent))
}

fn bracketed(e: &Estimate, format: fn(f64) -> String) -> String {
    format!("{} [{}, {}]", format(e.mean), format(e.low), format(e.high))
}

pub(super) fn verdict_line(summary: &Summary) -> String {
    let compared: Vec<&Comparison> = summary.rows.iter().filter_map(|r| r.comparison.as_ref()).collect();
    let count = |v: Verdict| compared.iter().filter(|c| c.verdict == v).count();
    format!(
        "Supported in {}, not supported (significantly lower) in {}, undecided in {} of {} comparisons; {} not run.",
        count(Verdict::Supported),
        count(Verdict::NotSupported),
        count(Verdict::Undecided),
        compared.len(),
        summary.rows.len() - compared.len(),
    )
}

fn verdicts(summary: &Summary) -> String {
    let mut text = format!(
        "## Does LPC raise accuracy here?\n\n{} Decided means: p < 0.05 after Holm's correction over these comparisons.\n",
        verdict_line(summary)
    );
    for row in &summary.rows {
        let verdict = row.comparison.as_ref().map_or(format!("{NOT_RUN}."), sentence);
        text += &format!("\n- {}, {}: {verdict}", row.base, row.objective);
    }
    text
}

pub(super) fn sentence(c: &Comparison) -> String {
    let d = &c.difference;
    let interval = format!("the interval of the difference, {} to {} points,", points(d.low), points(d.high));
    let why = match (c.verdict, d.low <= 0.0 && 0.0 <= d.high) {
        (Verdict::Supported, _) => format!("{interval} lies above zero"),
        (Verdict::NotSupported, _) => format!("{interval} lies below zero"),
        (Verdict::Undecided, true) => format!("{interval} includes zero"),
        (Verdict::Undecided, false) => format!("{interval} excludes zero, but not after Holm's correction"),
    };
    let reach = match d.generalises {
        Generalises::OverSeedsAndExamples => format!("{} seeds", c.runs.len()),
        Generalises::OverExamples => "one seed, so nothing is said about other training runs".into(),
    };
    format!("**{}**: {why} ({reach}).", c.verdict.name())
}

pub(super) const LIMITS: &str = "Accuracy in % of the base model itself (chance is 50.0), and of a judge who knows the true utilities: in expectation \
     over label noise, and on the labels drawn.";

pub(super) const LIMITS_HEADER: [&str; 4] =
    ["Base model", "Before preference training", "Bayes-optimal, expected", "Bayes-optimal, these labels"];

/// What accuracy could be at the least and at the most.
fn limits(summary: &Summary) -> String {
    let rows: Vec<_> = summary.bases.iter().map(limits_row).collect();
    format!("## Floor and ceiling\n\n{LIMITS}\n\n{}", markdown("lrrr", &LIMITS_HEADER, &rows))
}

pub(super) fn limits_row(base: &BaseSummary) -> Vec<String> {
    let floor = base.accuracy.map_or(NOT_RUN.into(), |(share, i)| {
        format!("{} [{}, {}]", percent(share.share()), percent(i.low), percent(i.high))
    });
    let ceiling = |value: Option<f64>| value.map_or("unknown".into(), percent);
    let (expected, realised) = (base.ceiling.map(|c| c.expected), base.ceiling.map(|c| c.realised));
    vec![base.name.into(), floor, ceiling(expected), ceiling(realised)]
}

/// Two digits after the point, or a power of ten where they would be zeros.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 { format!("{value:.1e}") } else { format!("{value:.2}") }
}

/// Whether the latent was used at all: an LPC cell whose latent is one mixture for every prompt
/// says little about LPC.
fn latents(summary: &Summary) -> String {
    let rows: Vec<Vec<String>> = summary.rows.iter().filter_map(latents_row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("## The latent after training\n\n{LATENTS}\n\n{}", markdown("llrrrrr", &LATENTS_HEADER, &rows))
}

/// None where nothing with LPC ran.
pub(super) fn latents_row(row: &Row) -> Option<Vec<String>> {
    let all: Option<Vec<LatentSummary>> = row.with.runs.iter().map(|r| r.latent).collect();
    let all = all.filter(|l| !l.is_empty())?;
    let mean = |f: fn(&LatentSummary) -> f64| short(all.iter().map(f).sum::<f64>() / all.len() as f64);
    let exact: [fn(&Record) -> Option<f64>; 2] = [|r| r.marginal_loss, |r| r.bound_gap];
    let [exact, gap] = exact.map(|of| {
        let values: Vec<f64> =
            row.with.runs.iter().flat_map(|run| run.records.iter().filter_map(of)).collect();
        if values.is_empty() {
            NOT_RUN.into()
        } else {
            short(values.iter().sum::<f64>() / values.len() as f64)
        }
    });
    let numbers = [mean(|l| l.kl), mean(|l| l.prior_entropy), mean(|l| l.code_perplexity), exact, gap];
    Some([row.base.into(), row.objective.into()].into_iter().chain(numbers).collect())
}

pub(super) const LATENTS_HEADER: [&str; 7] =
    ["Base model", "Objective", "KL(q‖p)", "Entropy of p(z|x)", "Codes in use", "(6) on test", "Gap of (7)"];

pub(super) const LATENTS: &str = "Means over seeds, in nats; the first three of the last training step's pairs, the \
         last two of all test pairs. Codes in use: exp of the entropy of the mean code weights. An entropy of ln K with a KL \
         near 0 is a latent that hardly depends on the prompt: such a cell says little about what a latent can do. (6) sums \
         over every code exactly, −log Σ p e^−ℓ, which is a likelihood for DPO only; its gap is by how much (7) with λ = 1 \
         lies above it, KL(q ‖ exact posterior), whatever λ was trained with.";

fn published(summary: &Summary) -> String {
    let table = paper::table2();
    let rows: Vec<Vec<String>> = summary.rows.iter().filter_map(published_row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "## The paper's numbers\n\n{}. {}\n\n{}",
        table.source,
        published_note(),
        markdown("lllrrr", &PUBLISHED_HEADER, &rows)
    )
}

pub(super) const PUBLISHED_HEADER: [&str; 6] =
    ["Cell", "Base model", "Objective", "Without LPC", "With LPC", "Difference"];

pub(super) fn published_note() -> String {
    format!(
        "Accuracy in % as published, without intervals. In brackets the 95 % interval that {} test pairs alone would \
         leave (Wilson, computed here).",
        paper::table2().test_pairs
    )
}

pub(super) fn published_row(row: &Row) -> Option<Vec<String>> {
    row.published.map(|p| {
        let number = |accuracy: f64| {
            let i = paper::table2().interval(accuracy);
            format!("{accuracy:.1} [{:.1}, {:.1}]", i.low, i.high)
        };
        let difference = format!("{:+.1}", p.with - p.without);
        vec![
            p.cell.clone(),
            p.base.clone(),
            p.objective.clone(),
            number(p.without),
            number(p.with),
            difference,
        ]
    })
}

pub(super) const BY_SOURCE: &str = "Accuracy in % without LPC / with LPC, mean over seeds; the number of pairs in \
                                    brackets. No intervals: read these for patterns, not for differences.";

fn by_source(summary: &Summary) -> String {
    let mut text = format!("## By source\n\n{BY_SOURCE}\n");
    for base in summary.bases.iter().filter(|b| !b.sources.is_empty()) {
        let header = by_source_header(base);
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let rows = summary.rows.iter().filter(|r| r.base == base.name).map(|row| by_source_row(base, row));
        let alignment = format!("l{}", "r".repeat(header.len() - 1));
        text +=
            &format!("\n**{}**\n\n{}", base.name, markdown(&alignment, &header, &rows.collect::<Vec<_>>()));
    }
    text
}

pub(super) fn by_source_header(base: &BaseSummary) -> Vec<String> {
    let names = base.sources.iter().map(|(s, n)| format!("{} ({n})", named(s)));
    std::iter::once("Objective".to_string()).chain(names).collect()
}

pub(super) fn by_source_row(base: &BaseSummary, row: &Row) -> Vec<String> {
    let share = |arm: &Arm, s: &str| arm.by_source.get(s).map_or(NOT_RUN.into(), |a| percent(*a));
    let both = |s: &&str| format!("{} / {}", share(&row.without, s), share(&row.with, s));
    std::iter::once(row.objective.to_string()).chain(base.sources.keys().map(both)).collect()
}

fn named(source: &str) -> &str {
    if source.is_empty() { "no source" } else { source }
}

fn runs(summary: &Summary) -> String {
    let arms = summary.rows.iter().flat_map(|r| [(r, "without", &r.without), (r, "with", &r.with)]);
    let rows: Vec<Vec<String>> = arms
        .flat_map(|(row, side, arm)| {
            arm.runs.iter().map(move |run| {
                let (seed, id) = (run.seed.to_string(), format!("`{}`", run.run_id));
                vec![row.base.into(), row.objective.into(), side.into(), seed, id]
            })
        })
        .collect();
    let header = ["Base model", "Objective", "LPC", "Seed", "Run"];
    format!(
        "## Runs\n\nEach number of ours comes from `records.jsonl` and `manifest.json` of these runs, in `runs/<run>/` where \
         they were trained, in `table2.evidence.jsonl.gz` everywhere; `lpc audit` recomputes it from there.\n\n{}",
        markdown("lllrl", &header, &rows)
    )
}

/// `3`, or `2–3` where it differs.
fn span(counts: impl Iterator<Item = usize>) -> Option<String> {
    let counts: BTreeSet<usize> = counts.collect();
    let (low, high) = (counts.first()?, counts.last()?);
    Some(if low == high { low.to_string() } else { format!("{low}–{high}") })
}
