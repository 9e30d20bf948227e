//! Table 3's files: a page for readers, a CSV for programs.

use super::files::write_atomic;
use super::table::{csv_number, mark, markdown};
use super::table2::Scale;
use crate::Result;
use crate::error::{Error, Place};
use crate::eval::stats::crossed_interval;
use crate::eval::winrate::Estimate;
use ndarray::Array2;
use std::path::Path;

/// One run's answers against those of its base model.
#[derive(Debug, Clone)]
pub struct RunWinRate {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub seed: u64,
    pub run: String,
    pub win_rate: Estimate,
    /// Percent, by the model without instruction difficulties.
    pub length_controlled: f64,
    /// Mean characters of its answers, and of the base model's.
    pub length: f64,
    pub baseline_length: f64,
    /// Preference − 1 by prompt.
    pub wins: Vec<f64>,
}

pub struct Input {
    pub scale: Scale,
    /// Not the run matrix that ships with the scale.
    pub own: bool,
    pub prompts: usize,
    pub sharpness: f64,
    pub runs: Vec<RunWinRate>,
}

/// Writes `table3.md` and `table3.csv`; returns the page.
pub fn write(folder: &Path, input: &Input) -> Result<String> {
    let page = page(input)?;
    write_atomic(&folder.join("table3.csv"), &csv(input, folder)?)?;
    write_atomic(&folder.join("table3.md"), page.as_bytes())?;
    Ok(page)
}

fn page(input: &Input) -> Result<String> {
    let mut cells: Vec<(&str, &str)> = vec![];
    for run in &input.runs {
        let cell = (run.base.as_str(), run.objective.as_str());
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells.sort_by_key(|(base, _)| input.runs.iter().position(|r| r.base == *base));
    let rows = cells.into_iter().map(|(base, objective)| row(input, base, objective));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let header = [
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
    ];
    let table = markdown("llrrrrrrrr", &header, &rows);
    let own = if input.own {
        "Not the run matrix that ships with this scale: the runs' recipes say what was run.\n\n"
    } else {
        ""
    };
    let intro = format!(
        "The {} scale, not the paper's: answers to {} held-out prompts of the built-in world, against the base \
         model's own answers, in %. Means over seeds; brackets: 95 % intervals over seeds and prompts.\n\n",
        input.scale.name(),
        input.prompts
    );
    let protocol = format!(
        "\nProtocol: AlpacaEval 2's order of outputs, verdict from the log-probabilities of m and M, and win rate \
         (WR). Judge: the world's true utility, P(m) = σ({} Δu), in this process. Baseline: the base model before \
         preference training, where AlpacaEval has GPT-4. Answers: one draw each at temperature 1. LC: \
         `length_controlled_minimal`, since the world's prompts have no published difficulty; lengths in characters. \
         The paper's numbers are of other models, prompts and judges and stand in no column here.\n",
        input.sharpness
    );
    Ok(format!("# Table 3\n\n{}{own}{protocol}", mark("table3", &format!("{intro}{table}"))))
}

fn row(input: &Input, base: &str, objective: &str) -> Result<Vec<String>> {
    let arm = |latent: bool| -> Vec<&RunWinRate> {
        let of = |r: &&RunWinRate| r.base == base && r.objective == objective && r.latent == latent;
        input.runs.iter().filter(of).collect()
    };
    let (without, with) = (arm(false), arm(true));
    let mean = |runs: &[&RunWinRate], value: fn(&RunWinRate) -> f64| {
        runs.iter().map(|r| value(r)).sum::<f64>() / runs.len() as f64
    };
    // Seeds × prompts, in percent.
    let interval = |cell: &dyn Fn(usize, usize) -> f64| {
        let shape = (without.len(), input.prompts);
        crossed_interval(Array2::from_shape_fn(shape, |(i, j)| 100.0 * cell(i, j)).view())
    };
    let shown = |runs: &[&RunWinRate]| -> Result<String> {
        let rate = mean(runs, |r| r.win_rate.mean);
        if runs.len() < 2 {
            return Ok(format!("{rate:.1}"));
        }
        let e = interval(&|i, j| runs[i].wins[j])?;
        Ok(format!("{rate:.1} [{:.1}, {:.1}]", e.low, e.high))
    };
    let difference = match without.len() {
        0 | 1 => format!("{:+.2}", mean(&with, |r| r.win_rate.mean) - mean(&without, |r| r.win_rate.mean)),
        _ => {
            let e = interval(&|i, j| with[i].wins[j] - without[i].wins[j])?;
            format!("{:+.2} [{:+.2}, {:+.2}]", e.mean, e.low, e.high)
        }
    };
    Ok(vec![
        base.into(),
        objective.into(),
        shown(&without)?,
        shown(&with)?,
        difference,
        format!("{:.1}", mean(&without, |r| r.length_controlled)),
        format!("{:.1}", mean(&with, |r| r.length_controlled)),
        format!("{:.1}", mean(&without, |r| r.length)),
        format!("{:.1}", mean(&with, |r| r.length)),
        format!("{:.1}", mean(&without, |r| r.baseline_length)),
    ])
}

fn csv(input: &Input, folder: &Path) -> Result<Vec<u8>> {
    let fault =
        |e: String| Error::input(Place::file(folder.join("table3.csv")), "rows that can be written", e);
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
        let numbers = [run.win_rate.mean, run.win_rate.standard_error, run.length_controlled, run.length];
        let fields =
            [input.scale.name(), &run.base, &run.objective, if run.latent { "with" } else { "without" }]
                .map(String::from)
                .into_iter()
                .chain([run.seed.to_string()])
                .chain(numbers.map(csv_number))
                .chain([csv_number(run.baseline_length), run.wins.len().to_string(), run.run.clone()]);
        table.write_record(fields).map_err(|e| fault(e.to_string()))?;
    }
    table.into_inner().map_err(|e| fault(e.to_string()))
}
