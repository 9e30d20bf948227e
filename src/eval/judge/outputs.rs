//! Models' outputs in AlpacaEval's shape, what is compared with what, and the judge's annotations.

use super::Missing;
use crate::error::{Error, Place, Result};
use crate::report::files::{json_fault, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// One entry of a `model_outputs.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelOutput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    pub instruction: String,
    pub output: String,
    pub generator: String,
}

/// Reads a JSON array of outputs, all of one generator.
///
/// Errors: another shape, no output, two generators, or an instruction that comes twice.
pub fn read_outputs(path: &Path) -> Result<Vec<ModelOutput>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let outputs: Vec<ModelOutput> = serde_json::from_slice(&bytes).map_err(|e| {
        let place = Place::file(path).line(e.line());
        Error::input(place, "a JSON array of objects with instruction, output and generator", json_fault(&e))
    })?;
    let Some(first) = outputs.first() else {
        return Err(Error::input(Place::file(path), "at least one output", "none"));
    };
    let mut seen = HashMap::new();
    for (i, output) in outputs.iter().enumerate() {
        let place = |field: &str| Place::file(path).field(format!("[{i}].{field}"));
        if output.generator != first.generator {
            return Err(Error::input(
                place("generator"),
                format!("`{}`", first.generator),
                &output.generator,
            ));
        }
        if let Some(earlier) = seen.insert(&output.instruction, i) {
            let expected = "one output an instruction";
            return Err(Error::input(place("instruction"), expected, format!("that of [{earlier}]")));
        }
    }
    Ok(outputs)
}

/// The baseline's output (1) and the model's (2) for one instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<'a> {
    /// Of the instruction in the baseline's file.
    pub index: usize,
    pub instruction: &'a str,
    pub output_1: &'a str,
    pub output_2: &'a str,
}

/// The comparisons of instructions that both files have, in the baseline's order.
pub fn compare<'a>(baseline: &'a [ModelOutput], model: &'a [ModelOutput]) -> Vec<Comparison<'a>> {
    let outputs: HashMap<&str, &str> =
        model.iter().map(|o| (o.instruction.as_str(), o.output.as_str())).collect();
    let comparison = |(index, base): (usize, &'a ModelOutput)| {
        let output_2 = outputs.get(base.instruction.as_str())?;
        Some(Comparison { index, instruction: &base.instruction, output_1: &base.output, output_2 })
    };
    baseline.iter().enumerate().filter_map(comparison).collect()
}

/// A comparison's outcome: 1 the baseline is better, 2 the model.
pub type Judged<'a> = (Comparison<'a>, Result<f64, Missing>);

/// Who judged whom, written beside every annotation.
pub struct Annotator<'a> {
    /// The judging model.
    pub judge: &'a str,
    pub prompt_sha256: &'a str,
    pub baseline: &'a str,
    pub generator: &'a str,
}

#[derive(Serialize)]
struct CsvRow<'a> {
    generator: &'a str,
    instruction_index: usize,
    preference: Option<f64>,
    len_output_1: usize,
    len_output_2: usize,
    missing: Option<Missing>,
    judge: &'a str,
    prompt_sha256: &'a str,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    instruction: &'a str,
    output_1: &'a str,
    generator_1: &'a str,
    output_2: &'a str,
    generator_2: &'a str,
    annotator: &'a str,
    preference: Option<f64>,
    missing: Option<Missing>,
    prompt_sha256: &'a str,
}

/// Writes annotations: a `.json` file as AlpacaEval has them, anything else as the CSV that
/// `lpc winrate` reads. A comparison without a verdict has an empty preference and says why.
pub fn write_annotations(path: &Path, annotator: &Annotator, judged: &[Judged]) -> Result<()> {
    let bytes = if path.extension().is_some_and(|e| e == "json") {
        let row = |(comparison, outcome): &Judged| {
            serde_json::to_value(JsonRow {
                instruction: comparison.instruction,
                output_1: comparison.output_1,
                generator_1: annotator.baseline,
                output_2: comparison.output_2,
                generator_2: annotator.generator,
                annotator: annotator.judge,
                preference: outcome.ok(),
                missing: outcome.err(),
                prompt_sha256: annotator.prompt_sha256,
            })
        };
        let rows: Result<Vec<_>, _> = judged.iter().map(row).collect();
        rows.and_then(|rows| serde_json::to_vec_pretty(&rows)).map_err(|e| e.to_string())
    } else {
        let mut table = csv::Writer::from_writer(vec![]);
        let written = judged.iter().try_for_each(|(comparison, outcome)| {
            table.serialize(CsvRow {
                generator: annotator.generator,
                instruction_index: comparison.index,
                preference: outcome.ok(),
                len_output_1: comparison.output_1.chars().count(),
                len_output_2: comparison.output_2.chars().count(),
                missing: outcome.err(),
                judge: annotator.judge,
                prompt_sha256: annotator.prompt_sha256,
            })
        });
        written.map_err(|e| e.to_string()).and_then(|()| table.into_inner().map_err(|e| e.to_string()))
    };
    let bytes = bytes.map_err(|e| Error::input(Place::file(path), "annotations that can be written", e))?;
    write_atomic(path, &bytes)
}
