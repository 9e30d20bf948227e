//! Table 1 as a document.

use super::{AVERAGE, Arm, COLUMNS, Comparison, Input, comparisons, input};
use crate::error::Result;
use crate::eval::stats::{Estimate, mean_and_error, mean_of_independent};
use crate::report::document::{Basis, Block, Cell, Column, Document, Grid, Medium, Section, columns};
use crate::report::exhibit::Exhibit;
use crate::report::paper::{self, Table1Row};
use crate::report::text::{NONE, NOT_RUN, bracketed, p_value, percent, points, scale, side};
use crate::report::verdict::{Decision, rule};
use crate::run::evidence::{Evidence, Header};

const NOT_IN_SOURCE: &str = "not in the source";
const COMPARED: &str = "LPC against the plain objective";

/// The table's files and its part of the page.
///
/// Errors: evidence that makes no table.
pub(in crate::report) fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    let input = input(evidence)?;
    let status = format!("{} runs and their base models measured.", evidence.runs.len());
    let Header { table, scale, .. } = evidence.header;
    Exhibit::new(table, scale, "Table 1", status, document(evidence, &input)?, &numbers(&input)?)
}

fn document(evidence: &Evidence, input: &Input) -> Result<Document> {
    let (protocol, notes) = (protocol(input), || Block::List(input.notes.clone()));
    let own = input.own.then(|| {
        Block::paragraph(
            "Not the run matrix and documents that ship with this scale: the notes and the runs' recipes say what was \
             run.",
        )
    });
    let compared = compared(evidence, input)?;
    let excerpt = vec![
        Block::Paragraph(intro(input)),
        Block::Only(Medium::Page, vec![Block::paragraph(&protocol), notes()]),
        Block::Grid(scores(evidence, input)?),
    ];
    let lead = vec![
        Block::Excerpt("table1", excerpt),
        Block::Only(Medium::Page, vec![Block::Grid(compared.clone().captioned(COMPARED))]),
        Block::Only(Medium::Text, own.into_iter().collect()),
    ];
    let in_text = vec![Block::Grid(compared), Block::Paragraph(format!("Protocol: {protocol}")), notes()];
    Ok(Document {
        title: "Table 1".into(),
        lead: Section::new("Benchmarks", lead),
        sections: vec![Section::new(COMPARED, vec![Block::Only(Medium::Text, in_text)])],
    })
}

fn intro(input: &Input) -> String {
    let what = if input.world {
        let analogues: Vec<String> =
            COLUMNS.iter().map(|c| format!("{} by {}", c.name, c.analogue)).collect();
        format!("the built-in world's analogues of the four benchmarks ({})", analogues.join("; "))
    } else {
        "the four benchmarks as the LM Evaluation Harness measures them".into()
    };
    format!(
        "{}: {what}, in %. Means over seeds; brackets: 95 % intervals over seeds and documents. Paper: its own \
         models on the real benchmarks.",
        scale(input.scale)
    )
}

fn protocol(input: &Input) -> String {
    let real = if input.world {
        "The world's documents are scored and written by the code that measures the real benchmarks; what the world \
         rewards is not always the truth, so a policy may lose here what it gains in preference accuracy."
    } else {
        "GSM8K: strict-match. TruthfulQA: mc2."
    };
    format!(
        "{real} Average: of the four, the benchmarks taken as independent. Differences are paired by document; one seed \
         of right and wrong answers is compared by McNemar's exact test and Tango's interval, anything else by the \
         interval over seeds and documents. {}",
        rule(input.margin)
    )
}

/// What stands beside a row's names.
#[derive(Clone, Copy)]
enum Score {
    /// Of [`COLUMNS`].
    Benchmark(usize),
    Average,
    PaperBenchmarks,
    PaperAverage,
}

impl Score {
    const ALL: [Self; 7] = [
        Self::Benchmark(0),
        Self::Benchmark(1),
        Self::Benchmark(2),
        Self::Benchmark(3),
        Self::Average,
        Self::PaperBenchmarks,
        Self::PaperAverage,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Benchmark(i) => COLUMNS[i].name,
            Self::Average => "Average",
            Self::PaperBenchmarks => "Paper: the four",
            Self::PaperAverage => "Paper: average",
        }
    }

    fn measured(self) -> bool {
        matches!(self, Self::Benchmark(_) | Self::Average)
    }

    /// `estimates`: of each benchmark; empty where nothing ran.
    fn text(self, estimates: &[Estimate], paper: Option<&Table1Row>, latent: bool) -> String {
        match (self, paper) {
            (Self::Benchmark(_) | Self::Average, _) if estimates.is_empty() => NOT_RUN.into(),
            (Self::Benchmark(i), _) => bracketed(&estimates[i], percent),
            (Self::Average, _) => {
                mean_of_independent(estimates).map_or(NOT_RUN.into(), |e| bracketed(&e, percent))
            }
            (_, None) => NONE.into(),
            (Self::PaperBenchmarks, Some(_)) if latent => NOT_IN_SOURCE.into(),
            (Self::PaperBenchmarks, Some(paper)) => {
                paper.without.iter().map(|v| format!("{v:.2}")).collect::<Vec<_>>().join(" / ")
            }
            (Self::PaperAverage, Some(paper)) => {
                let average = if latent { paper.with_average } else { Some(paper.average) };
                average.map_or(NOT_IN_SOURCE.into(), |average| format!("{average:.2}"))
            }
        }
    }
}

fn scores(evidence: &Evidence, input: &Input) -> Result<Grid> {
    let columns = columns(&["Base model", "Objective", "LPC"], &Score::ALL.map(Score::name));
    let row = |arm: &Arm| {
        let estimates = match arm.seeds.len() {
            0 => vec![],
            _ => (0..COLUMNS.len()).map(|b| arm.estimate(b)).collect::<Result<Vec<_>>>()?,
        };
        let base = evidence.header.bases.iter().find(|b| b.name == arm.base);
        let paper = base.and_then(|b| published(b.paper.as_deref()?, arm));
        let objective = arm.objective.as_deref().unwrap_or("none: base model");
        let latent = arm.objective.as_ref().map_or(NONE, |_| side(arm.latent));
        let runs = runs(evidence, arm, &[arm.latent]);
        let cell = |score: Score| {
            let runs = if score.measured() { runs.clone() } else { vec![] };
            let basis = basis(&arm.base, objective, score.name(), runs);
            Cell::text(score.text(&estimates, paper, arm.latent)).resting_on(basis)
        };
        let names = [&arm.base, objective, latent].map(Cell::text);
        Ok(names.into_iter().chain(Score::ALL.map(cell)).collect())
    };
    Ok(Grid::new(columns, input.arms.iter().map(row).collect::<Result<_>>()?))
}

fn published(base: &str, arm: &Arm) -> Option<&'static Table1Row> {
    paper::table1().rows.iter().find(|row| row.base == base && row.objective == arm.objective)
}

/// Runs of an arm's base model and objective.
fn runs(evidence: &Evidence, arm: &Arm, sides: &[bool]) -> Vec<String> {
    let of = evidence.runs.iter().filter(|run| {
        run.base == arm.base && Some(&run.objective) == arm.objective.as_ref() && sides.contains(&run.latent)
    });
    of.map(|run| run.manifest.run.clone()).collect()
}

fn basis(base: &str, objective: &str, column: &str, runs: Vec<String>) -> Basis {
    Basis {
        title: format!("{base}, {objective}: {column}"),
        how: "A verdict a document, averaged over documents and seeds; see the protocol.".into(),
        runs,
        ..Basis::default()
    }
}

fn compared(evidence: &Evidence, input: &Input) -> Result<Grid> {
    let measured = ["LPC − without, points", "p (Holm)", "p (equivalence)", "Detectable"];
    let mut columns = columns(&["Base model", "Objective", "Benchmark"], &measured);
    columns.push(Column::words("Verdict"));
    let row = |c: &Comparison<'_>| {
        let Decision { compared, p_holm, p_equivalence, detectable, verdict, .. } = c.decision;
        let texts = [
            bracketed(&compared.estimate, points),
            p_value(p_holm),
            p_equivalence.map_or(NONE.into(), p_value),
            points(detectable).trim_start_matches('+').into(),
            verdict.name().into(),
        ];
        let objective = c.with.objective.as_deref().unwrap_or_default();
        let cells = columns[3..].iter().zip(texts).map(|(column, text)| {
            let runs = runs(evidence, c.with, &[false, true]);
            Cell::text(text).resting_on(basis(&c.with.base, objective, &column.name, runs))
        });
        let benchmark = c.benchmark.map_or(AVERAGE, |b| COLUMNS[b].name);
        [&c.with.base, objective, benchmark].map(Cell::text).into_iter().chain(cells).collect()
    };
    let rows = comparisons(input)?.iter().map(row).collect();
    Ok(Grid::new(columns, rows))
}

/// A row a run and benchmark, those of the base models first.
fn numbers(input: &Input) -> Result<Grid> {
    let words = ["scale", "base", "objective", "latent", "seed", "benchmark", "metric"];
    let mut columns = columns(&words, &["mean", "standard_error", "documents"]);
    columns.push(Column::words("run_id"));
    let mut rows = vec![];
    for arm in &input.arms {
        for (seed, run, verdicts) in &arm.seeds {
            let (objective, latent, seed) = match &arm.objective {
                None => ("", "", String::new()),
                Some(objective) => (objective.as_str(), side(arm.latent), seed.to_string()),
            };
            for (column, values) in COLUMNS.iter().zip(verdicts) {
                let (mean, error) = mean_and_error(values)?;
                let words = [input.scale.name(), &arm.base, objective, latent, &seed];
                let words = words.into_iter().chain([column.task.name(), column.metric]).map(Cell::text);
                let numbers = [Cell::number(mean), Cell::number(error), Cell::count(values.len())];
                rows.push(words.chain(numbers).chain([Cell::text(run)]).collect());
            }
        }
    }
    Ok(Grid::new(columns, rows))
}
