//! Table 1: four benchmarks and their average for each base model and objective.

mod document;

pub(super) use document::exhibit;

use super::claims::Effect;
use super::verdict::{Claim, Compared, Decision, MARGIN, decide};
use crate::error::{Error, Result};
use crate::eval::stats::{Estimate, mean_of_independent, paired_interval, share_interval};
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

/// The mean of the four, taken as independent.
pub(super) const AVERAGE: &str = "average";

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
    margin: Option<f64>,
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
        margin: header.settings.get(MARGIN).map(|points| points / 100.0),
    })
}

impl Arm {
    /// Over seeds and documents.
    fn estimate(&self, benchmark: usize) -> Result<Estimate> {
        let shape = (self.seeds.len(), self.documents(benchmark));
        share_interval(Array2::from_shape_fn(shape, |(s, d)| self.seeds[s].2[benchmark][d]).view())
    }

    fn documents(&self, benchmark: usize) -> usize {
        self.seeds.first().map_or(0, |(_, _, verdicts)| verdicts[benchmark].len())
    }
}

/// LPC against the plain objective on one benchmark, or on their average.
struct Comparison<'a> {
    with: &'a Arm,
    /// None: the average.
    benchmark: Option<usize>,
    decision: Decision,
}

/// Every cell that has runs on both sides, averages among them: one family.
fn comparisons(input: &Input) -> Result<Vec<Comparison<'_>>> {
    let (mut cells, mut family) = (vec![], vec![]);
    for pair in input.arms.windows(2) {
        let (without, with) = (&pair[0], &pair[1]);
        // A seed that one side lacks, its training having diverged, is in no comparison.
        let of = |arm: &Arm, seed: u64| arm.seeds.iter().position(|(own, ..)| *own == seed);
        let paired: Vec<(usize, usize)> =
            (0..with.seeds.len()).filter_map(|s| Some((s, of(without, with.seeds[s].0)?))).collect();
        if !with.latent || paired.is_empty() {
            continue;
        }
        let difference = |benchmark: usize| {
            let value = |(s, d): (usize, usize)| {
                let (with_seed, without_seed) = paired[s];
                with.seeds[with_seed].2[benchmark][d] - without.seeds[without_seed].2[benchmark][d]
            };
            let shape = (paired.len(), with.documents(benchmark));
            paired_interval(Array2::from_shape_fn(shape, value).view(), None)
        };
        let mut estimates = (0..COLUMNS.len()).map(difference).collect::<Result<Vec<_>>>()?;
        estimates.extend(mean_of_independent(&estimates));
        let benchmarks = (0..COLUMNS.len()).map(Some).chain([None]);
        for (benchmark, estimate) in benchmarks.zip(estimates) {
            cells.push((with, benchmark));
            family.push(Compared {
                estimate,
                claim: Claim::Higher,
                margin: input.margin,
                seeds: paired.len(),
            });
        }
    }
    let compared = cells.into_iter().zip(decide(&family)?);
    Ok(compared.map(|((with, benchmark), decision)| Comparison { with, benchmark, decision }).collect())
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
            column: c.benchmark.map_or(AVERAGE, |b| COLUMNS[b].name).into(),
            decision: c.decision,
        })
    };
    Ok(comparisons.iter().filter_map(effect).collect())
}
