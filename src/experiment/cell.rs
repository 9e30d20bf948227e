//! One run from its recipe to its records.

use crate::config::Recipe;
use crate::error::Place;
use crate::eval::preference::{Preference, score_pairs};
use crate::experiment::dataset::PairData;
use crate::experiment::prepared::Prepared;
use crate::experiment::reference::Reference;
use crate::experiment::trainable;
use crate::progress::Progress;
use crate::run::manifest::{Machine, Manifest, Outcome, peak_memory_mib};
use crate::run::model_card;
use crate::run::records::Record;
use crate::run::store::{Begin, Store};
use crate::train::fit::{FitInputs, Fitted, fit, steps};
use crate::{Error, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Instant;

/// Trains and scores a recipe unless `store` has it finished.
///
/// With `keep_model`, the trained model is saved in the run's folder.
pub fn train_and_score(
    recipe: &Recipe,
    name: &str,
    prepared: &Prepared,
    store: &Store,
    keep_model: bool,
    progress: &Progress,
) -> Result<Manifest> {
    let key = prepared.key(recipe)?;
    let recipe = &key.recipe;
    let claim = match store.begin(&key)? {
        Begin::Finished(manifest) => {
            let folder = store.folder(&manifest.run);
            if keep_model && !folder.join("model/config.json").is_file() {
                let expected = "a finished run with its model (delete the folder to train it again)";
                return Err(Error::input(Place::file(folder), expected, "no model"));
            }
            return Ok(*manifest);
        }
        Begin::Train(claim) => claim,
    };
    let started = Timestamp::now();
    let PairData { train, test, .. } = &prepared.data;
    let config = &prepared.base.config;
    let model = trainable::initial(recipe, prepared)?;
    let reference = prepared.reference.as_ref().filter(|_| recipe.objective.needs_reference());
    let inputs = FitInputs { recipe, config, pairs: train, reference: reference.map(|r| r.train.as_slice()) };
    let task = progress.task(name, steps(recipe, train.len()));
    let fitted = fit(&inputs, &model, claim.folder(), &task)?;
    drop(task);
    let scoring = Instant::now();
    let policy = model.policy(config, &recipe.latent, recipe.training.dtype)?;
    let test_reference = reference.map(|r| r.test.as_slice());
    let task = progress.task(format!("{name}: test"), test.len());
    let verdicts = score_pairs(recipe, policy.as_ref(), test, test_reference, &task)?;
    drop(task);
    let records = records(&prepared.data, &verdicts, reference);
    let outcome = outcome(started, &fitted, scoring.elapsed().as_secs_f64(), &prepared.data, &records);
    if keep_model {
        let folder = claim.folder().join("model");
        model.save(&folder, config, &prepared.base.tokenizer, recipe)?;
        model_card::write(&folder, &claim.run(), recipe, &prepared.base, &outcome)?;
    }
    claim.finish(&records, Machine::on(&prepared.device), outcome)
}

/// One record a test pair.
pub fn records(data: &PairData, verdicts: &[Preference], reference: Option<&Reference>) -> Vec<Record> {
    let record = |(index, verdict): (usize, &Preference)| Record {
        index,
        id: data.test_text[index].id.clone(),
        source: data.test_text[index].source.clone(),
        margin: verdict.margin,
        correct: verdict.margin > 0.0,
        bayes: data.bayes.as_ref().map(|b| b[index]),
        policy_chosen_logps: verdict.policy_chosen_logps,
        policy_rejected_logps: verdict.policy_rejected_logps,
        reference_chosen_logps: reference.map(|r| r.test[index].chosen.into()),
        reference_rejected_logps: reference.map(|r| r.test[index].rejected.into()),
        marginal_loss: verdict.marginal_loss,
        bound_gap: verdict.bound_gap,
    };
    verdicts.iter().enumerate().map(record).collect()
}

fn outcome(
    started: Timestamp,
    fitted: &Fitted,
    scoring: f64,
    data: &PairData,
    records: &[Record],
) -> Outcome {
    let accuracy = records.iter().filter(|r| r.correct).count() as f64 / records.len() as f64;
    let mut metrics = BTreeMap::from([("test_accuracy".to_string(), accuracy)]);
    // Test means; the gap is what (7) is off by, whatever was trained.
    for (name, of) in [
        ("test_marginal_loss", (|r: &Record| r.marginal_loss) as fn(&Record) -> _),
        ("test_bound_gap", |r: &Record| r.bound_gap),
    ] {
        let values: Vec<f64> = records.iter().filter_map(of).collect();
        if !values.is_empty() {
            metrics.insert(name.into(), values.iter().sum::<f64>() / values.len() as f64);
        }
    }
    if let Some(last) = &fitted.last {
        metrics.insert("train_loss".into(), last.loss);
        metrics.insert("train_accuracy".into(), last.accuracy);
        if let Some(latent) = &last.latent {
            metrics.insert("kl".into(), latent.kl);
            metrics.extend(latent.code_perplexity.map(|value| ("code_perplexity".into(), value)));
            metrics.extend(latent.prior_entropy.map(|value| ("prior_entropy".into(), value)));
        }
    }
    let [train, test] = [0, 1].map(|split| data.tokens[split].truncated);
    Outcome {
        started,
        finished: Timestamp::now(),
        wall_seconds: fitted.seconds + scoring,
        peak_memory_mib: peak_memory_mib(),
        steps: fitted.steps,
        metrics,
        train_pairs: data.train.len(),
        test_pairs: data.test.len(),
        truncated: train + test,
    }
}
