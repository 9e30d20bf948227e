//! `lpc winrate`: AlpacaEval 2's numbers from a judge's annotations.

use super::output::print;
use super::{GlmName, WinrateArguments};
use crate::error::{Error, Place, Result};
use crate::eval::winrate::{
    Annotations, Difficulties, Estimate, Glm, Weights, read_anchors, read_annotations, read_weights, win_rate,
};
use crate::model::load::hub::dataset_file;
use std::collections::HashMap;
use std::path::PathBuf;

/// Where a model's coefficients come from.
enum Source {
    Published { weights: HashMap<String, Weights>, path: PathBuf },
    Fitted(Glm),
}

pub fn run(arguments: WinrateArguments) -> Result<()> {
    let models = read_annotations(&arguments.annotations)?;
    let difficulties = Difficulties::read(&arguments.difficulty)?;
    let source = source(&arguments)?;
    let mut table = String::from(
        "generator,win_rate,standard_error,length_controlled_winrate,lc_standard_error,n_total\n",
    );
    for model in &models {
        if model.without_verdict > 0 {
            tracing::warn!(
                "{}: {} comparisons without a verdict left out",
                model.generator,
                model.without_verdict
            );
        }
        let in_model = |e: Error| {
            let place = Place::file(&arguments.annotations).field(&model.generator);
            match e {
                Error::Argument { argument, got, expected, .. } => {
                    Error::input(place, format!("{argument} {expected}"), got)
                }
                other => other,
            }
        };
        let raw = win_rate(&model.rows).map_err(in_model)?;
        let controlled = length_controlled(model, &source, &difficulties).map_err(in_model)?;
        let mut row = csv::Writer::from_writer(vec![]);
        let numbers = [raw.mean, raw.standard_error, controlled.mean, controlled.standard_error];
        let fields = std::iter::once(model.generator.clone())
            .chain(numbers.map(|v| v.to_string()))
            .chain([model.rows.len().to_string()]);
        let place = || Error::input(Place::file("standard output"), "a CSV row", &model.generator);
        row.write_record(fields).map_err(|_| place())?;
        table += &String::from_utf8_lossy(&row.into_inner().map_err(|_| place())?);
    }
    print(table)
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
            // The leaderboard gives the n-th judged row the n-th difficulty, whatever its instruction.
            let by_row: Vec<f64> =
                (0..model.rows.len()).map(|n| difficulties.of(n)).collect::<Result<_>>()?;
            weights.length_controlled(by_row)
        }
        Source::Fitted(glm) => {
            // The baseline against itself.
            if model.rows.iter().all(|row| row.preference == 1.5 && row.length_1 == row.length_2) {
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
