//! The tables AlpacaEval's numbers come from, as CSV files with a header.

use super::Weights;
use crate::error::{Error, Place, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// One judged comparison of the baseline's output (1) with the model's (2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annotation {
    pub instruction: usize,
    /// 1: the baseline's output is better, 2: the model's, in between: how sure the judge is; `None`: the
    /// judge gave no verdict.
    pub preference: Option<f64>,
    /// Lengths in characters.
    pub length_1: usize,
    pub length_2: usize,
}

/// A model's judged comparisons, in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotations {
    pub generator: String,
    pub rows: Vec<Annotation>,
}

impl Annotations {
    /// Comparisons that have a verdict.
    pub fn verdicts(&self) -> usize {
        self.rows.iter().filter(|row| row.preference.is_some()).count()
    }
}

#[derive(Deserialize)]
struct AnnotationRow {
    generator: String,
    instruction_index: usize,
    #[serde(deserialize_with = "number_or_nothing")]
    preference: Option<f64>,
    len_output_1: usize,
    len_output_2: usize,
}

/// Reads `generator, instruction_index, preference, len_output_1, len_output_2`, one entry a
/// generator in order of appearance. A preference of 0 is an old spelling of 1.5; an empty one (or NaN,
/// or NA) means that the judge gave no verdict.
///
/// Errors: a column is missing, a preference is outside [1, 2], or a comparison comes twice.
pub fn read_annotations(path: &Path) -> Result<Vec<Annotations>> {
    let mut models: Vec<Annotations> = vec![];
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut seen = HashSet::new();
    for (place, row) in read::<AnnotationRow>(path)? {
        let index = *by_name.entry(row.generator.clone()).or_insert(models.len());
        if index == models.len() {
            models.push(Annotations { generator: row.generator, rows: vec![] });
        }
        if !seen.insert((index, row.instruction_index)) {
            let got = format!("a second for {}", row.instruction_index);
            return Err(Error::input(place.field("instruction_index"), "one row an instruction", got));
        }
        let preference = match row.preference {
            None => None,
            Some(0.0) => Some(1.5),
            Some(p) if (1.0..=2.0).contains(&p) => Some(p),
            Some(p) => return Err(Error::input(place.field("preference"), "1 to 2, or 0, or nothing", p)),
        };
        models[index].rows.push(Annotation {
            instruction: row.instruction_index,
            preference,
            length_1: row.len_output_1,
            length_2: row.len_output_2,
        });
    }
    match models.is_empty() {
        true => Err(Error::input(Place::file(path), "at least one annotation", "none")),
        false => Ok(models),
    }
}

/// The difficulty γ_x of each instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Difficulties {
    /// By instruction index.
    values: Vec<f64>,
    path: PathBuf,
}

#[derive(Deserialize)]
struct DifficultyRow {
    /// AlpacaEval's own file has no name for it.
    #[serde(alias = "")]
    instruction_index: usize,
    #[serde(alias = "instruction_difficulty")]
    difficulty: f64,
}

impl Difficulties {
    /// Reads `instruction_index, difficulty`, the indices 0, 1, 2, … in order.
    pub fn read(path: &Path) -> Result<Self> {
        let mut values = vec![];
        for (place, row) in read::<DifficultyRow>(path)? {
            if row.instruction_index != values.len() {
                return Err(Error::input(
                    place.field("instruction_index"),
                    format!("{}, the next in order", values.len()),
                    row.instruction_index,
                ));
            }
            values.push(finite(row.difficulty, place, "difficulty")?);
        }
        Ok(Self { values, path: path.into() })
    }

    /// Errors: the file ends before `instruction`.
    pub fn of(&self, instruction: usize) -> Result<f64> {
        self.values.get(instruction).copied().ok_or_else(|| {
            Error::input(
                Place::file(&self.path),
                format!("a difficulty for instruction {instruction}"),
                format!("{} instructions", self.values.len()),
            )
        })
    }
}

#[derive(Deserialize)]
struct WeightsRow {
    #[serde(alias = "")]
    generator: String,
    #[serde(alias = "np.tanh(std_delta_len)")]
    weight_length: f64,
    #[serde(alias = "instruction_difficulty")]
    weight_difficulty: f64,
    #[serde(alias = "not_gamed_baseline.astype(float)")]
    weight_constant: f64,
}

/// Reads published coefficients by generator: `generator, weight_length, weight_difficulty,
/// weight_constant`, or a weights file of AlpacaEval's with its names for them.
pub fn read_weights(path: &Path) -> Result<HashMap<String, Weights>> {
    let rows = read::<WeightsRow>(path)?.into_iter();
    rows.map(|(place, row)| {
        let weights = Weights {
            length: finite(row.weight_length, place.clone(), "weight_length")?,
            difficulty: finite(row.weight_difficulty, place.clone(), "weight_difficulty")?,
            constant: finite(row.weight_constant, place, "weight_constant")?,
        };
        Ok((row.generator, weights))
    })
    .collect()
}

/// One row of a gamed baseline, whose outputs are made to win by their length.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Anchor {
    /// The model's share of the win, in [0, 1]; `None`: no verdict.
    #[serde(rename = "preference", deserialize_with = "number_or_nothing")]
    pub positive: Option<f64>,
    /// Δ/s, before the tanh.
    #[serde(rename = "std_delta_len")]
    pub standardised_length: f64,
    #[serde(rename = "instruction_difficulty")]
    pub difficulty: f64,
}

/// Reads AlpacaEval's `df_gamed.csv`, of which `preference` (0 to 1, or empty), `std_delta_len` and
/// `instruction_difficulty` are needed; other columns are allowed.
pub fn read_anchors(path: &Path) -> Result<Vec<Anchor>> {
    let rows = read::<Anchor>(path)?.into_iter();
    rows.map(|(place, anchor)| {
        if let Some(p) = anchor.positive.filter(|p| !(0.0..=1.0).contains(p)) {
            return Err(Error::input(place.field("preference"), "0 to 1, or nothing", p));
        }
        finite(anchor.standardised_length, place.clone(), "std_delta_len")?;
        finite(anchor.difficulty, place, "instruction_difficulty")?;
        Ok(anchor)
    })
    .collect()
}

/// Whether a field is missing: empty, NaN, or what R, SQL and Python write for it, as in pandas.
fn number_or_nothing<'de, D: Deserializer<'de>>(field: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(field)?;
    if ["", "na", "nan", "none", "null"].contains(&text.to_ascii_lowercase().as_str()) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| D::Error::custom(format!("`{text}`, which is no number")))
}

/// Every row with its place.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<(Place, T)>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let headers = reader.headers().map_err(|e| fault(path, &e))?.clone();
    let mut rows = vec![];
    for record in reader.records() {
        let record = record.map_err(|e| fault(path, &e))?;
        let place = match record.position() {
            Some(at) => Place::file(path).line(at.line() as usize),
            None => Place::file(path),
        };
        rows.push((place, record.deserialize(Some(&headers)).map_err(|e| fault(path, &e))?));
    }
    Ok(rows)
}

fn fault(path: &Path, e: &csv::Error) -> Error {
    let place = match e.position() {
        Some(at) => Place::file(path).line(at.line() as usize),
        None => Place::file(path),
    };
    let got = match e.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields instead of {expected_len}")
        }
        other => format!("{other:?}"),
    };
    Error::input(place, "a CSV row with the columns of its header", got)
}

fn finite(value: f64, place: Place, field: &str) -> Result<f64> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(Error::input(place.field(field), "a finite number", value)),
    }
}
