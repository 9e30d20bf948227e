//! From the records of runs to the estimates of table 2, before any of them is written as text: accuracies and
//! their intervals, differences, p-values, verdicts.

use super::comparisons::compare;
use crate::error::{Error, Result};
use crate::eval::stats::{Estimate, Interval, share_interval, wilson_interval};
use crate::plan::Scale;
use crate::report::paper::{self, Published};
use crate::report::verdict::{Decision, MARGIN};
use crate::run::evidence::{Evidence, Header, Run};
use crate::run::records::Record;
use ndarray::Array2;
use std::collections::{BTreeMap, BTreeSet};

/// Everything the table is made from.
#[derive(Debug, Clone)]
pub struct Input {
    pub scale: Scale,
    /// What the reader must know: data, limits, truncations. A bullet each.
    pub notes: Vec<String>,
    /// In the order of the table.
    pub bases: Vec<BaseModel>,
    /// Rows follow the order in which objectives first appear. A cell left out, or without
    /// runs, is `not run`.
    pub cells: Vec<Cell>,
    /// A smaller difference does not matter; a share. None where none was stated.
    pub margin: Option<f64>,
}

#[derive(Debug, Clone)]
pub struct BaseModel {
    pub name: String,
    /// The paper's column this model stands for, if any.
    pub paper: Option<String>,
    /// Test pairs that the base model itself decides rightly.
    pub accuracy: Option<Proportion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    pub correct: usize,
    pub total: usize,
}

/// One objective on one base model, without or with LPC.
#[derive(Debug, Clone)]
pub struct Cell {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub runs: Vec<RunSummary>,
}

#[derive(Debug, Clone)]
pub struct RunSummary {
    pub run_id: String,
    pub seed: u64,
    pub records: Vec<Record>,
    /// Of a run with LPC.
    pub latent: Option<LatentSummary>,
}

/// What the last training step says of the latent: means over its pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentSummary {
    /// KL(q‖p), nats.
    pub kl: f64,
    /// Entropy of p(z|x), nats.
    pub prior_entropy: f64,
    /// exp of the entropy of the step's mean code weights.
    pub code_perplexity: f64,
}

impl LatentSummary {
    /// From a manifest's final metrics; none for a run without a latent.
    pub fn of(metrics: &BTreeMap<String, f64>) -> Option<Self> {
        let metric = |name: &str| metrics.get(name).copied();
        Some(Self {
            kl: metric("kl")?,
            prior_entropy: metric("prior_entropy")?,
            code_perplexity: metric("code_perplexity")?,
        })
    }
}

/// What the records say, before any formatting.
#[derive(Debug)]
pub struct Summary<'a> {
    pub scale: Scale,
    pub notes: &'a [String],
    pub bases: Vec<BaseSummary<'a>>,
    pub rows: Vec<Row<'a>>,
    /// Means over the base models, objective by objective, then over all cells. None of a single cell.
    pub pooled: Vec<Pooled<'a>>,
    pub margin: Option<f64>,
}

#[derive(Debug)]
pub struct BaseSummary<'a> {
    pub name: &'a str,
    pub accuracy: Option<(Proportion, Interval)>,
    pub ceiling: Option<Ceiling>,
    /// Test pairs by source; empty when nothing ran.
    pub sources: BTreeMap<&'a str, usize>,
}

/// What a judge who knows the world's true utilities reaches on its noisy labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// Mean probability that the likelier label was drawn: E max(p, 1 − p).
    pub expected: f64,
    /// Share of these very labels that agree with the true utilities; even odds count half.
    pub realised: f64,
}

#[derive(Debug)]
pub struct Row<'a> {
    pub base: &'a str,
    pub objective: &'a str,
    pub without: Arm<'a>,
    pub with: Arm<'a>,
    pub comparison: Option<Comparison<'a>>,
    pub published: Option<&'static Published>,
}

/// One side of a comparison.
#[derive(Debug)]
pub struct Arm<'a> {
    /// By seed.
    pub runs: Vec<&'a RunSummary>,
    /// `None`: not run.
    pub accuracy: Option<Estimate>,
    pub by_source: BTreeMap<&'a str, f64>,
}

/// With LPC minus without, paired by seed and test pair.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// (without, with) of every seed that both ran.
    pub runs: Vec<(&'a RunSummary, &'a RunSummary)>,
    pub difference: Difference,
    pub decision: Decision,
}

/// A difference by two scores of the same decisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// A pair counts 1 where the label as drawn is met, otherwise 0: the paper's accuracy.
    pub by_label: Estimate,
    /// A pair counts the true probability of the label that was met: the same mean without the labels' noise.
    /// None where no probability is known.
    pub by_probability: Option<Estimate>,
}

/// The mean difference over cells, which are taken as they are: not as drawn from others.
#[derive(Debug)]
pub struct Pooled<'a> {
    /// None: all objectives.
    pub objective: Option<&'a str>,
    pub cells: usize,
    pub seeds: usize,
    pub difference: Difference,
    pub decision: Decision,
    /// The mean of the paper's differences for these cells, in points; none where it lacks one of them.
    pub published: Option<f64>,
}

/// What the table is made from, as its evidence has it.
///
/// Errors: evidence that does not give back its records.
pub fn input(evidence: &Evidence) -> Result<Input> {
    let Header { scale, bases, objectives, .. } = &evidence.header;
    let mut cells = vec![];
    for base in bases {
        for objective in objectives {
            for latent in [false, true] {
                let of_run = |run: &Run| {
                    Ok(RunSummary {
                        run_id: run.manifest.run.clone(),
                        seed: run.seed(),
                        records: evidence.records(run)?,
                        latent: LatentSummary::of(&run.manifest.outcome.metrics),
                    })
                };
                let runs = evidence.cell(&base.name, objective, latent).into_iter().map(of_run);
                cells.push(Cell {
                    base: base.name.clone(),
                    objective: objective.clone(),
                    latent,
                    runs: runs.collect::<Result<_>>()?,
                });
            }
        }
    }
    let accuracy = |name: &str| {
        let runs = cells.iter().filter(|c| c.base == name).flat_map(|c| &c.runs);
        runs.into_iter().find_map(|run| base_accuracy(&run.records))
    };
    let bases = bases.iter().map(|base| BaseModel {
        name: base.name.clone(),
        paper: base.paper.clone(),
        accuracy: accuracy(&base.name),
    });
    let margin = evidence.header.settings.get(MARGIN).map(|points| points / 100.0);
    Ok(Input { scale: *scale, notes: evidence.header.remarks(), bases: bases.collect(), cells, margin })
}

/// Pairs whose chosen completion the base model, the reference of these records, finds likelier
/// by summed log-probability.
fn base_accuracy(records: &[Record]) -> Option<Proportion> {
    let likelier = |r: &Record| Some(r.reference_chosen_logps? > r.reference_rejected_logps?);
    let verdicts: Vec<bool> = records.iter().map(likelier).collect::<Option<_>>()?;
    let correct = verdicts.iter().filter(|v| **v).count();
    (!verdicts.is_empty()).then_some(Proportion { correct, total: verdicts.len() })
}

/// Estimates for every cell.
///
/// Errors: a cell of a base model that is not listed, a cell or a seed given twice, a paper
/// column that does not exist, runs on one base model that were tested on different pairs.
pub fn summarise(input: &Input) -> Result<Summary<'_>> {
    check_cells(input)?;
    let mut objectives: Vec<&str> = Vec::new();
    for cell in &input.cells {
        if !objectives.contains(&cell.objective.as_str()) {
            objectives.push(&cell.objective);
        }
    }
    let mut rows = Vec::new();
    for base in &input.bases {
        if let Some(column) = base.paper.as_ref().filter(|column| !paper::table2().has_base(column)) {
            return Err(Error::argument("table2", "base.paper", column, "a model of the paper's table"));
        }
        for objective in &objectives {
            let side = |latent| arm(input, &base.name, objective, latent);
            let (without, with) = (side(false)?, side(true)?);
            // The paper's table need not have this objective.
            let published = base.paper.as_ref().and_then(|column| paper::table2().find(column, objective));
            rows.push(Row { base: &base.name, objective, without, with, comparison: None, published });
        }
    }
    let pooled = compare(&mut rows, &objectives, input.margin)?;
    let bases = input.bases.iter().map(|b| summarise_base(input, b)).collect::<Result<_>>()?;
    Ok(Summary { scale: input.scale, notes: &input.notes, bases, rows, pooled, margin: input.margin })
}

fn check_cells(input: &Input) -> Result<()> {
    const OP: &str = "table2";
    let mut seen = BTreeSet::new();
    for cell in &input.cells {
        let name = format!("{}, {}, latent = {}", cell.base, cell.objective, cell.latent);
        if !input.bases.iter().any(|b| b.name == cell.base) {
            return Err(Error::argument(OP, "cell.base", &cell.base, "one of the base models listed"));
        }
        let mut seeds = BTreeSet::new();
        if let Some(twice) = cell.runs.iter().find(|r| !seeds.insert(r.seed)) {
            return Err(Error::argument(OP, "seed", twice.seed, format!("given once in {name}")));
        }
        if !seen.insert(name.clone()) {
            return Err(Error::argument(OP, "cell", name, "given once"));
        }
    }
    for base in &input.bases {
        let mut runs = runs_on(input, &base.name);
        let Some(first) = runs.next() else { continue };
        let test_set = |r: &RunSummary| -> Vec<_> {
            r.records.iter().map(|r| (r.id.clone(), r.source.clone(), r.bayes.map(f64::to_bits))).collect()
        };
        let expected = test_set(first);
        if let Some(other) = runs.find(|r| test_set(r) != expected) {
            let expected = format!("a run tested on the pairs of run {}", first.run_id);
            return Err(Error::argument(OP, "run", &other.run_id, expected));
        }
    }
    Ok(())
}

fn runs_on<'a>(input: &'a Input, base: &str) -> impl Iterator<Item = &'a RunSummary> {
    input.cells.iter().filter(move |c| c.base == base).flat_map(|c| &c.runs)
}

fn arm<'a>(input: &'a Input, base: &str, objective: &str, latent: bool) -> Result<Arm<'a>> {
    let this = |c: &&Cell| c.base == base && c.objective == objective && c.latent == latent;
    let mut runs: Vec<&RunSummary> = input.cells.iter().filter(this).flat_map(|c| &c.runs).collect();
    runs.sort_by_key(|r| r.seed);
    let accuracy = match runs.first() {
        Some(first) => {
            let cells = Array2::from_shape_fn((runs.len(), first.records.len()), |(s, e)| {
                correct(&runs[s].records[e])
            });
            Some(share_interval(cells.view())?)
        }
        None => None,
    };
    let mut answers: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for record in runs.iter().flat_map(|r| &r.records) {
        answers.entry(&record.source).or_default().push(correct(record));
    }
    let by_source = answers.into_iter().map(|(s, a)| (s, a.iter().sum::<f64>() / a.len() as f64)).collect();
    Ok(Arm { runs, accuracy, by_source })
}

/// 1 for a pair that was decided rightly, 0 for another.
pub(super) fn correct(record: &Record) -> f64 {
    f64::from(u8::from(record.correct))
}

fn summarise_base<'a>(input: &'a Input, base: &'a BaseModel) -> Result<BaseSummary<'a>> {
    let accuracy = match base.accuracy {
        Some(p) => Some((p, wilson_interval(p.correct, p.total)?)),
        None => None,
    };
    let records = runs_on(input, &base.name).next().map_or(&[][..], |r| &r.records);
    let mut sources = BTreeMap::new();
    records.iter().for_each(|r| *sources.entry(r.source.as_str()).or_default() += 1);
    let bayes: Option<Vec<f64>> = records.iter().map(|r| r.bayes).collect();
    let ceiling = bayes.filter(|p| !p.is_empty()).map(|p| {
        let mean = |f: fn(&f64) -> f64| p.iter().map(f).sum::<f64>() / p.len() as f64;
        let right = |p: &f64| match p.total_cmp(&0.5) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        Ceiling { expected: mean(|p| p.max(1.0 - p)), realised: mean(right) }
    });
    Ok(BaseSummary { name: &base.name, accuracy, ceiling, sources })
}

impl Row<'_> {
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.base, self.objective)
    }
}

impl Proportion {
    pub fn share(self) -> f64 {
        self.correct as f64 / self.total as f64
    }
}

impl Difference {
    /// The one that verdicts are about.
    pub fn decides(&self) -> Estimate {
        self.by_probability.unwrap_or(self.by_label)
    }
}

impl Pooled<'_> {
    pub(super) fn name(&self) -> String {
        self.objective.unwrap_or("all").to_string()
    }
}
