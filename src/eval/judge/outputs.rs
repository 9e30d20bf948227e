//! Outputs of models in AlpacaEval's format, the comparisons between them, and the judge's annotations.

use super::{Judged, Missing};
use crate::error::{Error, Place, Result};
use crate::eval::generation::Cut;
use crate::files::{json_fault, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
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
    /// Why the answer is incomplete. AlpacaEval does not read this key. Other values, in files of other programs,
    /// are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "cut_or_nothing")]
    pub finish_reason: Option<Cut>,
}

fn cut_or_nothing<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Cut>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(field)?).ok())
}

/// One entry of a set of prompts. Other keys are allowed, so that a file of outputs is also a set of prompts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PromptEntry {
    #[serde(default)]
    pub dataset: Option<String>,
    pub instruction: String,
}

/// Reads a JSON array of prompts.
///
/// Errors: another format, no prompt, or an instruction that is there twice.
pub fn read_prompts(path: &Path) -> Result<Vec<PromptEntry>> {
    let prompts: Vec<PromptEntry> = read_array(path, "instruction")?;
    refuse_repetitions(path, prompts.iter().map(|p| p.instruction.as_str()))?;
    Ok(prompts)
}

/// Reads a JSON array of outputs, all of one generator.
///
/// Errors: another format, no output, two generators, or an instruction that is there twice.
pub fn read_outputs(path: &Path) -> Result<Vec<ModelOutput>> {
    let outputs: Vec<ModelOutput> = read_array(path, "instruction, output and generator")?;
    let name = &outputs[0].generator;
    if let Some(i) = outputs.iter().position(|o| o.generator != *name) {
        let place = Place::file(path).field(format!("[{i}].generator"));
        return Err(Error::input(place, format!("`{name}`"), &outputs[i].generator));
    }
    refuse_repetitions(path, outputs.iter().map(|o| o.instruction.as_str()))?;
    Ok(outputs)
}

fn read_array<T: DeserializeOwned>(path: &Path, keys: &str) -> Result<Vec<T>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let entries: Vec<T> = serde_json::from_slice(&bytes).map_err(|e| {
        let place = Place::file(path).line(e.line());
        Error::input(place, format!("a JSON array of objects with {keys}"), json_fault(&e))
    })?;
    match entries.is_empty() {
        true => Err(Error::input(Place::file(path), "at least one entry", "none")),
        false => Ok(entries),
    }
}

/// Outputs are matched by their instruction.
fn refuse_repetitions<'a>(path: &Path, instructions: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashMap::new();
    for (i, instruction) in instructions.enumerate() {
        if let Some(earlier) = seen.insert(instruction, i) {
            let place = Place::file(path).field(format!("[{i}].instruction"));
            return Err(Error::input(place, "each instruction once", format!("that of [{earlier}]")));
        }
    }
    Ok(())
}

/// The baseline's output (1) and the model's (2) for one instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<'a> {
    /// Index of the instruction in the baseline's file.
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

/// Writes `model_outputs.json`.
pub fn write_outputs(path: &Path, outputs: &[ModelOutput]) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(outputs)
        .map_err(|e| Error::input(Place::file(path), "outputs that can be written", json_fault(&e)))?;
    write_atomic(path, &bytes)
}

/// The judge and the two models, written with every annotation.
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
