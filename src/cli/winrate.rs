//! `lpc winrate`: AlpacaEval 2's numbers from a judge's annotations.

use super::output::print;
use crate::error::{Error, Place, Result};
use crate::eval::winrate::{
    Annotations, Difficulties, Estimate, Glm, Weights, read_anchors, read_annotations, read_weights, win_rate,
};
use crate::model::load::hub::dataset_file;
use clap::{Args, ValueEnum};
use std::collections::HashMap;
use std::path::PathBuf;

/// Calculate AlpacaEval 2's win rate and length-controlled win rate, as CSV
///
/// A row without a preference counts as in AlpacaEval: its lengths and its difficulty are used for the
/// standard deviation and the mean, but the win rate and the fit use only rows with a preference.
/// Difficulties are found by instruction_index for --glm and by row number for --weights, as the leaderboard
/// does it.
///
/// A model may have no length-controlled win rate: too few preferences, equal lengths or no weights. Then its
/// fields are empty, the reason is written to standard error, the other numbers are printed, and the exit
/// status is 1.
///
/// Example: lpc winrate --annotations annotations.csv --difficulty difficulty.csv --glm noreg
#[derive(Debug, Args)]
pub(super) struct WinrateArguments {
    /// CSV: generator, instruction_index, preference (1 to 2), len_output_1, len_output_2
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// CSV: instruction_index, difficulty
    #[arg(long, value_name = "FILE")]
    difficulty: PathBuf,
    /// Use published coefficients instead of a fit. CSV: generator, weight_length, weight_difficulty,
    /// weight_constant; or one of AlpacaEval's own files of weights
    #[arg(long, value_name = "FILE", conflicts_with_all = ["glm", "anchors"])]
    weights: Option<PathBuf>,
    /// Rows of the gamed baselines for --glm v1: AlpacaEval's df_gamed.csv [default: from the hub]
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// The model that is fitted
    #[arg(long, value_enum, default_value = "v1")]
    glm: GlmName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GlmName {
    /// The leaderboard's: fitted with two gamed baselines as anchors
    V1,
    /// Fitted to the model's own rows only
    Noreg,
    /// As noreg, without the difficulty of the instructions
    Minimal,
}

/// Where a model's coefficients come from.
enum Source {
    Published { weights: HashMap<String, Weights>, path: PathBuf },
    Fitted(Glm),
}

/// Prints a row for every model. A model without a length-controlled rate, or without any verdicts, gets empty
/// fields, and the reason is written to standard error.
pub(super) fn run(arguments: WinrateArguments) -> Result<()> {
    let models = read_annotations(&arguments.annotations)?;
    let difficulties = Difficulties::read(&arguments.difficulty)?;
    let source = source(&arguments)?;
    let mut table = String::from(
        "generator,win_rate,standard_error,length_controlled_winrate,lc_standard_error,n_total\n",
    );
    let mut failed: Vec<(&str, Error)> = vec![];
    for model in &models {
        let without = model.rows.len() - model.verdicts();
        if without > 0 {
            tracing::warn!(
                "{}: {without} of {} comparisons have no verdict",
                model.generator,
                model.rows.len()
            );
        }
        let raw = win_rate(&model.rows);
        let controlled = match &raw {
            Ok(_) => length_controlled(model, &source, &difficulties),
            // Anchors alone could be fitted, and would say nothing about this model.
            Err(_) => Err(Error::argument("win rate", "verdicts", 0, "at least 1")),
        };
        let numbers = [&raw, &controlled].map(|estimate| match estimate {
            Ok(e) => [e.mean, e.standard_error].map(shown),
            Err(_) => Default::default(),
        });
        if let Err(e) = controlled {
            failed.push((&model.generator, e));
        }
        let mut row = csv::Writer::from_writer(vec![]);
        let fields = std::iter::once(model.generator.clone())
            .chain(numbers.into_iter().flatten())
            .chain([model.verdicts().to_string()]);
        let place = || Error::input(Place::file("standard output"), "a CSV row", &model.generator);
        row.write_record(fields).map_err(|_| place())?;
        table += &String::from_utf8_lossy(&row.into_inner().map_err(|_| place())?);
    }
    print(table)?;
    fault(&arguments, failed)
}

/// Empty where there is no number, as the standard error of a single verdict.
fn shown(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

/// Why models have no length-controlled rate: a warning each, and the last one as the command's end.
fn fault(arguments: &WinrateArguments, mut failed: Vec<(&str, Error)>) -> Result<()> {
    let Some((last, e)) = failed.pop() else { return Ok(()) };
    let in_model = |model: &str, e: Error| {
        let place = Place::file(&arguments.annotations).field(model);
        match e {
            Error::Argument { argument, got, expected, .. } => {
                Error::input(place, format!("for a length-controlled rate {argument} {expected}"), got)
            }
            Error::Input { place: at, expected, got } => {
                Error::input(place, format!("for a length-controlled rate {expected} in {at}"), got)
            }
            other => other,
        }
    };
    for (model, e) in failed {
        tracing::warn!("{}", in_model(model, e));
    }
    Err(in_model(last, e))
}

fn source(arguments: &WinrateArguments) -> Result<Source> {
    if let Some(path) = &arguments.weights {
        return Ok(Source::Published { weights: read_weights(path)?, path: path.clone() });
    }
    Ok(Source::Fitted(match (arguments.glm, &arguments.anchors) {
        (GlmName::V1, Some(path)) => Glm::LengthControlledV1 { anchors: read_anchors(path)? },
        (GlmName::V1, None) => {
            let path = dataset_file("tatsu-lab/alpaca_eval", "df_gamed.csv").map_err(|e| match e {
                Error::Input { place, expected, got } => {
                    let expected = format!("{expected} (or --anchors FILE, --weights, --glm noreg)");
                    Error::Input { place, expected, got }
                }
                e => e,
            })?;
            Glm::LengthControlledV1 { anchors: read_anchors(&path)? }
        }
        (GlmName::Noreg, _) => Glm::LengthControlledNoreg,
        (GlmName::Minimal, _) => Glm::LengthControlledMinimal,
    }))
}

fn length_controlled(model: &Annotations, source: &Source, difficulties: &Difficulties) -> Result<Estimate> {
    match source {
        Source::Published { weights, path } => {
            let weights = weights.get(&model.generator).ok_or_else(|| {
                Error::input(Place::file(path), format!("a row for `{}`", model.generator), "none")
            })?;
            // The leaderboard gives the n-th row the n-th difficulty, whatever its instruction.
            let by_row: Vec<f64> =
                (0..model.rows.len()).map(|n| difficulties.of(n)).collect::<Result<_>>()?;
            weights.length_controlled(by_row)
        }
        Source::Fitted(glm) => {
            // The baseline against itself.
            let drawn = |p: f64| p == 1.5;
            if model.rows.iter().all(|r| r.preference.is_none_or(drawn) && r.length_1 == r.length_2) {
                return Ok(Estimate { mean: 50.0, standard_error: 0.0 });
            }
            let by_instruction: HashMap<usize, f64> = model
                .rows
                .iter()
                .map(|row| Ok((row.instruction, difficulties.of(row.instruction)?)))
                .collect::<Result<_>>()?;
            let weights = glm.fit(&model.rows, |row| by_instruction[&row.instruction])?;
            weights.length_controlled(model.rows.iter().map(|row| by_instruction[&row.instruction]))
        }
    }
}
