//! Table 3 as a document.

use super::{Input, RunWinRate, Sides, comparisons, input, sides};
use crate::Result;
use crate::eval::stats::{Estimate, crossed_interval};
use crate::report::document::{Basis, Block, Cell, Column, Document, Grid, Medium, Section, columns};
use crate::report::exhibit::Exhibit;
use crate::report::paper::{self, Both};
use crate::report::text::{NONE, NOT_RUN, bracketed, points, scale, side};
use crate::report::verdict::{Decision, rule};
use crate::run::evidence::{Evidence, Header, Run};
use ndarray::Array2;

/// The table's files and its part of the page.
///
/// Errors: as [`input`].
pub(in crate::report) fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    let input = input(evidence)?;
    let status = format!("{} runs judged, {} prompts each.", input.runs.len(), input.prompts);
    let Header { table, scale, .. } = evidence.header;
    Exhibit::new(table, scale, "Table 3", status, document(evidence, &input)?, &numbers(&input))
}

fn document(evidence: &Evidence, input: &Input) -> Result<Document> {
    let protocol = protocol(input);
    let mut in_text = vec![Block::Paragraph(format!("Protocol: {protocol}"))];
    if input.own {
        let own = "Not the run matrix that ships with this scale: the runs' recipes say what was run.";
        in_text.insert(0, Block::paragraph(own));
    }
    let excerpt = vec![
        Block::Paragraph(intro(input)),
        Block::Only(Medium::Page, vec![Block::Paragraph(protocol)]),
        Block::Grid(win_rates(evidence, input)?),
    ];
    let lead = vec![Block::Excerpt("table3", excerpt), Block::Only(Medium::Text, in_text)];
    let told = |(base, objective, d): (&str, &str, Decision)| {
        let difference = bracketed(&d.compared.estimate, points);
        format!("{base}, {objective}: {}: {difference} points; {}.", d.verdict.name(), d.because())
    };
    let verdicts: Vec<String> = comparisons(input)?.into_iter().map(told).collect();
    let blocks = match verdicts.is_empty() {
        true => vec![],
        false => vec![Block::Paragraph(rule(input.margin)), Block::List(verdicts)],
    };
    let sections = vec![Section::new("Does LPC raise the win rate here?", blocks)];
    Ok(Document { title: "Table 3".into(), lead: Section::new("Win rates", lead), sections })
}

fn intro(input: &Input) -> String {
    let [prompts, against] = match input.sharpness {
        Some(_) => ["held-out prompts of the built-in world", "the base model's own answers"],
        None => ["prompts", "the baseline's"],
    };
    format!(
        "{}: answers to {} {prompts}, against {against}, in %. Means over seeds; brackets: 95 % intervals over \
         seeds and prompts. Paper: without → with, on {}.",
        scale(input.scale),
        input.prompts,
        paper::table3().base
    )
}

fn protocol(input: &Input) -> String {
    let judge = match input.sharpness {
        Some(sharpness) => format!(
            "Judge: the world's true utility, P(m) = σ({sharpness} Δu), in this process. Baseline: the base model \
             before preference training, where AlpacaEval has GPT-4. Answers: one draw each at temperature 1. LC: \
             `length_controlled_minimal`, since the world's prompts have no published difficulty"
        ),
        None => format!(
            "{} LC: `length_controlled_minimal`; `lpc winrate` fits AlpacaEval's other forms to each run's \
             annotations.csv. A comparison without a verdict counts in no win rate and in no fit, as in \
             AlpacaEval; – where nothing can be said",
            input.notes.join(" ")
        ),
    };
    format!(
        "AlpacaEval 2's order of outputs, verdict from the log-probabilities of m and M, and win rate (WR). {judge}; \
         lengths in characters. The paper's numbers are of other models, prompts and judges.{}",
        input.failures.iter().map(|failure| format!(" {failure}")).collect::<String>()
    )
}

/// What stands beside a row's names; `latent`: with LPC.
#[derive(Clone, Copy)]
enum Measure {
    WinRate { latent: bool },
    Difference,
    LengthControlled { latent: bool },
    Length { latent: bool },
    BaselineLength,
    PaperWinRate,
    PaperLengthControlled,
}

impl Measure {
    const ALL: [Self; 10] = [
        Self::WinRate { latent: false },
        Self::WinRate { latent: true },
        Self::Difference,
        Self::LengthControlled { latent: false },
        Self::LengthControlled { latent: true },
        Self::Length { latent: false },
        Self::Length { latent: true },
        Self::BaselineLength,
        Self::PaperWinRate,
        Self::PaperLengthControlled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::WinRate { latent: false } => "WR without",
            Self::WinRate { latent: true } => "WR with LPC",
            Self::Difference => "WR difference",
            Self::LengthControlled { latent: false } => "LC without",
            Self::LengthControlled { latent: true } => "LC with LPC",
            Self::Length { latent: false } => "Length without",
            Self::Length { latent: true } => "with",
            Self::BaselineLength => "base",
            Self::PaperWinRate => "Paper WR",
            Self::PaperLengthControlled => "Paper LC",
        }
    }

    /// Whether it rests on runs with LPC, or without.
    fn rests_on(self, side: bool) -> bool {
        match self {
            Self::WinRate { latent } | Self::LengthControlled { latent } | Self::Length { latent } => {
                latent == side
            }
            Self::Difference | Self::BaselineLength => true,
            Self::PaperWinRate | Self::PaperLengthControlled => false,
        }
    }

    fn text(self, sides: &Sides<'_>, objective: &str) -> Result<String> {
        let paper = paper::table3().rows.iter().find(|row| row.objective == objective);
        let published = |both: Both| format!("{:.2} → {:.2}", both.without, both.with);
        Ok(match self {
            Self::WinRate { latent } => win_rate(sides, sides.of(latent))?,
            Self::Difference => difference(sides)?,
            Self::LengthControlled { latent } => length_controlled(sides.of(latent)),
            Self::Length { latent } => number(sides.of(latent), |r| r.length),
            Self::BaselineLength => number(sides.of(sides.without.is_empty()), |r| r.baseline_length),
            Self::PaperWinRate => paper.map_or(NONE.into(), |row| published(row.wr)),
            Self::PaperLengthControlled => paper.map_or(NONE.into(), |row| published(row.lc)),
        })
    }
}

fn win_rates(evidence: &Evidence, input: &Input) -> Result<Grid> {
    let columns = columns(&["Base model", "Objective"], &Measure::ALL.map(Measure::name));
    let mut rows = vec![];
    for base in &input.bases {
        for objective in &input.objectives {
            let sides = sides(input, base, objective);
            let mut row = [base, objective].map(Cell::text).to_vec();
            for measure in Measure::ALL {
                let of =
                    |r: &&Run| r.base == *base && r.objective == *objective && measure.rests_on(r.latent);
                row.push(Cell::text(measure.text(&sides, objective)?).resting_on(Basis {
                    title: format!("{base}, {objective}: {}", measure.name()),
                    how: "Means over seeds of the judge's verdicts on every prompt; see the protocol.".into(),
                    runs: evidence.runs.iter().filter(of).map(|r| r.manifest.run.clone()).collect(),
                    ..Basis::default()
                }));
            }
            rows.push(row);
        }
    }
    Ok(Grid::new(columns, rows))
}

impl<'a> Sides<'a> {
    fn of(&self, latent: bool) -> &[&'a RunWinRate] {
        if latent { &self.with } else { &self.without }
    }

    /// Over seeds and prompts, in percent; none where too few prompts have a verdict of every run.
    fn interval(&self, seeds: usize, value: impl Fn(usize, usize) -> f64) -> Result<Option<Estimate>> {
        let cell = |(seed, i): (usize, usize)| 100.0 * value(seed, self.judged[i]);
        let cells = Array2::from_shape_fn((seeds, self.judged.len()), cell);
        if self.judged.len() < 2 { Ok(None) } else { crossed_interval(cells.view()).map(Some) }
    }
}

fn mean(runs: &[&RunWinRate], value: impl Fn(&RunWinRate) -> f64) -> f64 {
    runs.iter().map(|r| value(r)).sum::<f64>() / runs.len() as f64
}

/// In percent; NaN where a run has no verdict.
fn rate(runs: &[&RunWinRate]) -> f64 {
    mean(runs, |r| r.win_rate.map_or(f64::NAN, |e| e.mean))
}

fn win_rate(sides: &Sides<'_>, runs: &[&RunWinRate]) -> Result<String> {
    Ok(match (runs.len(), rate(runs)) {
        (0, _) => NOT_RUN.into(),
        (_, rate) if rate.is_nan() => NONE.into(),
        (1, rate) => format!("{rate:.1}"),
        (n, rate) => match sides.interval(n, |i, j| runs[i].wins[j])?.map(|e| e.within(0.0, 100.0)) {
            Some(e) => format!("{rate:.1} [{:.1}, {:.1}]", e.low, e.high),
            None => format!("{rate:.1}"),
        },
    })
}

fn difference(sides: &Sides<'_>) -> Result<String> {
    let paired = &sides.paired;
    let (with, without): (Vec<&RunWinRate>, Vec<&RunWinRate>) = paired.iter().copied().unzip();
    Ok(match (paired.len(), rate(&with) - rate(&without)) {
        (0, _) => NOT_RUN.into(),
        (_, difference) if difference.is_nan() => NONE.into(),
        (1, difference) => format!("{difference:+.2}"),
        (n, difference) => match sides.interval(n, |i, j| with[i].wins[j] - without[i].wins[j])? {
            Some(e) => format!("{:+.2} [{:+.2}, {:+.2}]", e.mean, e.low, e.high),
            None => format!("{difference:+.2}"),
        },
    })
}

fn length_controlled(runs: &[&RunWinRate]) -> String {
    match runs.iter().any(|r| r.length_controlled.is_none()) {
        true => NONE.into(),
        false => number(runs, |r| r.length_controlled.unwrap_or(f64::NAN)),
    }
}

fn number(runs: &[&RunWinRate], value: impl Fn(&RunWinRate) -> f64) -> String {
    if runs.is_empty() { NOT_RUN.into() } else { format!("{:.1}", mean(runs, value)) }
}

/// A row a judged run.
fn numbers(input: &Input) -> Grid {
    let numbers =
        ["win_rate", "standard_error", "length_controlled_minimal", "length", "baseline_length", "prompts"];
    let mut columns = columns(&["scale", "base", "objective", "latent", "seed"], &numbers);
    columns.push(Column::words("run_id"));
    let row = |run: &RunWinRate| {
        let names = [input.scale.name(), &run.base, &run.objective, side(run.latent), &run.seed.to_string()];
        let known = |x: Option<f64>| x.filter(|x| !x.is_nan()).map_or(Cell::text(""), Cell::number);
        let numbers = [
            known(run.win_rate.map(|e| e.mean)),
            known(run.win_rate.map(|e| e.standard_error)),
            run.length_controlled.map_or(Cell::text(""), Cell::number),
            Cell::number(run.length),
            Cell::number(run.baseline_length),
            Cell::count(run.wins.len()),
        ];
        names.map(Cell::text).into_iter().chain(numbers).chain([Cell::text(&run.run)]).collect()
    };
    Grid::new(columns, input.runs.iter().map(row).collect())
}
