//! The records of a run, rebuilt from columns.

use super::{Column, Evidence, Run};
use crate::config::{Objective, Recipe};
use crate::error::{Error, Result};
use crate::run::records::Record;
use serde_json::Value;

impl Evidence {
    /// `records.jsonl` of a run, to the byte.
    ///
    /// Errors: columns that are missing, of unequal lengths, or do not make records.
    pub fn records_text(&self, run: &Run) -> Result<String> {
        let mut text = String::new();
        for record in self.records(run)? {
            let line = serde_json::to_string(&record);
            text += &line.map_err(|e| Error::argument("evidence", "record", e, "plain data"))?;
            text.push('\n');
        }
        Ok(text)
    }

    /// The test records of a run.
    ///
    /// Errors: as [`Evidence::records_text`].
    pub fn records(&self, run: &Run) -> Result<Vec<Record>> {
        let fault =
            |what: String| Error::argument("evidence", format!("run {}", run.manifest.run), what, "records");
        let mut stored = vec![];
        for (field, column) in &run.records {
            if let Some(index) = column {
                stored.push((field, self.values(*index)?));
            }
        }
        let n = stored.first().map_or(0, |(_, values)| values.len());
        if let Some((field, values)) = stored.iter().find(|(_, values)| values.len() != n) {
            return Err(fault(format!("{} values of `{field}` beside {n}", values.len())));
        }
        let implied =
            |name: &str| run.records.iter().any(|(field, column)| field == name && column.is_none());
        let row = |i: usize| {
            let mut row: serde_json::Map<String, Value> =
                stored.iter().map(|(field, values)| ((*field).clone(), values[i].clone())).collect();
            if implied("margin") {
                let number = |field: &str| row.get(field).and_then(Value::as_f64).map(|v| v as f32);
                let objective = serde_json::from_value(run.manifest.recipe["objective"].clone());
                let margin = implied_margin(
                    objective.map_err(|e| fault(format!("objective: {e}")))?,
                    [number("policy_chosen_logps"), number("policy_rejected_logps")],
                    [number("reference_chosen_logps"), number("reference_rejected_logps")],
                );
                row.insert("margin".into(), margin.into());
            }
            if implied("correct") {
                let margin = row.get("margin").and_then(Value::as_f64);
                row.insert("correct".into(), margin.map(|m| m > 0.0).into());
            }
            let record: Record =
                serde_json::from_value(Value::Object(row)).map_err(|e| fault(format!("record {i}: {e}")))?;
            match record.fault() {
                None => Ok(record),
                Some((field, expected, got)) => {
                    Err(fault(format!("record {i}: `{field}` is {got}, not {expected}")))
                }
            }
        };
        (0..n).map(row).collect()
    }

    /// A column of what the table measured. NaN means that there was nothing to measure.
    ///
    /// Errors: there is no such column, or it does not hold numbers.
    pub fn measured(&self, run: &Run, name: &str) -> Result<Vec<f64>> {
        let fault = || {
            Error::argument("evidence", format!("`{name}` of run {}", run.manifest.run), "none", "numbers")
        };
        let (_, index) = run.measured.iter().find(|(n, _)| n == name).ok_or_else(fault)?;
        let number = |v: &Value| if v.is_null() { Some(f64::NAN) } else { v.as_f64() };
        self.values(*index)?.iter().map(|v| number(v).ok_or_else(fault)).collect()
    }

    fn values(&self, index: usize) -> Result<Vec<Value>> {
        match self.columns.get(index) {
            Some(Column::Json(values)) => Ok(values.clone()),
            Some(Column::F32(values)) => Ok(values.iter().map(|v| f64::from(*v).into()).collect()),
            None => {
                let expected = format!("one of {}", self.columns.len());
                Err(Error::argument("evidence", "column", index, expected))
            }
        }
    }
}

/// The margin (4), as evaluation computes it in single precision. None for SimPO, where lengths matter too.
fn implied_margin(
    objective: Objective,
    policy: [Option<f32>; 2],
    reference: [Option<f32>; 2],
) -> Option<f64> {
    let scale = match objective {
        Objective::Dpo { beta } | Objective::Gpo { beta, .. } => beta,
        Objective::Ipo { ipo_tau } => ipo_tau,
        Objective::Simpo { .. } => return None,
    } as f32;
    let reward = |side: usize| Some(f64::from((policy[side]? - reference[side]?) * scale));
    Some(reward(0)? - reward(1)?)
}

/// Whether every margin can be calculated exactly from the log-probabilities of its record.
pub(super) fn implied_margins(recipe: &Recipe, records: &[Record]) -> bool {
    records.iter().all(|r| {
        let single = |v: f64| Some(v as f32);
        let margin = implied_margin(
            recipe.objective,
            [single(r.policy_chosen_logps), single(r.policy_rejected_logps)],
            [r.reference_chosen_logps.and_then(single), r.reference_rejected_logps.and_then(single)],
        );
        margin.is_some_and(|m| m.to_bits() == r.margin.to_bits())
    })
}
