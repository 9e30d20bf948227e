//! A run's results on every test pair. The numbers of a table are calculated from them.

use crate::error::{Error, Place, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The result of one trained model on one test pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Position in the test set; strictly increasing in a file.
    pub index: usize,
    /// The pair's id.
    pub id: String,
    pub source: String,
    /// Implicit reward of the chosen completion minus that of the rejected one.
    pub margin: f64,
    /// Whether the margin is above 0.
    pub correct: bool,
    /// Built-in world only: the true probability that chosen beats rejected as labelled.
    /// Below 0.5 the noise of the label prefers the worse completion.
    pub bayes: Option<f64>,
    pub policy_chosen_logps: f64,
    pub policy_rejected_logps: f64,
    /// Absent where the objective has no reference model.
    pub reference_chosen_logps: Option<f64>,
    pub reference_rejected_logps: Option<f64>,
    /// The loss (6) of the pair, and how far the bound (7) at λ = 1 lies above it. Absent without codes.
    pub marginal_loss: Option<f64>,
    pub bound_gap: Option<f64>,
}

impl Record {
    /// The true probability of the label that the policy prefers, where it is known: its mean is the accuracy
    /// without the labels' noise.
    pub fn probability(&self) -> Option<f64> {
        self.bayes.map(|p| if self.correct { p } else { 1.0 - p })
    }

    /// The first rule that this record breaks, as (field, expected, got).
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str, String)> {
        let finite = [
            ("margin", Some(self.margin)),
            ("policy_chosen_logps", Some(self.policy_chosen_logps)),
            ("policy_rejected_logps", Some(self.policy_rejected_logps)),
            ("reference_chosen_logps", self.reference_chosen_logps),
            ("reference_rejected_logps", self.reference_rejected_logps),
            ("marginal_loss", self.marginal_loss),
            ("bound_gap", self.bound_gap),
        ];
        if let Some((field, value)) = finite.into_iter().find(|(_, v)| v.is_some_and(|v| !v.is_finite())) {
            return Some((field, "a finite number", value.unwrap_or_default().to_string()));
        }
        if self.correct != (self.margin > 0.0) {
            return Some(("correct", "whether `margin` is above 0", self.correct.to_string()));
        }
        match self.bayes {
            Some(p) if !(0.0..=1.0).contains(&p) => Some(("bayes", "a probability", p.to_string())),
            _ => None,
        }
    }
}

/// Writes records, a JSON line each, atomically. Every number reads back bit for bit.
///
/// Errors: a record that [`read`] would refuse; nothing is written then.
pub fn write(path: &Path, records: &[Record]) -> Result<()> {
    let mut text = Vec::new();
    for (line, record) in records.iter().enumerate() {
        check(path, line + 1, record, line.checked_sub(1).map(|before| records[before].index))?;
        serde_json::to_writer(&mut text, record).expect("a record is plain data");
        text.push(b'\n');
    }
    crate::files::write_atomic(path, &text)
}

/// Reads what [`write`] wrote.
///
/// Errors: a line that is not a record, is out of order or contradicts itself. File and line are named.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let mut records: Vec<Record> = Vec::new();
    for (line, json) in text.lines().enumerate() {
        let place = || Place::file(path).line(line + 1);
        let record = serde_json::from_str(json)
            .map_err(|e| Error::input(place(), "a record", crate::files::json_fault(&e)))?;
        check(path, line + 1, &record, records.last().map(|r| r.index))?;
        records.push(record);
    }
    Ok(records)
}

fn check(path: &Path, line: usize, record: &Record, before: Option<usize>) -> Result<()> {
    let place = |field: &str| Place::file(path).line(line).field(field);
    if let Some((field, expected, got)) = record.fault() {
        return Err(Error::input(place(field), expected, got));
    }
    match before {
        Some(before) if record.index <= before => {
            Err(Error::input(place("index"), format!("above {before}"), record.index))
        }
        _ => Ok(()),
    }
}
