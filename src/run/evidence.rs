//! The evidence of a published table, small enough to be committed beside it: the manifest and the test records
//! of every run, and its training curves with fewer points.
//!
//! `<table>.evidence.jsonl.gz` holds JSON lines: a header, columns of records (equal columns only once), and
//! runs. The records of each run can be rebuilt byte for byte; their SHA-256 is in the manifest.

use crate::config::{Objective, Recipe};
use crate::error::{Error, Place, Result};
use crate::files::{json_fault, sha256, write_atomic};
use crate::plan::Table;
use crate::run::codes::Codes;
use crate::run::manifest::Manifest;
use crate::run::records::Record;
use crate::run::store::{Store, recipe_text};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

/// Most points of a curve. Each point is the mean of equally many steps.
const CURVE_POINTS: usize = 64;

/// Most bytes that are read. It is far more than any evidence, but a damaged file cannot fill the memory.
const LARGEST: u64 = 1 << 30;

/// The evidence of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub header: Header,
    columns: Vec<Column>,
    pub runs: Vec<Run>,
}

/// What was planned, whether or not all of it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    pub table: Table,
    pub scale: crate::plan::Scale,
    /// Whether the run matrix is another than the one that ships with the scale.
    pub own: bool,
    pub notes: Vec<String>,
    pub seeds: Vec<u64>,
    pub bases: Vec<Base>,
    pub objectives: Vec<String>,
    /// Everything else that the table's numbers depend on.
    pub settings: BTreeMap<String, f64>,
    /// A study's recipe: its arms, questions and rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_run: Vec<NotRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<CodesOfRun>,
}

/// How one of the runs uses its codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodesOfRun {
    pub run: String,
    pub codes: Codes,
}

/// A planned run that did not finish, or all runs of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRun {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    /// None means every seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub why: String,
}

impl Header {
    /// The notes, and what did not run and why.
    pub fn remarks(&self) -> Vec<String> {
        [self.notes.clone(), self.failures()].concat()
    }

    /// What did not run and why.
    pub fn failures(&self) -> Vec<String> {
        let failure = |n: &NotRun| {
            // An arm of a study is called by its name.
            let latent = if n.latent && self.plan.is_none() { " w. LPC" } else { "" };
            let seed = n.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
            format!("Not run: {}, {}{latent}{seed}: {}.", n.base, n.objective, n.why)
        };
        self.not_run.iter().map(failure).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    pub name: String,
    /// The paper's column this model stands for.
    pub paper: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub manifest: Manifest<Value>,
    /// For each field of [`Record`], in its order, its column. Null if it follows from the other fields.
    pub records: Vec<(String, Option<usize>)>,
    /// Columns of what the table itself measured, with one value for each example.
    pub measured: Vec<(String, usize)>,
    pub curves: Vec<(String, Vec<f32>)>,
}

/// One field of all records of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Column {
    /// Numbers that single precision holds exactly. They are shorter when written as f32.
    F32(Vec<f32>),
    Json(Vec<Value>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Header(Box<Header>),
    Column(Column),
    Run(Box<Run>),
}

impl Evidence {
    pub fn new(header: Header) -> Self {
        Self { header, columns: vec![], runs: vec![] }
    }

    /// Adds a finished run of `store`.
    ///
    /// `measured`: what the table measured besides the run's own records, by name.
    /// Errors: the run is not finished or its files are damaged.
    pub fn add(
        &mut self,
        store: &Store,
        id: &str,
        cell: (&str, &str, bool),
        measured: Vec<(String, Vec<f64>)>,
    ) -> Result<()> {
        let records = store.records(id)?;
        let Some(manifest) = store.finished(id)? else {
            return Err(Error::input(Place::file(store.folder(id)), "a finished run", "no manifest.json"));
        };
        let curves = curves(&store.folder(id).join("metrics.jsonl"))?;
        self.push(manifest, &records, cell, measured, curves)
    }

    /// As [`Evidence::add`], for a run that is already read.
    ///
    /// Errors: the columns do not give back the records whose hash the manifest holds.
    pub fn push(
        &mut self,
        manifest: Manifest,
        records: &[Record],
        cell: (&str, &str, bool),
        measured: Vec<(String, Vec<f64>)>,
        curves: Vec<(String, Vec<f32>)>,
    ) -> Result<()> {
        let implied = implied_margins(&manifest.recipe, records);
        let manifest = with_json(manifest)?;
        let rows: Vec<Value> = records
            .iter()
            .map(|r| {
                serde_json::to_value(r).map_err(|e| Error::argument("evidence", "record", e, "plain data"))
            })
            .collect::<Result<_>>()?;
        let fields: Vec<String> =
            rows.first().and_then(Value::as_object).map_or(vec![], |first| first.keys().cloned().collect());
        let mut columns = vec![];
        for field in fields {
            let derived = field == "correct" || (field == "margin" && implied);
            let values = rows.iter().map(|row| row[&field].clone()).collect();
            let column = if derived { None } else { Some(self.column(Column::of(values))) };
            columns.push((field, column));
        }
        let measured = measured
            .into_iter()
            .map(|(name, values)| {
                (name, self.column(Column::of(values.into_iter().map(Value::from).collect())))
            })
            .collect();
        let (base, objective, latent) = cell;
        let id = manifest.run.clone();
        let run = Run {
            base: base.into(),
            objective: objective.into(),
            latent,
            manifest,
            records: columns,
            measured,
            curves,
        };
        let rebuilt = self.records_text(&run)?;
        if sha256(rebuilt.as_bytes()) != run.manifest.sha256.records {
            let expected = "the bytes whose hash its manifest holds";
            return Err(Error::argument("evidence", format!("records of run {id}"), "others", expected));
        }
        self.runs.push(run);
        Ok(())
    }

    /// The number of this column. Equal columns are kept once.
    fn column(&mut self, column: Column) -> usize {
        self.columns.iter().position(|c| *c == column).unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        })
    }

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

    /// The runs of a cell, by seed.
    pub fn cell<'a>(&'a self, base: &str, objective: &str, latent: bool) -> Vec<&'a Run> {
        let of = |r: &&Run| r.base == base && r.objective == objective && r.latent == latent;
        let mut runs: Vec<&Run> = self.runs.iter().filter(of).collect();
        runs.sort_by_key(|r| r.seed());
        runs
    }

    /// The file's bytes: the same evidence gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let lines = std::iter::once(Line::Header(Box::new(self.header.clone())))
            .chain(self.columns.iter().cloned().map(Line::Column))
            .chain(self.runs.iter().cloned().map(|run| Line::Run(Box::new(run))));
        let mut writer =
            GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
        for line in lines {
            let text = serde_json::to_string(&line);
            let text = text.map_err(|e| Error::argument("evidence", "line", e, "plain data"))?;
            writeln!(writer, "{text}").map_err(Error::io("evidence"))?;
        }
        writer.finish().map_err(Error::io("evidence"))
    }

    /// A short form for pages that show many runs: of every record only its pair and the margin to three digits,
    /// of the curves only the loss and the accuracy.
    ///
    /// Errors: as [`Evidence::records`].
    pub fn abridged(&self) -> Result<Self> {
        let mut short = Self::new(self.header.clone());
        for run in &self.runs {
            let records = self.records(run)?;
            let column = |of: &dyn Fn(&Record) -> Value| Column::of(records.iter().map(of).collect());
            let margin = |r: &Record| format!("{:.2e}", r.margin).parse().map_or(0.0, |m: f32| f64::from(m));
            let columns = [
                ("index", column(&|r| r.index.into())),
                ("id", column(&|r| r.id.clone().into())),
                ("source", column(&|r| r.source.clone().into())),
                ("margin", column(&|r| margin(r).into())),
                ("bayes", column(&|r| r.bayes.into())),
            ];
            let columns = columns.map(|(name, column)| (name.to_string(), Some(short.column(column))));
            let curves = run.curves.iter().filter(|(name, _)| name == "loss" || name == "accuracy");
            short.runs.push(Run {
                records: columns.into(),
                measured: vec![],
                curves: curves.cloned().collect(),
                ..run.clone()
            });
        }
        Ok(short)
    }

    /// Reads what [`Evidence::to_bytes`] wrote. `path` is for messages.
    ///
    /// Errors: the bytes are not gzip or damaged, or a line is not one of evidence.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut text = String::new();
        let mut reader = GzDecoder::new(bytes).take(LARGEST);
        reader.read_to_string(&mut text).map_err(|e| {
            Error::input(Place::file(path), "evidence, compressed by gzip", e.to_string().replace('\n', " "))
        })?;
        let mut evidence: Option<Self> = None;
        for (number, json) in text.lines().enumerate() {
            let place = || Place::file(path).line(number + 1);
            let line: Line = serde_json::from_str(json)
                .map_err(|e| Error::input(place(), "a line of evidence", json_fault(&e)))?;
            match (line, &mut evidence) {
                (Line::Header(header), None) if header.format == 1 => evidence = Some(Self::new(*header)),
                (Line::Column(column), Some(evidence)) => evidence.columns.push(column),
                (Line::Run(run), Some(evidence)) => evidence.runs.push(*run),
                _ => return Err(Error::input(place(), "one header of format 1, first", "another line")),
            }
        }
        evidence.ok_or_else(|| Error::input(Place::file(path), "a header", "an empty file"))
    }

    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read(path).map_err(Error::io(path))?, path)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.to_bytes()?)
    }
}

impl Run {
    /// 0 if the recipe has no seed. All of our recipes have one.
    pub fn seed(&self) -> u64 {
        self.manifest.recipe["seed"].as_u64().unwrap_or(0)
    }

    /// The recipe as this version reads it.
    ///
    /// Errors: the recipe is of a version with other keys.
    pub fn recipe(&self) -> Result<Recipe> {
        serde_json::from_value(self.manifest.recipe.clone()).map_err(|e| {
            Error::argument(
                "evidence",
                format!("recipe of run {}", self.manifest.run),
                e,
                "one of this version",
            )
        })
    }

    /// `recipe.toml` of the run.
    ///
    /// Errors: as [`recipe_text`].
    pub fn recipe_text(&self) -> Result<String> {
        recipe_text(&without_nulls(self.manifest.recipe.clone()))
    }
}

/// Leaves out nulls: TOML has none, and an absent key means the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other => other,
    }
}

/// The manifest with its recipe as JSON, so that keys of later versions do not make it unreadable.
fn with_json(m: Manifest) -> Result<Manifest<Value>> {
    let recipe = serde_json::to_value(&m.recipe)
        .map_err(|e| Error::argument("evidence", "recipe", e, "plain data"))?;
    let Manifest { run, data, model, code, machine, outcome, sha256, .. } = m;
    Ok(Manifest { run, recipe, data, model, code, machine, outcome, sha256 })
}

impl Column {
    fn of(values: Vec<Value>) -> Self {
        let single = |v: &Value| {
            let wide = v.is_f64().then(|| v.as_f64()).flatten()?;
            (f64::from(wide as f32).to_bits() == wide.to_bits()).then_some(wide as f32)
        };
        match values.iter().map(single).collect() {
            Some(numbers) => Self::F32(numbers),
            None => Self::Json(values),
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
fn implied_margins(recipe: &Recipe, records: &[Record]) -> bool {
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
