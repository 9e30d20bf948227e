//! From records up to run, recipe and data, every link by its hash.

use super::{Audit, code};
use crate::config::{DataSource, ModelSource, Recipe, World};
use crate::experiment::base;
use crate::experiment::dataset::TextPairs;
use crate::files::{sha256, sha256_file};
use crate::run::evidence::{Evidence, Run, curves};
use crate::run::manifest::Manifest;
use crate::run::numerics::NUMERICS;
use crate::run::records::Record;
use crate::run::store::{Store, run_id};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(super) fn check(audit: &mut Audit, evidence: &Evidence, runs: &Path) {
    let header = &evidence.header;
    let table = header.table.name();
    let store = Store::new(runs);
    let mut seen = BTreeSet::new();
    let (mut chained, mut compared) = (0, 0);
    let mut data = Data::default();
    for run in &evidence.runs {
        let m = &run.manifest;
        let lpc = if run.latent { "with" } else { "without" };
        let place = format!(
            "{table}: {}, {}, {lpc} LPC, seed {}, run {}",
            run.base,
            run.objective,
            run.seed(),
            m.run
        );
        let before = audit.differences();
        if !seen.insert((&run.base, &run.objective, run.latent, run.seed())) {
            audit.difference(&place, "this seed of the cell is there twice");
        }
        let planned =
            header.bases.iter().any(|b| b.name == run.base) && header.objectives.contains(&run.objective);
        if !planned || run.latent == (m.recipe["latent"]["mode"] == "none") {
            audit.difference(&place, "its recipe or its names are not those of its cell");
        }
        let records = identity(audit, &place, evidence, run);
        if let Some(records) = &records {
            metrics(audit, &place, m, records);
            // What is not the recipe of its run may ask for a world of any size.
            if audit.differences() == before {
                match run.recipe() {
                    Ok(recipe) => data.check(audit, &place, &recipe, m, records),
                    Err(e) => audit.flag(&place, format!("its data cannot be generated again: {e}")),
                }
            }
        }
        if audit.differences() == before {
            chained += 1;
        }
        if store.folder(&m.run).is_dir() {
            compared += 1;
            stored(audit, &place, evidence, run, &store);
        }
    }
    let n = evidence.runs.len();
    audit.checked.push(format!(
        "{table}: {chained} of {n} runs: records to manifest, manifest to recipe, data and base model by their hashes"
    ));
    audit.checked.push(format!("{table}: {}", data.says()));
    audit.checked.push(format!(
        "{table}: {compared} of {n} runs are in {}; those were compared byte for byte",
        runs.display()
    ));
    code::check(audit, evidence);
}

/// Id and records against the manifest.
fn identity(audit: &mut Audit, place: &str, evidence: &Evidence, run: &Run) -> Option<Vec<Record>> {
    let m = &run.manifest;
    let id = run_id(&m.recipe, &m.data, &m.model, m.numerics);
    if id != m.run {
        audit.difference(place, format!("recipe, data, base model and numerics hash to run {id}"));
    }
    match evidence.records_text(run) {
        Err(e) => audit.difference(place, e),
        Ok(text) if sha256(text.as_bytes()) != m.sha256.records => {
            audit.difference(place, "its records do not have the hash that its manifest states");
        }
        Ok(_) => return evidence.records(run).ok(),
    }
    None
}

/// What the manifest says of its records, recomputed.
fn metrics(audit: &mut Audit, place: &str, m: &Manifest<Value>, records: &[Record]) {
    if m.outcome.test_pairs != records.len() {
        audit
            .difference(place, format!("{} test pairs, but {} records", m.outcome.test_pairs, records.len()));
    }
    let mean =
        |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let right = records.iter().filter(|r| r.correct).count();
    for (name, value) in [
        ("test_accuracy", (!records.is_empty()).then(|| right as f64 / records.len() as f64)),
        ("test_marginal_loss", mean(records.iter().filter_map(|r| r.marginal_loss).collect())),
        ("test_bound_gap", mean(records.iter().filter_map(|r| r.bound_gap).collect())),
    ] {
        let stated = m.outcome.metrics.get(name).copied();
        if stated.map(f64::to_bits) != value.map(f64::to_bits) {
            audit.difference(place, format!("metric `{name}`: {stated:?}, its records give {value:?}"));
        }
    }
}

/// The run folder against the evidence, byte for byte.
fn stored(audit: &mut Audit, place: &str, evidence: &Evidence, run: &Run, store: &Store) {
    let (m, folder) = (&run.manifest, store.folder(&run.manifest.run));
    let same = |audit: &mut Audit, name: &str, expected: Option<Vec<u8>>| {
        let path = folder.join(name);
        match (std::fs::read(&path), expected) {
            (Err(e), _) => audit.difference(path.display(), e),
            (Ok(found), Some(expected)) if found == expected => {}
            _ => audit.difference(path.display(), format!("not what the evidence holds ({place})")),
        }
    };
    same(audit, "manifest.json", Some(m.to_json()));
    same(audit, "records.jsonl", evidence.records_text(run).ok().map(String::into_bytes));
    same(audit, "recipe.toml", run.recipe_text().ok().map(String::into_bytes));
    let path = folder.join("metrics.jsonl");
    match sha256_file(&path) {
        Err(e) => audit.difference(path.display(), e),
        Ok(hash) if hash != m.sha256.metrics => {
            audit.difference(
                path.display(),
                format!("sha256 {hash}, its manifest states {}", m.sha256.metrics),
            );
        }
        Ok(_) => match curves(&path) {
            Ok(curves) if curves == run.curves => {}
            Ok(_) => audit.difference(path.display(), "gives other curves than the evidence holds"),
            Err(e) => audit.difference(path.display(), e),
        },
    }
}

/// The built-in world, generated again.
#[derive(Default)]
struct Data {
    worlds: Vec<(World, Option<TextPairs>)>,
    /// By model, world and limits.
    fingerprints: BTreeMap<String, Option<String>>,
    regenerated: usize,
    elsewhere: usize,
}

impl Data {
    fn check(
        &mut self,
        audit: &mut Audit,
        place: &str,
        recipe: &Recipe,
        m: &Manifest<Value>,
        records: &[Record],
    ) {
        let (DataSource::World(world), ModelSource::World { shape }) = (&recipe.data, &recipe.model) else {
            self.elsewhere += 1;
            return;
        };
        if !self.worlds.iter().any(|(w, _)| w == world) {
            self.worlds.push((world.clone(), TextPairs::load(&recipe.data).ok()));
        }
        let text = self.worlds.iter().find(|(w, _)| w == world).and_then(|(_, text)| text.as_ref());
        let Some(text) = text else { return audit.difference(place, "its world cannot be generated") };
        let name = format!("{world:?} {shape:?} {:?}", recipe.truncation);
        let fingerprint = self.fingerprints.entry(name).or_insert_with(|| {
            let tokenizer = base::world_tokenizer(*shape).ok()?;
            Some(text.tokenized_by(&tokenizer, base::CONTEXT, &recipe.truncation).ok()?.fingerprint)
        });
        self.regenerated += 1;
        // Another version of the world may make other pairs.
        let ours = m.numerics == NUMERICS;
        let mut report = |what: String| match ours {
            true => audit.difference(place, what),
            false => audit.flag(
                place,
                format!("{what} (its arithmetic is version {}, this program's {NUMERICS})", m.numerics),
            ),
        };
        if fingerprint.as_deref() != Some(m.data.as_str()) {
            report("the built-in world, generated again, has another hash than `data`".into());
        }
        let bayes = |i: usize| text.bayes.as_ref().and_then(|b| b.get(i).copied());
        let other = records.iter().find(|r| {
            text.test.get(r.index).is_none_or(|pair| pair.id != r.id || pair.source != r.source)
                || r.bayes.map(f64::to_bits) != bayes(r.index).map(f64::to_bits)
        });
        if let Some(record) = other {
            report(format!("record {} is not of the world's test pair {}", record.index, record.id));
        }
    }

    fn says(&self) -> String {
        let mut text = format!("data of {} runs generated again and hashed", self.regenerated);
        if self.elsewhere > 0 {
            text += &format!(
                "; of {} runs the data are files of their own, taken by the hash they had",
                self.elsewhere
            );
        }
        text
    }
}
