//! Table 2 as a document: the table first, then the verdicts and what they rest on.

use super::basis::{Resamples, ids, pooled, published};
use super::summary::{
    Arm, BaseSummary, Comparison, Difference, LatentSummary, Pooled, Row, RunSummary, Summary,
};
use crate::error::Result;
use crate::plan::Scale;
use crate::report::document::{Basis, Block, Cell, Column, Document, Figure, Grid, Medium, Section, columns};
use crate::report::paper;
use crate::report::text::{NONE, NOT_RUN, bracketed, p_value, percent, points, scale, side};
use crate::report::verdict::{Decision, Verdict, count, rule};
use crate::run::records::Record;
use std::collections::BTreeSet;

pub(super) fn document(summary: &Summary, svg: String) -> Result<Document> {
    let excerpt = vec![Block::Paragraph(caption(summary)), Block::Grid(main_grid(summary)?)];
    let notes = Block::List(summary.notes.to_vec());
    let picture =
        Figure { file: "table2.svg".into(), description: "Every cell with its interval".into(), svg };
    let lead = vec![
        Block::Only(Medium::Text, vec![Block::paragraph(warning(summary.scale)), notes]),
        Block::Excerpt("table2", excerpt),
        Block::Figure(picture),
    ];
    let sections = [
        verdicts(summary),
        limits(summary),
        latents(summary),
        published_numbers(summary),
        by_source(summary),
    ];
    Ok(Document {
        title: format!("Table 2 at the {} scale", summary.scale.name()),
        lead: Section::new("Preference accuracy", lead),
        sections: sections.into_iter().chain([runs(summary)]).collect(),
    })
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

fn caption(summary: &Summary) -> String {
    let arms = || summary.rows.iter().flat_map(|r| [&r.without, &r.with]).filter(|a| !a.runs.is_empty());
    let seeds = span(arms().map(|a| a.runs.len()));
    let pairs = span(arms().map(|a| a.runs[0].records.len()));
    let measured = match (seeds, pairs) {
        (Some(seeds), Some(pairs)) => {
            let s = if seeds == "1" { "" } else { "s" };
            format!("preference accuracy in % on {pairs} held-out pairs, {seeds} training seed{s} per cell")
        }
        _ => "nothing run yet".into(),
    };
    let brackets =
        "Brackets: 95 % intervals over seeds and pairs. Differences: with LPC minus without, in points.";
    let probability = " By probability: a pair counts the true probability of the label that the policy prefers, which \
                       the built-in world knows; verdicts are about this difference, which lacks the labels' noise.";
    let probability = if scored_by_probability(summary) { probability } else { "" };
    format!(
        "{}: {measured}. {brackets}{probability} Detectable: the smallest true difference that this design finds with \
         a power of 80 %.",
        scale(summary.scale)
    )
}

fn scored_by_probability(summary: &Summary) -> bool {
    let known = |c: &Comparison| c.difference.by_probability.is_some();
    summary.rows.iter().filter_map(|r| r.comparison.as_ref()).any(known)
}

/// The table that the README shows too.
fn main_grid(summary: &Summary) -> Result<Grid> {
    let probability = scored_by_probability(summary);
    let by_probability = if probability { &["By probability"][..] } else { &[] };
    let numbers = [
        &["Without LPC", "With LPC", "Difference"],
        by_probability,
        &["p (Holm)", "p (equivalence)", "Detectable"],
    ];
    let mut columns = columns(&["Base model", "Objective"], &numbers.concat());
    columns.push(Column::words("Verdict"));
    columns.push(Column::numbers("Paper, 7–8B: without → with"));
    let mut resamples = Resamples::default();
    let row = |row: &Row| {
        let name = row.name();
        let mut arm = |latent: bool, arm: &Arm| -> Result<Cell> {
            let text = arm.accuracy.as_ref().map_or(NOT_RUN.into(), |e| bracketed(e, percent));
            let basis = resamples.arm(format!("{name}, {} LPC", side(latent)), arm)?;
            Ok(Cell::text(text).resting_on(basis))
        };
        let (without, with) = (arm(false, &row.without)?, arm(true, &row.with)?);
        let compared: Vec<Cell> = match &row.comparison {
            None => {
                let between = vec![NONE; if probability { 4 } else { 3 }];
                [vec![NOT_RUN], between, vec![NOT_RUN]].concat().into_iter().map(Cell::text).collect()
            }
            Some(c) => {
                let basis = resamples.comparison(&name, c);
                let texts = compared(&c.difference, &c.decision, probability);
                texts.into_iter().map(|text| Cell::text(text).resting_on(basis.clone())).collect()
            }
        };
        let paper = row.published.map_or(NONE.into(), |p| format!("{:.1} → {:.1}", p.without, p.with));
        let paper = Cell::text(paper).resting_on(row.published.map(|p| published(&name, p)));
        let measured = [without, with].into_iter().chain(compared).chain([paper]);
        Ok([row.base, row.objective].map(Cell::text).into_iter().chain(measured).collect())
    };
    let mut rows: Vec<Vec<Cell>> = summary.rows.iter().map(row).collect::<Result<_>>()?;
    rows.extend(summary.pooled.iter().map(|p| pooled_row(summary, p, probability)));
    Ok(Grid::new(columns, rows))
}

fn pooled_row(summary: &Summary, p: &Pooled, probability: bool) -> Vec<Cell> {
    let of = summary.rows.iter().filter(|row| p.objective.is_none_or(|o| o == row.objective));
    let cells: Vec<&Comparison> = of.filter_map(|row| row.comparison.as_ref()).collect();
    let basis = pooled(p, &cells);
    let texts = compared(&p.difference, &p.decision, probability);
    let compared = texts.into_iter().map(|text| Cell::text(text).resting_on(basis.clone()));
    let paper = p.published.map_or(NONE.into(), |points| format!("{points:+.1} on average"));
    let name = format!("mean of {} cells", p.cells);
    let names = [name.as_str(), &p.name(), NONE, NONE].map(Cell::text);
    names.into_iter().chain(compared).chain([Cell::text(paper)]).collect()
}

/// Difference by labels, and by probability in a table that has it; both p-values, what is detectable, verdict.
fn compared(difference: &Difference, decision: &Decision, probability: bool) -> Vec<String> {
    let by_probability = difference.by_probability.map_or(NONE.into(), |e| bracketed(&e, points));
    let differences = std::iter::once(bracketed(&difference.by_label, points));
    let rest = [
        p_value(decision.p_holm),
        decision.p_equivalence.map_or(NONE.into(), p_value),
        points(decision.detectable).trim_start_matches('+').into(),
        decision.verdict.name().into(),
    ];
    differences.chain(probability.then_some(by_probability)).chain(rest).collect()
}

pub(super) fn verdict_line(summary: &Summary) -> String {
    let compared: Vec<Verdict> =
        summary.rows.iter().filter_map(|r| Some(r.comparison.as_ref()?.decision.verdict)).collect();
    let cells = count(&compared, summary.rows.len() - compared.len());
    let pooled = summary.pooled.iter().find(|p| p.objective.is_none()).map(|p| {
        let e = p.difference.decides();
        let verdict = match p.decision.verdict {
            Verdict::NoDifference => "no difference larger than the margin",
            other => other.name(),
        };
        format!(" Mean over all {} cells: {} points, {verdict}.", p.cells, bracketed(&e, points))
    });
    cells + &pooled.unwrap_or_default()
}

fn verdicts(summary: &Summary) -> Section {
    let lead = || Block::Paragraph(format!("{} {}", verdict_line(summary), rule(summary.margin)));
    let told = |name: String, d: &Decision| format!("{name}: **{}**: {}.", d.verdict.name(), d.because());
    let cells = summary.rows.iter().map(|row| match &row.comparison {
        Some(c) => told(row.name(), &c.decision),
        None => format!("{}: {NOT_RUN}.", row.name()),
    });
    let pooled =
        summary.pooled.iter().map(|p| told(format!("Mean of {} cells, {}", p.cells, p.name()), &p.decision));
    let in_text: Vec<String> = cells.chain(pooled).collect();
    let on_page = in_text.iter().map(|line| line.replace("**", "")).collect();
    let blocks = vec![
        lead(),
        Block::Only(Medium::Text, vec![Block::List(in_text)]),
        Block::Only(Medium::Page, vec![Block::List(on_page)]),
    ];
    Section::new("Does LPC raise accuracy here?", blocks)
}

/// A grid below its explanation; nothing without rows.
fn explained(title: &str, text: String, grid: Grid) -> Section {
    let blocks = if grid.rows.is_empty() { vec![] } else { vec![Block::Paragraph(text), Block::Grid(grid)] };
    Section::new(title, blocks)
}

/// What accuracy could be at the least and at the most.
fn limits(summary: &Summary) -> Section {
    let text = "Accuracy in % of the base model itself (chance is 50.0), and of a judge who knows the true utilities: \
                in expectation over label noise, and on the labels drawn.";
    let numbers = ["Before preference training", "Bayes-optimal, expected", "Bayes-optimal, these labels"];
    let columns = columns(&["Base model"], &numbers);
    let row = |base: &BaseSummary| {
        let arms = summary.rows.iter().filter(|r| r.base == base.name).flat_map(|r| [&r.without, &r.with]);
        let runs: Vec<&RunSummary> = arms.flat_map(|arm| &arm.runs).copied().collect();
        let judged = |run: &&RunSummary| run.records.iter().all(|r| r.reference_chosen_logps.is_some());
        let basis = |what: &str, how: &str, run: Option<&RunSummary>| Basis {
            title: format!("{}: {what}", base.name),
            how: how.into(),
            runs: ids(run),
            ..Basis::default()
        };
        let floor = base.accuracy.map(|(share, i)| {
            let how = "Share of test pairs whose chosen completion the base model finds likelier by summed \
                       log-probability: reference_chosen_logps above reference_rejected_logps in the records of any \
                       run with a reference.";
            let text = format!("{} [{}, {}]", percent(share.share()), percent(i.low), percent(i.high));
            let reference = runs.iter().copied().find(judged);
            Cell::text(text).resting_on(basis("before preference training", how, reference))
        });
        let ceiling = |value: Option<f64>, what: &str, how: &str| {
            let cell = |share| Cell::text(percent(share)).resting_on(basis(what, how, runs.first().copied()));
            value.map_or(Cell::text("unknown"), cell)
        };
        vec![
            Cell::text(base.name),
            floor.unwrap_or(Cell::text(NOT_RUN)),
            ceiling(
                base.ceiling.map(|c| c.expected),
                "Bayes-optimal, expected",
                "Mean of max(p, 1 − p), p the true probability `bayes` of each label.",
            ),
            ceiling(
                base.ceiling.map(|c| c.realised),
                "Bayes-optimal, these labels",
                "Share of test pairs with `bayes` above 0.5; even odds count half.",
            ),
        ]
    };
    explained("Floor and ceiling", text.into(), Grid::new(columns, summary.bases.iter().map(row).collect()))
}

/// What a column says of the latent.
enum OfLatent {
    LastStep(fn(&LatentSummary) -> f64),
    TestPairs(fn(&Record) -> Option<f64>),
}

/// Name, meaning, and how the number comes about.
const LATENT: [(&str, OfLatent, &str); 5] = [
    ("KL(q‖p)", OfLatent::LastStep(|l| l.kl), "Final metric `kl` of each run's manifest, mean over seeds."),
    (
        "Entropy of p(z|x)",
        OfLatent::LastStep(|l| l.prior_entropy),
        "Final metric `prior_entropy` of each run's manifest, mean over seeds.",
    ),
    (
        "Codes in use",
        OfLatent::LastStep(|l| l.code_perplexity),
        "Final metric `code_perplexity` of each run's manifest, mean over seeds.",
    ),
    (
        "(6) on test",
        OfLatent::TestPairs(|r| r.marginal_loss),
        "Mean of `marginal_loss` over all records of all seeds.",
    ),
    (
        "Gap of (7)",
        OfLatent::TestPairs(|r| r.bound_gap),
        "Mean of `bound_gap` over all records of all seeds.",
    ),
];

/// Whether the latent was used at all: an LPC cell whose latent is one mixture for every prompt
/// says little about LPC.
fn latents(summary: &Summary) -> Section {
    let text = "Means over seeds, in nats; the first three of the last training step's pairs, the last two of all test \
                pairs. Codes in use: exp of the entropy of the mean code weights. An entropy of ln K with a KL near 0 is a \
                latent that hardly depends on the prompt: such a cell says little about what a latent can do. (6) sums over \
                every code exactly, −log Σ p e^−ℓ, which is a likelihood for DPO, and for SimPO without a margin; its gap is by how much (7) with \
                λ = 1 lies above it, KL(q ‖ exact posterior), whatever λ was trained with.";
    let columns = columns(&["Base model", "Objective"], &LATENT.map(|(name, ..)| name));
    let row = |row: &Row| {
        // None where nothing with LPC ran.
        let latents: Option<Vec<LatentSummary>> = row.with.runs.iter().map(|r| r.latent).collect();
        let latents = latents.filter(|l| !l.is_empty())?;
        let measured = LATENT.map(|(name, of, how)| {
            let values: Vec<f64> = match of {
                OfLatent::LastStep(of) => latents.iter().map(of).collect(),
                OfLatent::TestPairs(of) => {
                    row.with.runs.iter().flat_map(|r| r.records.iter().filter_map(of)).collect()
                }
            };
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            Cell::text(if values.is_empty() { NOT_RUN.into() } else { short(mean) }).resting_on(Basis {
                title: format!("{} with LPC: {name}", row.name()),
                how: how.into(),
                runs: ids(row.with.runs.iter().copied()),
                ..Basis::default()
            })
        });
        Some([row.base, row.objective].map(Cell::text).into_iter().chain(measured).collect())
    };
    let grid = Grid::new(columns, summary.rows.iter().filter_map(row).collect());
    explained("The latent after training", text.into(), grid)
}

/// Two digits after the point, or a power of ten where they would be zeros.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 { format!("{value:.1e}") } else { format!("{value:.2}") }
}

fn published_numbers(summary: &Summary) -> Section {
    let table = paper::table2();
    let columns = columns(&["Cell", "Base model", "Objective"], &["Without LPC", "With LPC", "Difference"]);
    let row = |row: &Row| {
        let p = row.published?;
        let number = |accuracy: f64| {
            let i = table.interval(accuracy);
            format!("{accuracy:.1} [{:.1}, {:.1}]", i.low, i.high)
        };
        let numbers = [number(p.without), number(p.with), format!("{:+.1}", p.with - p.without)];
        let numbers = numbers.map(|text| Cell::text(text).resting_on(published(&p.cell, p)));
        Some([&p.cell, &p.base, &p.objective].map(Cell::text).into_iter().chain(numbers).collect())
    };
    let rows: Vec<Vec<Cell>> = summary.rows.iter().filter_map(row).collect();
    if rows.is_empty() {
        return Section::new("", vec![]);
    }
    let note = format!(
        "Accuracy in % as published, without intervals. In brackets the 95 % interval that {} test pairs alone would \
         leave (Wilson, computed here).",
        table.test_pairs
    );
    let in_text = Block::Paragraph(format!("{}. {note}", table.source));
    let blocks = vec![
        Block::Only(Medium::Text, vec![in_text]),
        Block::Only(Medium::Page, vec![Block::Paragraph(note)]),
        Block::Grid(Grid::new(columns, rows)),
    ];
    Section::new("The paper's numbers", blocks)
}

fn by_source(summary: &Summary) -> Section {
    let text = "Accuracy in % without LPC / with LPC, mean over seeds; the number of pairs in brackets. No intervals: \
                read these for patterns, not for differences.";
    let grid = |base: &BaseSummary| {
        let name = |source: &str| if source.is_empty() { "no source" } else { source }.to_string();
        let columns = base.sources.iter().map(|(s, n)| Column::numbers(format!("{} ({n})", name(s))));
        let row = |row: &Row| {
            let runs = ids(row.without.runs.iter().chain(&row.with.runs).copied());
            let share = |arm: &Arm, s: &str| arm.by_source.get(s).map_or(NOT_RUN.into(), |a| percent(*a));
            let cell = |source: &&str| {
                let text = format!("{} / {}", share(&row.without, source), share(&row.with, source));
                Cell::text(text).resting_on((!runs.is_empty()).then(|| Basis {
                    title: format!("{}: pairs of {source}", row.name()),
                    how: "Share of right answers on this source's test pairs, mean over seeds, without / with LPC.".into(),
                    runs: runs.clone(),
                    source: source.to_string(),
                    ..Basis::default()
                }))
            };
            std::iter::once(Cell::text(row.objective)).chain(base.sources.keys().map(cell)).collect()
        };
        let rows = summary.rows.iter().filter(|r| r.base == base.name).map(row).collect();
        let columns: Vec<Column> = std::iter::once(Column::words("Objective")).chain(columns).collect();
        Block::Grid(Grid::new(columns, rows).captioned(base.name))
    };
    let grids: Vec<Block> = summary.bases.iter().filter(|b| !b.sources.is_empty()).map(grid).collect();
    let text = (!grids.is_empty()).then(|| Block::paragraph(text));
    Section::new("By source", text.into_iter().chain(grids).collect())
}

/// In text alone: the page lists every run of its evidence.
fn runs(summary: &Summary) -> Section {
    let mut columns = columns(&["Base model", "Objective", "LPC"], &["Seed"]);
    columns.push(Column::words("Run"));
    let arms = summary.rows.iter().flat_map(|r| [(r, side(false), &r.without), (r, side(true), &r.with)]);
    let rows = arms.flat_map(|(row, side, arm)| {
        arm.runs.iter().map(move |run| {
            let (seed, id) = (run.seed.to_string(), format!("`{}`", run.run_id));
            vec![row.base.into(), row.objective.into(), side.into(), seed, id]
        })
    });
    let text = "Each number of ours comes from `records.jsonl` and `manifest.json` of these runs, in `runs/<run>/` where \
                they were trained, in `table2.evidence.jsonl.gz` everywhere; `lpc audit` recomputes it from there.";
    let grid = Block::Grid(Grid::of_text(columns, rows));
    Section::new("Runs", vec![Block::Only(Medium::Text, vec![Block::paragraph(text), grid])])
}

/// `3`, or `2–3` where it differs.
fn span(counts: impl Iterator<Item = usize>) -> Option<String> {
    let counts: BTreeSet<usize> = counts.collect();
    let (low, high) = (counts.first()?, counts.last()?);
    Some(if low == high { low.to_string() } else { format!("{low}–{high}") })
}
