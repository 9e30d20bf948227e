//! Finished runs become evidence.

use super::records::implied_margins;
use super::{Column, Evidence, Run, curves};
use crate::error::{Error, Place, Result};
use crate::files::sha256;
use crate::run::manifest::Manifest;
use crate::run::records::Record;
use crate::run::store::Store;
use serde_json::Value;

impl Evidence {
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

    /// A short form for pages that show many runs: of the first `pairs` records only the pair and the margin to three
    /// digits, of the curves only the loss and the accuracy.
    ///
    /// Errors: as [`Evidence::records`].
    pub fn abridged(&self, pairs: usize) -> Result<Self> {
        let mut short = Self::new(self.header.clone());
        for run in &self.runs {
            let mut records = self.records(run)?;
            records.truncate(pairs);
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
}

/// The manifest with its recipe as JSON, so that keys of later versions do not make it unreadable.
fn with_json(m: Manifest) -> Result<Manifest<Value>> {
    let recipe = serde_json::to_value(&m.recipe)
        .map_err(|e| Error::argument("evidence", "recipe", e, "plain data"))?;
    let Manifest { run, data, model, numerics, code, machine, outcome, sha256, .. } = m;
    Ok(Manifest { run, recipe, data, model, numerics, code, machine, outcome, sha256 })
}
