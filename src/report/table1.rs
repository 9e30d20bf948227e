//! Table 1's files: four benchmarks and their average for each base model and objective.

use super::claims::Effect;
use super::exhibit::{Cell, Exhibit, Grid, Panel, Section};
use super::latex::booktabs;
use super::paper::{self, Table1Row};
use super::table::{csv_number, mark, markdown, p_value, percent, points};
use super::table2::SIGNIFICANCE;
use crate::error::{Error, Result};
use crate::eval::stats::{
    Estimate, LEVEL, crossed_interval, holm, mcnemar_exact, mean_and_error, normal_quantile,
};
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
pub fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
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

const NOT_RUN: &str = "not run";
const NOT_IN_SOURCE: &str = "not in the source";

const ALIGNMENT: &str = "lllrrrrrrr";
const HEADER: [&str; 10] = [
    "Base model",
    "Objective",
    "LPC",
    "ARC-Challenge",
    "ARC-Easy",
    "GSM8K",
    "TruthfulQA",
    "Average",
    "Paper: the four",
    "Paper: average",
];

fn rows(evidence: &Evidence, input: &Input) -> Result<Vec<Vec<String>>> {
    let row = |arm: &Arm| {
        let mut row = vec![arm.base.clone(), arm.objective.clone().unwrap_or("none: base model".into())];
        row.push(match (&arm.objective, arm.latent) {
            (None, _) => "–".into(),
            (_, latent) => if latent { "with" } else { "without" }.into(),
        });
        if arm.seeds.is_empty() {
            row.extend(vec![NOT_RUN.to_string(); 5]);
        } else {
            let estimates: Vec<Estimate> =
                (0..COLUMNS.len()).map(|b| arm.estimate(b)).collect::<Result<_>>()?;
            let shown =
                |e: &Estimate| format!("{} [{}, {}]", percent(e.mean), percent(e.low), percent(e.high));
            row.extend(estimates.iter().map(shown));
            let (mean, half) = average(&estimates);
            row.push(format!("{} ± {}", percent(mean), percent(half)));
        }
        let base = evidence.header.bases.iter().find(|b| b.name == arm.base);
        let paper = base.and_then(|b| b.paper.as_deref()).and_then(|paper| published(paper, arm));
        row.extend(match paper {
            None => ["–".to_string(), "–".to_string()],
            Some(paper) if arm.latent => {
                let average = paper.with_average.map_or(NOT_IN_SOURCE.into(), |a| format!("{a:.2}"));
                [NOT_IN_SOURCE.to_string(), average]
            }
            Some(paper) => {
                let four: Vec<String> = paper.without.iter().map(|v| format!("{v:.2}")).collect();
                [four.join(" / "), format!("{:.2}", paper.average)]
            }
        });
        Ok(row)
    };
    input.arms.iter().map(row).collect()
}

fn published(base: &str, arm: &Arm) -> Option<&'static Table1Row> {
    paper::table1().rows.iter().find(|row| row.base == base && row.objective == arm.objective)
}

const COMPARED_ALIGNMENT: &str = "lllrrrl";
const COMPARED: [&str; 7] =
    ["Base model", "Objective", "Benchmark", "LPC − without, points", "p", "p, Holm", "Verdict"];

fn compared(input: &Input) -> Result<Vec<Vec<String>>> {
    let row = |c: &Comparison<'_>| {
        let verdict = match c.p {
            Some((_, p)) if p >= SIGNIFICANCE => "undecided",
            Some(_) if c.difference > 0.0 => "LPC better",
            Some(_) => "LPC worse",
            None => "–",
        };
        let p = |of: fn((f64, f64)) -> f64| c.p.map_or("–".into(), |both| p_value(of(both)));
        vec![
            c.with.base.clone(),
            c.with.objective.clone().unwrap_or_default(),
            c.benchmark.map_or("average", |b| COLUMNS[b].name).into(),
            format!("{} [{}, {}]", points(c.difference), points(c.interval.0), points(c.interval.1)),
            p(|both| both.0),
            p(|both| both.1),
            verdict.into(),
        ]
    };
    Ok(comparisons(input)?.iter().map(row).collect())
}

fn intro(input: &Input) -> String {
    let scale = match input.scale {
        Scale::Paper => "The paper's scale".to_string(),
        other => format!("The {} scale, not the paper's", other.name()),
    };
    let what = if input.world {
        let analogues: Vec<String> =
            COLUMNS.iter().map(|c| format!("{} by {}", c.name, c.analogue)).collect();
        format!("the built-in world's analogues of the four benchmarks ({})", analogues.join("; "))
    } else {
        "the four benchmarks as the LM Evaluation Harness measures them".into()
    };
    format!(
        "{scale}: {what}, in %. Means over seeds; brackets: 95 % intervals over seeds and documents. Paper: its own \
         models on the real benchmarks."
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
         of right and wrong answers is compared by McNemar's exact test, anything else by the interval over seeds and \
         documents; Holm's correction runs over all benchmarks, objectives and base models of the table, averages \
         left out."
    )
}

/// The table's files and its part of the page.
///
/// Errors: evidence that makes no table.
pub fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    let input = input(evidence)?;
    let (rows, compared) = (rows(evidence, &input)?, compared(&input)?);
    let scale = input.scale.name();
    let label = format!("tab:{scale}-table1");
    let files = [
        ("table1.md", page(&input, &rows, &compared).into_bytes()),
        ("table1.csv", csv(&input)?),
        ("table1.tex", booktabs(ALIGNMENT, &HEADER, &rows, &intro(&input), &label).into_bytes()),
    ];
    let cells = |rows: Vec<Vec<String>>, header: &[&str], kind: Kind| -> Vec<Vec<Cell>> {
        rows.into_iter().map(|row| leading(evidence, row, header, kind)).collect()
    };
    let owned = |header: &[&str]| header.iter().map(|h| h.to_string()).collect();
    let grids = vec![
        Grid {
            caption: String::new(),
            alignment: ALIGNMENT.into(),
            header: owned(&HEADER),
            rows: cells(rows, &HEADER, Kind::Scores),
        },
        Grid {
            caption: "LPC against the plain objective".into(),
            alignment: COMPARED_ALIGNMENT.into(),
            header: owned(&COMPARED),
            rows: cells(compared, &COMPARED, Kind::Comparisons),
        },
    ];
    let mut paragraphs = vec![intro(&input), protocol(&input)];
    paragraphs.extend(input.notes.iter().cloned());
    Ok(Exhibit {
        table: evidence.header.table,
        title: format!("Table 1 at the {scale} scale"),
        status: format!("{} runs and their base models measured.", evidence.runs.len()),
        files: files.map(|(name, bytes)| (name.to_string(), bytes)).into(),
        sections: vec![Section { title: "Benchmarks".into(), paragraphs, grids, figure: None }],
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Scores,
    Comparisons,
}

/// A row with the runs that each number rests on.
fn leading(evidence: &Evidence, row: Vec<String>, header: &[&str], kind: Kind) -> Vec<Cell> {
    let (base, objective) = (row[0].clone(), row[1].clone());
    let side = (kind == Kind::Scores).then(|| row[2].clone());
    let of = |run: &Run| {
        let latent = side.as_deref().is_none_or(|s| s == if run.latent { "with" } else { "without" });
        run.base == base && run.objective == objective && latent
    };
    let runs: Vec<usize> = evidence.runs.iter().enumerate().filter(|(_, r)| of(r)).map(|(i, _)| i).collect();
    let panel = |column: usize| Panel {
        title: format!("{base}, {objective}: {}", header[column]),
        how: "A verdict a document, averaged over documents and seeds; see the protocol.".into(),
        facts: vec![],
        runs: if header[column].starts_with("Paper") { vec![] } else { runs.clone() },
        filter: String::new(),
    };
    let leads = |column: usize| column >= 3;
    let cell = |(i, text): (usize, String)| {
        if leads(i) { Cell::leading_to(text, panel(i)) } else { Cell::plain(text) }
    };
    row.into_iter().enumerate().map(cell).collect()
}

fn page(input: &Input, rows: &[Vec<String>], compared: &[Vec<String>]) -> String {
    let own = if input.own {
        "Not the run matrix and documents that ship with this scale: the notes and the runs' recipes say what was \
         run.\n\n"
    } else {
        ""
    };
    let notes: String = input.notes.iter().map(|note| format!("- {note}\n")).collect();
    let text = mark("table1", &format!("{}\n\n{}", intro(input), markdown(ALIGNMENT, &HEADER, rows)));
    let compared = markdown(COMPARED_ALIGNMENT, &COMPARED, compared);
    format!(
        "# Table 1\n\n{text}\n{own}## LPC against the plain objective\n\n{compared}\nProtocol: {}\n\n{notes}",
        protocol(input)
    )
}

fn csv(input: &Input) -> Result<Vec<u8>> {
    let fault = |e: String| Error::argument("table1", "csv", e, "rows that can be written");
    let mut table = csv::Writer::from_writer(vec![]);
    let header = [
        "scale",
        "base",
        "objective",
        "latent",
        "seed",
        "benchmark",
        "metric",
        "mean",
        "standard_error",
        "documents",
        "run_id",
    ];
    table.write_record(header).map_err(|e| fault(e.to_string()))?;
    for arm in &input.arms {
        for (seed, run, verdicts) in &arm.seeds {
            for (column, values) in COLUMNS.iter().zip(verdicts) {
                let (mean, error) = mean_and_error(values)?;
                let (objective, latent, seed) = match &arm.objective {
                    None => ("", "", String::new()),
                    Some(objective) => {
                        (objective.as_str(), if arm.latent { "with" } else { "without" }, seed.to_string())
                    }
                };
                let (mean, error, n) = (csv_number(mean), csv_number(error), values.len().to_string());
                let fields = [
                    input.scale.name(),
                    &arm.base,
                    objective,
                    latent,
                    &seed,
                    column.task.name(),
                    column.metric,
                    &mean,
                    &error,
                    &n,
                    run,
                ];
                table.write_record(fields).map_err(|e| fault(e.to_string()))?;
            }
        }
    }
    table.into_inner().map_err(|e| fault(e.to_string()))
}
