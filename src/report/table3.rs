//! Table 3's files: a page for readers, a CSV for programs.

use super::claims::Effect;
use super::exhibit::{Cell, Exhibit, Grid, Panel, Section};
use super::latex::booktabs;
use super::paper::{self, Both, Table3Row};
use super::table::{csv_number, mark, markdown};
use crate::Result;
use crate::error::Error;
use crate::eval::stats::crossed_interval;
use crate::eval::winrate::{Annotation, Estimate, Glm, win_rate};
use crate::plan::Scale;
use crate::run::evidence::{Evidence, Run};
use ndarray::Array2;

/// One run's answers against those of its base model.
#[derive(Debug, Clone)]
pub struct RunWinRate {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub seed: u64,
    pub run: String,
    /// `None`: the judge gave no verdict.
    pub win_rate: Option<Estimate>,
    /// Percent, by the model without instruction difficulties; `None` where it cannot be fitted: lengths
    /// differ from the baseline's by the same everywhere, or there are fewer verdicts than folds.
    pub length_controlled: Option<f64>,
    /// Mean characters of its answers, and of the base model's.
    pub length: f64,
    pub baseline_length: f64,
    /// Preference − 1 by prompt; NaN where the judge gave no verdict.
    pub wins: Vec<f64>,
}

pub struct Input {
    pub scale: Scale,
    /// Not the run matrix that ships with the scale.
    pub own: bool,
    pub prompts: usize,
    /// Of the world's judge; `None`: an endpoint judged, as the notes say.
    pub sharpness: Option<f64>,
    pub notes: Vec<String>,
    /// What did not run and why.
    pub failures: Vec<String>,
    /// What was planned, whether or not it was judged.
    pub bases: Vec<String>,
    pub objectives: Vec<String>,
    /// Judged runs.
    pub runs: Vec<RunWinRate>,
}

/// Names of what evidence measures of every answer: the judge's preference (1 to 2), and the characters
/// of the baseline's answer and of the model's.
pub const MEASURED: [&str; 3] = ["preference", "length_1", "length_2"];

impl RunWinRate {
    /// From the judge's annotations, one a prompt. As in AlpacaEval one without a verdict counts in no win
    /// rate and in no fit, but in every length.
    pub fn new(cell: (&str, &str, bool), seed: u64, run: &str, rows: &[Annotation]) -> Self {
        let (base, objective, latent) = cell;
        let fit = Glm::LengthControlledMinimal.fit(rows, |_| 0.0);
        let controlled = fit.and_then(|weights| weights.length_controlled(rows.iter().map(|_| 0.0)));
        let mean = |length: fn(&Annotation) -> usize| {
            rows.iter().map(|row| length(row) as f64).sum::<f64>() / rows.len() as f64
        };
        Self {
            base: base.into(),
            objective: objective.into(),
            latent,
            seed,
            run: run.into(),
            win_rate: win_rate(rows).ok(),
            length_controlled: controlled.ok().map(|e| e.mean),
            length: mean(|row| row.length_2),
            baseline_length: mean(|row| row.length_1),
            wins: rows.iter().map(|row| row.preference.map_or(f64::NAN, |p| p - 1.0)).collect(),
        }
    }
}

/// The table's numbers from its evidence.
///
/// Errors: a setting or a column that is missing.
pub fn input(evidence: &Evidence) -> Result<Input> {
    let run = |run: &Run| {
        let [preference, length_1, length_2] = MEASURED.map(|name| evidence.measured(run, name));
        let (preference, length_1, length_2) = (preference?, length_1?, length_2?);
        let rows = preference.iter().zip(length_1).zip(length_2).enumerate();
        let rows: Vec<Annotation> = rows
            .map(|(instruction, ((&preference, length_1), length_2))| Annotation {
                instruction,
                preference: Some(preference).filter(|p| !p.is_nan()),
                length_1: length_1 as usize,
                length_2: length_2 as usize,
            })
            .collect();
        let manifest = &run.manifest;
        let cell = (run.base.as_str(), run.objective.as_str(), run.latent);
        Ok(RunWinRate::new(cell, run.seed(), &manifest.run, &rows))
    };
    let header = &evidence.header;
    // Without a judge nothing was measured.
    let judged = evidence.runs.iter().filter(|r| !r.measured.is_empty());
    let runs = judged.map(run).collect::<Result<Vec<_>>>()?;
    let Some(prompts) = header.settings.get("prompts").map(|&n| n as usize) else {
        return Err(Error::argument("table3", "evidence", "no setting `prompts`", "prompts"));
    };
    if let Some(other) = runs.iter().find(|r| r.wins.len() != prompts) {
        let got = format!("{} of run {}", other.wins.len(), other.run);
        return Err(Error::argument("table3", "answers", got, prompts.to_string()));
    }
    Ok(Input {
        scale: header.scale,
        own: header.own,
        prompts,
        sharpness: header.settings.get("sharpness").copied(),
        notes: header.notes.clone(),
        failures: header.failures(),
        bases: header.bases.iter().map(|base| base.name.clone()).collect(),
        objectives: header.objectives.clone(),
        runs,
    })
}

/// A row's runs, and the prompts on which every one of them has a verdict.
struct Sides<'a> {
    without: Vec<&'a RunWinRate>,
    with: Vec<&'a RunWinRate>,
    judged: Vec<usize>,
    /// Runs of the same seed, with LPC and without.
    paired: Vec<(&'a RunWinRate, &'a RunWinRate)>,
}

fn sides<'a>(input: &'a Input, base: &str, objective: &str) -> Sides<'a> {
    let arm = |latent: bool| -> Vec<&RunWinRate> {
        let of = |r: &&RunWinRate| r.base == base && r.objective == objective && r.latent == latent;
        input.runs.iter().filter(of).collect()
    };
    let (without, with) = (arm(false), arm(true));
    let known = |j: &usize| without.iter().chain(&with).all(|r| !r.wins[*j].is_nan());
    let judged = (0..input.prompts).filter(known).collect();
    let same = |with: &&'a RunWinRate| without.iter().find(|r| r.seed == with.seed).map(|r| (*with, *r));
    let paired = with.iter().filter_map(same).collect();
    Sides { without, with, judged, paired }
}

/// What LPC changes in the win rate, objective by objective; prompts without a verdict count in neither.
///
/// Errors: as [`input`].
pub fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    let input = input(evidence)?;
    let mut effects = vec![];
    for base in &input.bases {
        for objective in &input.objectives {
            let Sides { judged, paired, .. } = sides(&input, base, objective);
            if paired.is_empty() || judged.len() < 2 {
                continue;
            }
            let difference = |(i, j): (usize, usize)| {
                let (with, without) = paired[i];
                with.wins[judged[j]] - without.wins[judged[j]]
            };
            let e = crossed_interval(Array2::from_shape_fn((paired.len(), judged.len()), difference).view())?;
            effects.push(Effect {
                base: base.clone(),
                objective: objective.clone(),
                column: String::new(),
                mean: e.mean,
                standard_error: e.standard_error,
                p_value: e.p_value,
            });
        }
    }
    Ok(effects)
}

/// The table's files and its part of the page.
///
/// Errors: as [`input`].
pub fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    let input = input(evidence)?;
    let rows = rows(&input)?;
    let scale = input.scale.name();
    let label = format!("tab:{scale}-table3");
    let files = [
        ("table3.md", page(&input, &rows).into_bytes()),
        ("table3.csv", csv(&input)?),
        ("table3.tex", booktabs(ALIGNMENT, &HEADER, &rows, &intro(&input), &label).into_bytes()),
    ];
    let cells = rows.into_iter().map(|row| cells(evidence, row)).collect();
    let header = HEADER.map(String::from).into();
    let grid = Grid { caption: String::new(), alignment: ALIGNMENT.into(), header, rows: cells };
    let section = Section {
        title: "Win rates".into(),
        paragraphs: vec![intro(&input), protocol(&input)],
        grids: vec![grid],
        figure: None,
    };
    Ok(Exhibit {
        table: evidence.header.table,
        title: format!("Table 3 at the {scale} scale"),
        status: format!("{} runs judged, {} prompts each.", input.runs.len(), input.prompts),
        files: files.map(|(name, bytes)| (name.to_string(), bytes)).into(),
        sections: vec![section],
    })
}

/// A row of the table with what each cell rests on.
fn cells(evidence: &Evidence, row: Vec<String>) -> Vec<Cell> {
    let (base, objective) = (row[0].clone(), row[1].clone());
    let panel = |column: usize| {
        let sides: &[bool] = match HEADER[column] {
            "WR without" | "LC without" | "Length without" => &[false],
            "WR with LPC" | "LC with LPC" | "with" => &[true],
            "Paper WR" | "Paper LC" => &[],
            _ => &[false, true],
        };
        let of = |r: &Run| r.base == base && r.objective == objective && sides.contains(&r.latent);
        let runs = evidence.runs.iter().enumerate().filter(|(_, r)| of(r)).map(|(i, _)| i).collect();
        Panel {
            title: format!("{base}, {objective}: {}", HEADER[column]),
            how: "Means over seeds of the judge's verdicts on every prompt; see the protocol.".into(),
            facts: vec![],
            runs,
            filter: String::new(),
        }
    };
    let cell =
        |(i, text): (usize, String)| if i < 2 { Cell::plain(text) } else { Cell::leading_to(text, panel(i)) };
    row.into_iter().enumerate().map(cell).collect()
}

const NOT_RUN: &str = "not run";
const UNKNOWN: &str = "–";

const ALIGNMENT: &str = "llrrrrrrrrrr";

const HEADER: [&str; 12] = [
    "Base model",
    "Objective",
    "WR without",
    "WR with LPC",
    "WR difference",
    "LC without",
    "LC with LPC",
    "Length without",
    "with",
    "base",
    "Paper WR",
    "Paper LC",
];

fn rows(input: &Input) -> Result<Vec<Vec<String>>> {
    let cells = input.bases.iter().flat_map(|base| input.objectives.iter().map(move |o| (base, o)));
    cells.map(|(base, objective)| row(input, base, objective)).collect()
}

fn page(input: &Input, rows: &[Vec<String>]) -> String {
    let table = markdown(ALIGNMENT, &HEADER, rows);
    let own = if input.own {
        "Not the run matrix that ships with this scale: the runs' recipes say what was run.\n\n"
    } else {
        ""
    };
    let protocol = format!("\nProtocol: {}\n", protocol(input));
    let text = mark("table3", &format!("{}\n\n{table}", intro(input)));
    format!("# Table 3\n\n{text}{own}{protocol}")
}

fn intro(input: &Input) -> String {
    let prompts =
        if input.sharpness.is_some() { "held-out prompts of the built-in world" } else { "prompts" };
    let against = if input.sharpness.is_some() { "the base model's own answers" } else { "the baseline's" };
    let scale = match input.scale {
        Scale::Paper => "The paper's scale".to_string(),
        other => format!("The {} scale, not the paper's", other.name()),
    };
    format!(
        "{scale}: answers to {} {prompts}, against {against}, in %. Means over seeds; brackets: 95 % intervals over \
         seeds and prompts. Paper: without → with, on {}.",
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

fn row(input: &Input, base: &str, objective: &str) -> Result<Vec<String>> {
    let Sides { without, with, judged, paired } = sides(input, base, objective);
    let mean = |runs: &[&RunWinRate], value: fn(&RunWinRate) -> f64| {
        runs.iter().map(|r| value(r)).sum::<f64>() / runs.len() as f64
    };
    let rate = |runs: &[&RunWinRate]| mean(runs, |r| r.win_rate.map_or(f64::NAN, |e| e.mean));
    // Seeds × prompts, in percent; too few prompts that all have a verdict for have none.
    let interval = |seeds: usize, cell: &dyn Fn(usize, usize) -> f64| {
        let shape = (seeds, judged.len());
        let cells = Array2::from_shape_fn(shape, |(i, j)| 100.0 * cell(i, judged[j]));
        if judged.len() < 2 { Ok(None) } else { crossed_interval(cells.view()).map(Some) }
    };
    let shown = |runs: &[&RunWinRate]| -> Result<String> {
        Ok(match (runs.len(), rate(runs)) {
            (0, _) => NOT_RUN.into(),
            (_, rate) if rate.is_nan() => UNKNOWN.into(),
            (1, rate) => format!("{rate:.1}"),
            (n, rate) => match interval(n, &|i, j| runs[i].wins[j])?.map(|e| e.within(0.0, 100.0)) {
                Some(e) => format!("{rate:.1} [{:.1}, {:.1}]", e.low, e.high),
                None => format!("{rate:.1}"),
            },
        })
    };
    let both = || interval(paired.len(), &|i, j| paired[i].0.wins[j] - paired[i].1.wins[j]);
    let (of_with, of_without): (Vec<&RunWinRate>, Vec<&RunWinRate>) = paired.iter().copied().unzip();
    let difference = match (paired.len(), rate(&of_with) - rate(&of_without)) {
        (0, _) => NOT_RUN.into(),
        (_, difference) if difference.is_nan() => UNKNOWN.into(),
        (1, difference) => format!("{difference:+.2}"),
        (_, difference) => match both()? {
            Some(e) => format!("{:+.2} [{:+.2}, {:+.2}]", e.mean, e.low, e.high),
            None => format!("{difference:+.2}"),
        },
    };
    let number = |runs: &[&RunWinRate], value: fn(&RunWinRate) -> f64| match runs {
        [] => NOT_RUN.into(),
        runs => format!("{:.1}", mean(runs, value)),
    };
    let controlled = |runs: &[&RunWinRate]| match runs.iter().any(|r| r.length_controlled.is_none()) {
        true => UNKNOWN.into(),
        false => number(runs, |r| r.length_controlled.unwrap_or(f64::NAN)),
    };
    let published = |of: fn(&Table3Row) -> Both| {
        let row = paper::table3().rows.iter().find(|row| row.objective == objective);
        row.map(of).map_or(UNKNOWN.into(), |both| format!("{:.2} → {:.2}", both.without, both.with))
    };
    Ok(vec![
        base.into(),
        objective.into(),
        shown(&without)?,
        shown(&with)?,
        difference,
        controlled(&without),
        controlled(&with),
        number(&without, |r| r.length),
        number(&with, |r| r.length),
        number(if without.is_empty() { &with } else { &without }, |r| r.baseline_length),
        published(|row| row.wr),
        published(|row| row.lc),
    ])
}

fn csv(input: &Input) -> Result<Vec<u8>> {
    let fault = |e: String| Error::argument("table3", "csv", e, "rows that can be written");
    let mut table = csv::Writer::from_writer(vec![]);
    let header = [
        "scale",
        "base",
        "objective",
        "latent",
        "seed",
        "win_rate",
        "standard_error",
        "length_controlled_minimal",
        "length",
        "baseline_length",
        "prompts",
        "run_id",
    ];
    table.write_record(header).map_err(|e| fault(e.to_string()))?;
    for run in &input.runs {
        let rate = run.win_rate.map(|e| [e.mean, e.standard_error]);
        let number = |x: f64| if x.is_nan() { String::new() } else { csv_number(x) };
        let numbers = rate.map_or_else(Default::default, |numbers| numbers.map(number));
        let controlled = run.length_controlled.map_or(String::new(), csv_number);
        let fields =
            [input.scale.name(), &run.base, &run.objective, if run.latent { "with" } else { "without" }]
                .map(String::from)
                .into_iter()
                .chain([run.seed.to_string()])
                .chain(numbers)
                .chain([
                    controlled,
                    csv_number(run.length),
                    csv_number(run.baseline_length),
                    run.wins.len().to_string(),
                    run.run.clone(),
                ]);
        table.write_record(fields).map_err(|e| fault(e.to_string()))?;
    }
    table.into_inner().map_err(|e| fault(e.to_string()))
}
