//! Table 1: four benchmarks and their average for each base model and objective.

mod document;

pub(super) use document::exhibit;

use super::claims::Effect;
use crate::error::{Error, Result};
use crate::eval::stats::{Estimate, LEVEL, crossed_interval, holm, mcnemar_exact, normal_quantile};
use crate::eval::tasks::Task;
use crate::plan::Scale;
use crate::run::evidence::{Evidence, Run};
use ndarray::Array2;

/// A benchmark of the table and the metric that stands for it.
pub struct Column {
    pub task: Task,
    pub metric: &'static str,
    /// The paper's name.
    pub name: &'static str,
    /// What stands in its place in the built-in world.
    pub analogue: &'static str,
}

/// In the paper's order.
pub const COLUMNS: [Column; 4] = [
    Column { task: Task::ArcChallenge, metric: "acc", name: "ARC-Challenge", analogue: "opposites, tools" },
    Column { task: Task::ArcEasy, metric: "acc", name: "ARC-Easy", analogue: "capitals, colours, homes" },
    Column { task: Task::Gsm8k, metric: "exact_match,strict-match", name: "GSM8K", analogue: "sums" },
    Column { task: Task::TruthfulqaMc2, metric: "acc", name: "TruthfulQA", analogue: "myths, mc2" },
];

/// What the evidence calls a base model's verdicts, which stand beside those of each of its runs.
pub fn base_column(task: &str) -> String {
    format!("base/{task}")
}

/// The setting that is 1 where the documents are the built-in world's.
pub const WORLD: &str = "world";

/// Verdicts on every document of each benchmark.
type Verdicts = [Vec<f64>; 4];

/// Verdicts of a base model's runs by seed, or of the base model alone.
#[derive(Debug, Clone)]
struct Arm {
    base: String,
    /// None: the base model itself.
    objective: Option<String>,
    latent: bool,
    seeds: Vec<(u64, String, Verdicts)>,
}

#[derive(Debug)]
struct Input {
    scale: Scale,
    own: bool,
    world: bool,
    notes: Vec<String>,
    arms: Vec<Arm>,
}

/// The table's numbers from its evidence: a base model, then each objective without and with LPC.
///
/// Errors: a column that is missing, or of another length than the run's fellows'.
fn input(evidence: &Evidence) -> Result<Input> {
    let header = &evidence.header;
    let documents = COLUMNS.map(|c| header.settings.get(&format!("documents/{}", c.task.name())).copied());
    let verdicts = |run: &Run, name: &dyn Fn(&str) -> String| -> Result<Verdicts> {
        let mut all = Verdicts::default();
        for ((column, documents), values) in COLUMNS.iter().zip(documents).zip(&mut all) {
            *values = evidence.measured(run, &name(column.task.name()))?;
            if documents != Some(values.len() as f64) {
                let (task, run) = (column.task.name(), &run.manifest.run);
                let expected = documents.map_or("a number in the header".into(), |n| n.to_string());
                return Err(Error::argument(
                    "table1",
                    format!("{task} of run {run}"),
                    values.len(),
                    expected,
                ));
            }
        }
        Ok(all)
    };
    let mut arms = vec![];
    for base in &header.bases {
        let first = evidence.runs.iter().find(|r| r.base == base.name);
        let own = first.map(|run| verdicts(run, &base_column)).transpose()?;
        let seeds = own.into_iter().map(|verdicts| (0, String::new(), verdicts)).collect();
        arms.push(Arm { base: base.name.clone(), objective: None, latent: false, seeds });
        for objective in &header.objectives {
            for latent in [false, true] {
                let runs = evidence.cell(&base.name, objective, latent);
                let seed = |run: &&Run| {
                    Ok((run.seed(), run.manifest.run.clone(), verdicts(run, &|task| task.to_string())?))
                };
                let seeds = runs.iter().map(seed).collect::<Result<_>>()?;
                arms.push(Arm { base: base.name.clone(), objective: Some(objective.clone()), latent, seeds });
            }
        }
    }
    Ok(Input {
        scale: header.scale,
        own: header.own,
        world: header.settings.get(WORLD) == Some(&1.0),
        notes: header.remarks(),
        arms,
    })
}

impl Arm {
    /// Over seeds and documents.
    fn estimate(&self, benchmark: usize) -> Result<Estimate> {
        let share =
            crossed(self.seeds.len(), self.documents(benchmark), |s, d| self.seeds[s].2[benchmark][d])?;
        Ok(share.within(0.0, 1.0))
    }

    fn documents(&self, benchmark: usize) -> usize {
        self.seeds.first().map_or(0, |(_, _, verdicts)| verdicts[benchmark].len())
    }
}

fn crossed(seeds: usize, documents: usize, value: impl Fn(usize, usize) -> f64) -> Result<Estimate> {
    crossed_interval(Array2::from_shape_fn((seeds, documents), |(s, d)| value(s, d)).view())
}

/// Mean of the four with its 95 % half-width, the benchmarks taken as independent.
fn average(estimates: &[Estimate]) -> (f64, f64) {
    let n = estimates.len() as f64;
    let mean = estimates.iter().map(|e| e.mean).sum::<f64>() / n;
    let variance: f64 = estimates.iter().map(|e| e.standard_error.powi(2)).sum();
    (mean, normal_quantile(0.5 + LEVEL / 2.0) * variance.sqrt() / n)
}

/// LPC against the plain objective on one benchmark, or on their average.
struct Comparison<'a> {
    with: &'a Arm,
    /// None: the average.
    benchmark: Option<usize>,
    difference: f64,
    standard_error: f64,
    interval: (f64, f64),
    /// Raw and by Holm over the table; none for averages.
    p: Option<(f64, f64)>,
}

/// Every cell that has runs on both sides.
///
/// One seed of right and wrong answers: McNemar's exact test. Otherwise the interval's own test.
fn comparisons(input: &Input) -> Result<Vec<Comparison<'_>>> {
    let mut all = vec![];
    for pair in input.arms.windows(2) {
        let (without, with) = (&pair[0], &pair[1]);
        // A seed that one side lacks, its training having diverged, is in no comparison.
        let of = |arm: &Arm, seed: u64| arm.seeds.iter().position(|(own, ..)| *own == seed);
        let paired: Vec<(usize, usize)> =
            (0..with.seeds.len()).filter_map(|s| Some((s, of(without, with.seeds[s].0)?))).collect();
        if !with.latent || paired.is_empty() {
            continue;
        }
        let mut estimates = vec![];
        for benchmark in 0..COLUMNS.len() {
            let both = |s: usize, d: usize| {
                let (with_seed, without_seed) = paired[s];
                (with.seeds[with_seed].2[benchmark][d], without.seeds[without_seed].2[benchmark][d])
            };
            let documents = with.documents(benchmark);
            let e = crossed(paired.len(), documents, |s, d| both(s, d).0 - both(s, d).1)?;
            let count = |kind: (f64, f64)| (0..documents).filter(|&d| both(0, d) == kind).count();
            let (only_with, only_without) = (count((1.0, 0.0)), count((0.0, 1.0)));
            let binary = only_with + only_without + count((0.0, 0.0)) + count((1.0, 1.0)) == documents;
            let p = match paired.len() {
                1 if binary => mcnemar_exact(only_with, only_without),
                _ => e.p_value,
            };
            let interval = (e.low, e.high);
            all.push(Comparison {
                with,
                benchmark: Some(benchmark),
                difference: e.mean,
                standard_error: e.standard_error,
                interval,
                p: Some((p, p)),
            });
            estimates.push(e);
        }
        let (mean, half) = average(&estimates);
        let interval = (mean - half, mean + half);
        let standard_error = half / normal_quantile(0.5 + LEVEL / 2.0);
        all.push(Comparison { with, benchmark: None, difference: mean, standard_error, interval, p: None });
    }
    let raw: Vec<f64> = all.iter().filter_map(|c| c.p).map(|(p, _)| p).collect();
    let mut adjusted = holm(&raw).into_iter();
    for (_, holm) in all.iter_mut().filter_map(|c| c.p.as_mut()) {
        *holm = adjusted.next().unwrap_or(1.0);
    }
    Ok(all)
}

/// What LPC changes, benchmark by benchmark.
///
/// Errors: evidence that makes no table.
pub(super) fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    let input = input(evidence)?;
    let comparisons = comparisons(&input)?;
    let effect = |c: &Comparison<'_>| {
        Some(Effect {
            base: c.with.base.clone(),
            objective: c.with.objective.clone()?,
            column: COLUMNS[c.benchmark?].name.into(),
            mean: c.difference,
            standard_error: c.standard_error,
            p_value: c.p?.0,
        })
    };
    Ok(comparisons.iter().filter_map(effect).collect())
}
