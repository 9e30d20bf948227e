//! A published folder of synthetic runs: small enough to audit hundreds of times.

use crate::toy_recipe::toy_recipe;
use lpc::config::*;
use lpc::experiment::base;
use lpc::experiment::dataset::TextPairs;
use lpc::plan::Scale;
use lpc::plan::Table;
use lpc::report::changes;
use lpc::report::publish::publish;
use lpc::run::evidence::{Base, Evidence, Header};
use lpc::run::manifest::{Machine, Outcome};
use lpc::run::numerics::NUMERICS;
use lpc::run::records::Record;
use lpc::run::store::{Begin, RunKey, Store};
use lpc::seed;
use std::path::PathBuf;

pub const PAIRS: usize = 30;

pub struct Published {
    pub root: tempfile::TempDir,
    pub ids: Vec<String>,
}

impl Published {
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("reports/toy")
    }

    pub fn runs(&self) -> PathBuf {
        self.root.path().join("runs")
    }

    /// One base model, DPO and SimPO, without and with LPC, seeds 1 and 2; the second seed of the last
    /// cell never ran.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().join("runs"));
        let mut evidence = Evidence::new(Header {
            format: 1,
            table: Table::Table2,
            scale: Scale::Toy,
            own: false,
            notes: vec!["Synthetic </script><b>records</b> & \"quotes\".".into()],
            seeds: vec![1, 2],
            bases: vec![Base { name: "toy <Llama>".into(), paper: Some("Llama3-8B".into()) }],
            objectives: vec!["DPO".into(), "SimPO".into()],
            settings: Default::default(),
            plan: None,
            not_run: vec![],
            codes: None,
        });
        let mut ids = vec![];
        for (objective, name) in
            [(Objective::Dpo { beta: 0.1 }, "DPO"), (Objective::Simpo { beta: 2.0, gamma: 0.5 }, "SimPO")]
        {
            for latent in [false, true] {
                for seed in [1, 2] {
                    if (name, latent, seed) != ("SimPO", true, 2) {
                        let id = train(&store, recipe(objective, latent, seed));
                        evidence.add(&store, &id, ("toy <Llama>", name, latent), vec![]).unwrap();
                        ids.push(id);
                    }
                }
            }
        }
        let published = Self { root, ids };
        let folder = published.folder();
        evidence.write(&folder.join("table2.evidence.jsonl.gz")).unwrap();
        publish(&folder).unwrap();
        changes::record(&folder, "The first run.").unwrap();
        published
    }
}

fn recipe(objective: Objective, latent: bool, seed: u64) -> Recipe {
    let gumbel = Latent::Gumbel {
        codes: 4,
        gumbel_tau: 1.0,
        kl_weight: 0.05,
        prior_weight: PriorWeight::Linear {},
        codebook_std: 0.02,
        heads_learning_rate: None,
        heads_input: Default::default(),
    };
    Recipe {
        seed,
        data: DataSource::World(World { seed: 3, train: 16, test: PAIRS, ..World::default() }),
        truncation: Truncation { max_length: 60, max_prompt_length: 30 },
        objective,
        latent: if latent { gumbel } else { Latent::None {} },
        ..toy_recipe()
    }
}

/// A finished run on the world's own pairs, its numbers drawn and its margins as evaluation makes them.
fn train(store: &Store, recipe: Recipe) -> String {
    let text = TextPairs::load(&recipe.data).unwrap();
    let tokenizer = base::world_tokenizer(Shape::Llama).unwrap();
    let data = text.tokenized_by(&tokenizer, base::CONTEXT, &recipe.truncation).unwrap().fingerprint;
    let key = RunKey { recipe, data, model: "model".into(), numerics: NUMERICS };
    let Begin::Train(claim) = store.begin(&key).unwrap() else { panic!("new") };
    let mut rng =
        seed::stream(key.recipe.seed, &format!("{:?}", (key.recipe.objective, key.recipe.latent.codes())));
    let mut draw = |low: f32, high: f32| low + (high - low) * seed::open_unit(&mut rng) as f32;
    let records: Vec<Record> = (0..PAIRS)
        .map(|index| {
            let [chosen, rejected] = [draw(-30.0, -5.0), draw(-31.0, -6.0)];
            let reference = [-12.25f32 - index as f32, -13.0 - index as f32 * 0.7];
            let margin = match key.recipe.objective {
                Objective::Simpo { .. } => f64::from(chosen / 7.0) - f64::from(rejected / 9.0),
                _ => f64::from((chosen - reference[0]) * 0.1) - f64::from((rejected - reference[1]) * 0.1),
            };
            let dpo = matches!(key.recipe.objective, Objective::Dpo { .. });
            let latent = key.recipe.latent.codes().is_some();
            Record {
                index,
                id: text.test[index].id.clone(),
                source: text.test[index].source.clone(),
                margin,
                correct: margin > 0.0,
                bayes: text.bayes.as_ref().map(|b| b[index]),
                policy_chosen_logps: chosen.into(),
                policy_rejected_logps: rejected.into(),
                reference_chosen_logps: dpo.then_some(reference[0].into()),
                reference_rejected_logps: dpo.then_some(reference[1].into()),
                marginal_loss: latent.then(|| draw(0.1, 2.0).into()),
                bound_gap: latent.then(|| draw(0.0, 0.5).into()),
            }
        })
        .collect();
    let line = |step: usize| {
        format!("{{\"step\":{step},\"loss\":{},\"latent\":{{\"kl\":0.5}}}}\n", 1.0 / (step + 1) as f64)
    };
    std::fs::write(claim.metrics(), (0..150).map(line).collect::<String>()).unwrap();
    let mean = |of: fn(&Record) -> Option<f64>| {
        let values: Vec<f64> = records.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let right = records.iter().filter(|r| r.correct).count();
    let mut metrics = [("test_accuracy".to_string(), right as f64 / PAIRS as f64)]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>();
    for (name, value) in
        [("test_marginal_loss", mean(|r| r.marginal_loss)), ("test_bound_gap", mean(|r| r.bound_gap))]
    {
        metrics.extend(value.map(|v| (name.to_string(), v)));
    }
    if key.recipe.latent.codes().is_some() {
        metrics.extend(
            [("kl", 0.25), ("prior_entropy", 1.3), ("code_perplexity", 3.5)].map(|(k, v)| (k.to_string(), v)),
        );
    }
    let outcome = Outcome {
        started: "2025-01-02T03:04:05Z".parse().unwrap(),
        finished: "2025-01-02T03:05:06.5Z".parse().unwrap(),
        wall_seconds: 61.5,
        peak_memory_mib: Some(99.5),
        steps: 150,
        metrics,
        train_pairs: 16,
        test_pairs: PAIRS,
        truncated: 0,
    };
    claim.finish(&records, Machine { device: "a CPU".into(), threads: 1 }, outcome).unwrap().run
}
