//! A run matrix that takes seconds, its recipe, and what has run.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use std::path::PathBuf;

impl Settings {
    /// One base model, DPO and SimPO, without and with LPC, two seeds: eight runs.
    pub fn matrix(&self) -> String {
        format!(
            r#"seeds = [1, 2]
[[models]]
name = "toy Llama"
paper = "Llama3-8B"
source = {{ kind = "world", shape = "llama" }}
[[objectives]]
name = "DPO"
objective = {{ kind = "dpo", beta = 0.1 }}
[[objectives]]
name = "SimPO"
objective = {{ kind = "simpo", beta = 0.5, gamma = 0.1 }}
{}"#,
            self.data_and_training()
        )
    }

    /// One recipe: DPO with LPC.
    pub fn recipe(&self) -> String {
        format!(
            r#"seed = 1
model = {{ kind = "world", shape = "llama" }}
objective = {{ kind = "dpo", beta = 0.1 }}
{}"#,
            self.data_and_training()
        )
    }
}

impl Lpc {
    /// The folders of runs, finished or not.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path("runs")) else { return vec![] };
        let runs = entries.map(|e| e.unwrap().path()).filter(|p| p.join("recipe.toml").is_file());
        let mut runs: Vec<PathBuf> = runs.collect();
        runs.sort();
        runs
    }
}
