//! The runs of a study: each arm varies the recipe of one cell of the matrix.

use super::{Arm, Pairs, Study};
use crate::config::{DataSource, Latent, Recipe, World};
use crate::error::{Error, Result};
use crate::plan::Scale;
use crate::plan::matrix::{Matrix, MatrixCell};
use toml::{Table as Keys, Value};

impl Study {
    /// Every run, seed by seed, and the arms that cannot run, with the reason. An arm's name stands where
    /// a table has its objective's.
    ///
    /// `second`: pairs from files, for the arms on the second data set.
    /// Errors: an objective that the matrix lacks, an arm whose keys make no recipe.
    pub fn cells(&self, matrix: &Matrix, scale: Scale, second: Option<&DataSource>) -> Result<Planned> {
        let cells = matrix.cells();
        let base = cells
            .iter()
            .find(|c| c.latent && c.objective == self.objective)
            .ok_or_else(|| Error::argument("study", "objective", &self.objective, "one of the run matrix"))?;
        let mut planned = Planned { cells: vec![], cannot_run: vec![] };
        let mut recipes = vec![];
        for arm in &self.arms {
            match self.pairs_of(arm, scale, &base.recipe.data, second) {
                Ok(data) => recipes.push((arm, arm.recipe(&Recipe { data, ..base.recipe.clone() })?)),
                Err(why) => planned.cannot_run.push((arm.name.clone(), why)),
            }
        }
        for (key, wanted) in [("map", &self.map), ("codes", &self.codes)] {
            let of = recipes.iter().find(|(arm, _)| Some(&arm.name) == wanted.as_ref());
            if let Some((arm, _)) = of.filter(|(_, recipe)| recipe.latent.codes().is_none()) {
                return Err(Error::argument("study", key, &arm.name, "an arm whose latent has codes"));
            }
        }
        for &seed in &self.seeds {
            for (arm, recipe) in &recipes {
                planned.cells.push(MatrixCell {
                    base: base.base.clone(),
                    objective: arm.name.clone(),
                    latent: recipe.latent != Latent::None {},
                    recipe: Recipe { seed, ..recipe.clone() },
                });
            }
        }
        Ok(planned)
    }

    /// What an arm's data is before its own keys are set, or why it has none.
    fn pairs_of(
        &self,
        arm: &Arm,
        scale: Scale,
        first: &DataSource,
        second: Option<&DataSource>,
    ) -> std::result::Result<DataSource, String> {
        if !arm.scales.is_empty() && !arm.scales.contains(&scale) {
            let scales: Vec<&str> = arm.scales.iter().map(|s| s.name()).collect();
            return Err(format!("an arm of the {} scale alone", scales.join(" and ")));
        }
        match (arm.pairs, first, second) {
            (Pairs::Matrix, ..) => Ok(first.clone()),
            (Pairs::Second, _, Some(second)) => Ok(second.clone()),
            (Pairs::Second, DataSource::World(world), None) => {
                let seed = self.second_world.map_or(world.seed, |second| second.seed);
                Ok(DataSource::World(World { seed, ..world.clone() }))
            }
            (Pairs::Second, DataSource::Jsonl { .. }, None) => {
                Err("no second data set was given (--second-data)".into())
            }
        }
    }
}

/// What of a study runs, and what does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub cells: Vec<MatrixCell>,
    /// Arms, and why.
    pub cannot_run: Vec<(String, String)>,
}

impl Arm {
    fn recipe(&self, base: &Recipe) -> Result<Recipe> {
        let fault = |got: String| {
            Error::argument("study", format!("arm {}", self.name), got.replace('\n', " "), "keys of a recipe")
        };
        let mut keys = Keys::try_from(base).map_err(|e| fault(e.to_string()))?;
        merge(&mut keys, &self.set);
        let recipe: Recipe = keys.try_into().map_err(|e: toml::de::Error| fault(e.message().into()))?;
        recipe.validate().map_err(|e| fault(e.to_string()))?;
        Ok(recipe)
    }
}

fn merge(keys: &mut Keys, set: &Keys) {
    for (key, value) in set {
        match (keys.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if same_variant(old, new) => merge(old, new),
            _ => {
                keys.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Keys of another variant would mean nothing beside this one's.
fn same_variant(old: &Keys, new: &Keys) -> bool {
    ["mode", "kind"].iter().all(|tag| new.get(*tag).is_none_or(|v| old.get(*tag) == Some(v)))
}
