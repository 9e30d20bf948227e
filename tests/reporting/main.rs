//! From records to reports: statistics, stored runs, tables. Synthetic records only.

mod cases;
mod clusters;
mod decisions;
#[path = "../common/git.rs"]
mod git;
mod log;
mod paper;
mod planted;
mod readme;
mod records;
mod rooms;
mod stats;
mod store;
mod table2;
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
mod toy_tokens;
mod verify;

use lpc::config::*;
use lpc::run::records::Record;
use lpc::seed;
use toy_recipe::toy_recipe;

/// A recipe whose numbers print alike in every JSON library.
fn recipe() -> Recipe {
    let recipe = toy_recipe();
    Recipe {
        seed: 7,
        model: ModelSource::World { shape: Shape::Mistral },
        data: DataSource::World(World { seed: 1, train: 64, test: 20, sharpness: 2.5, ..World::default() }),
        truncation: Truncation { max_length: 128, max_prompt_length: 96 },
        training: Training { adam_epsilon: 0.0001, ..recipe.training },
        ..recipe
    }
}

/// `n` answers of a run of seed `run`, right about as often as `accuracy`. The pairs themselves
/// (ids, sources, `bayes`) are the same for every run.
fn synthetic(run: u64, n: usize, accuracy: f64) -> Vec<Record> {
    let mut rng = seed::stream(run, "synthetic answers");
    let mut world = seed::stream(0, "synthetic pairs");
    (0..n)
        .map(|index| {
            let bayes = 0.2 + 0.8 * seed::open_unit(&mut world);
            let size = seed::open_unit(&mut rng);
            let correct = seed::open_unit(&mut rng) < accuracy;
            Record {
                index,
                id: format!("pair-{index}"),
                source: ["sharegpt", "flan", "truthful | qa"][seed::below(&mut world, 3)].into(),
                margin: if correct { size } else { -size },
                correct,
                bayes: Some(bayes),
                policy_chosen_logps: -10.0 * size,
                policy_rejected_logps: -11.0 * size,
                reference_chosen_logps: None,
                reference_rejected_logps: None,
                marginal_loss: None,
                bound_gap: None,
            }
        })
        .collect()
}
