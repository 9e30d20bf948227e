//! Training curves with few points.

use crate::error::{Error, Place, Result};
use crate::files::json_fault;
use serde_json::Value;
use std::path::Path;

/// Most points of a curve. Each point is the mean of equally many steps.
const CURVE_POINTS: usize = 64;

/// The numbers of `metrics.jsonl` except speed and schedule: at most [`CURVE_POINTS`] means of each, to four
/// digits.
///
/// Errors: a line that is not a JSON object.
pub fn curves(path: &Path) -> Result<Vec<(String, Vec<f32>)>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let mut series: Vec<(String, Vec<f64>)> = vec![];
    for (number, json) in text.lines().enumerate() {
        let fault = |e: serde_json::Error| {
            Error::input(Place::file(path).line(number + 1), "a step's metrics", json_fault(&e))
        };
        let step: serde_json::Map<String, Value> = serde_json::from_str(json).map_err(fault)?;
        let mut put = |name: &str, value: &Value| {
            let skipped = ["step", "tokens_per_second", "schedule", "prior_weight"].contains(&name);
            let Some(value) = value.as_f64().filter(|_| !skipped) else { return };
            match series.iter_mut().find(|(n, _)| n == name) {
                Some((_, values)) => values.push(value),
                None => series.push((name.into(), vec![value])),
            }
        };
        for (name, value) in &step {
            match value {
                Value::Object(nested) => nested.iter().for_each(|(name, value)| put(name, value)),
                value => put(name, value),
            }
        }
    }
    let thinned = |values: Vec<f64>| {
        let each = values.len().div_ceil(CURVE_POINTS).max(1);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        values
            .chunks(each)
            .map(|part| {
                format!("{:.3e}", mean(part)).parse::<f32>().unwrap_or_default().clamp(f32::MIN, f32::MAX)
            })
            .collect()
    };
    Ok(series.into_iter().map(|(name, values)| (name, thinned(values))).collect())
}
