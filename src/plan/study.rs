//! What a study asks, the arms that answer it, and the rules of its verdicts: all stated in its
//! recipe before anything runs.

use crate::config::{DataSource, Latent, Recipe, World, from_toml};
use crate::error::{Error, Place, Result};
use crate::plan::Scale;
use crate::plan::Table;
use crate::plan::matrix::{Matrix, MatrixCell};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table as Keys, Value};

/// Arms that vary one cell of a scale's run matrix: the cell with LPC of one objective on its first
/// model, so that arms which vary nothing are table 2's own runs. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    pub title: String,
    pub seeds: Vec<u64>,
    /// Of the matrix.
    pub objective: String,
    /// The arm whose latents are laid out in two dimensions, those of the first seed's run.
    #[serde(default)]
    pub map: Option<String>,
    /// The arm whose codes are read, those of the first seed's run.
    #[serde(default)]
    pub codes: Option<String>,
    /// What arms on the second data set run on where the matrix has the built-in world's.
    #[serde(default)]
    pub second_world: Option<SecondWorld>,
    pub arms: Vec<Arm>,
    pub questions: Vec<Question>,
}

/// The built-in world, drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondWorld {
    pub seed: u64,
}

/// The pairs that an arm trains and is tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    #[default]
    Matrix,
    /// Another data set of the same kind: the second world, or the files of `--second-data`.
    Second,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub name: String,
    #[serde(default)]
    pub pairs: Pairs,
    /// Keys of the recipe that differ. A table that names another `mode` or `kind` takes the whole
    /// table's place.
    #[serde(default)]
    pub set: Keys,
    /// Scales that can run it; every one where none is named.
    #[serde(default)]
    pub scales: Vec<Scale>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub id: String,
    pub asks: String,
    pub tests: Vec<Test>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub id: String,
    pub claim: String,
    pub rule: Rule,
}

/// Of an arm in a contrast: beyond it nobody means accuracies, and squares must not overflow.
const LARGEST_WEIGHT: f64 = 100.0;

/// When a claim is supported. A contrast weighs the arms' accuracies; its weights add up to 0, and it
/// is paired by seed and test pair.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// The contrast is above 0, p < 0.05 after Holm's correction over the study; not supported: below.
    Positive { contrast: BTreeMap<String, f64> },
    /// The contrast's 95 % interval lies within ± so many points; not supported: outside.
    Within { contrast: BTreeMap<String, f64>, points: f64 },
    /// The 95 % interval of the ratio of the runs' seconds lies below; not supported: above.
    Cost { arm: String, of: String, at_most: f64 },
    /// More of the map's points than with sources in random order have the source that most of their
    /// neighbours have: p < 0.05, within the same correction.
    Clusters {},
}

impl Rule {
    /// The arms it needs.
    pub fn arms(&self) -> Vec<&str> {
        match self {
            Self::Positive { contrast } | Self::Within { contrast, .. } => {
                contrast.keys().map(String::as_str).collect()
            }
            Self::Cost { arm, of, .. } => vec![arm, of],
            Self::Clusters {} => vec![],
        }
    }
}

impl Study {
    /// The recipe that ships with the harness. Errors: a table that is no study.
    pub fn built_in(table: Table) -> Result<Self> {
        Self::parse(Self::built_in_text(table)?, Path::new(&format!("paper/recipes/{}.toml", table.name())))
    }

    /// The same questions of the same arms. Beyond the toy scale a study has as many seeds as hours allow, and
    /// its captions say how many.
    pub fn same_experiment(&self, other: &Self, scale: Scale) -> bool {
        let seedless = |study: &Self| Self { seeds: vec![], ..study.clone() };
        (scale != Scale::Toy || self.seeds == other.seeds) && seedless(self) == seedless(other)
    }

    /// Its text, which evidence holds.
    pub fn built_in_text(table: Table) -> Result<&'static str> {
        match table {
            Table::Figure2 => Ok(include_str!("../../paper/recipes/figure2.toml")),
            Table::Reviews => Ok(include_str!("../../paper/recipes/reviews.toml")),
            Table::Table1 | Table::Table2 | Table::Table3 => {
                Err(Error::argument("study", "table", table.name(), "figure2 or reviews"))
            }
        }
    }

    /// Errors: what is wrong, with file and line or key.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let study: Self = from_toml(text, path, "a valid study")?;
        let fault = |field: String, expected: &str, got: String| {
            Err(Error::input(Place::file(path).field(field), expected, got))
        };
        if study.seeds.is_empty() {
            return fault("seeds".into(), "at least one", "none".into());
        }
        let mut names: Vec<&str> = study.arms.iter().map(|a| a.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return fault("arms.name".into(), "each once", format!("{} twice", twice[0]));
        }
        let known = |name: &str| names.binary_search(&name).is_ok();
        if let Some(arm) = study.arms.iter().find(|a| a.pairs == Pairs::Second)
            && study.second_world.is_none()
        {
            return fault(
                "second_world".into(),
                "its seed, for an arm on the second data set",
                arm.name.clone(),
            );
        }
        for (key, arm) in [("map", &study.map), ("codes", &study.codes)] {
            if let Some(arm) = arm.as_deref().filter(|arm| !known(arm)) {
                return fault(key.into(), "an arm of the study", arm.into());
            }
        }
        let mut ids = vec![];
        for test in study.questions.iter().flat_map(|q| &q.tests) {
            let field = |key: &str| format!("test {}: {key}", test.id);
            if ids.contains(&&test.id) {
                return fault(field("id"), "given once", test.id.clone());
            }
            ids.push(&test.id);
            if let Some(arm) = test.rule.arms().into_iter().find(|arm| !known(arm)) {
                return fault(field("rule"), "arms of the study", arm.into());
            }
            if test.rule == (Rule::Clusters {}) && study.map.is_none() {
                return fault(field("rule"), "a study with a map", "none".into());
            }
            if let Rule::Positive { contrast } | Rule::Within { contrast, .. } = &test.rule {
                let sum: f64 = contrast.values().sum();
                if !sum.is_finite() || sum.abs() > 1e-9 || contrast.values().all(|w| *w == 0.0) {
                    return fault(field("contrast"), "weights that add up to 0", sum.to_string());
                }
                if let Some(weight) = contrast.values().find(|w| w.abs() > LARGEST_WEIGHT) {
                    return fault(field("contrast"), "weights of at most 100", weight.to_string());
                }
            }
        }
        Ok(study)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn study(arms: &str, tests: &str) -> Result<Study> {
        let text = format!("title = 'T'\nseeds = [1, 2]\nobjective = 'DPO'\n{arms}\n{tests}");
        Study::parse(&text, Path::new("study.toml"))
    }

    const ARMS: &str = "[[arms]]\nname = 'plain'\nset.latent = { mode = 'none' }\n[[arms]]\nname = 'LPC'\n\
                        [[arms]]\nname = 'K=8'\nset.latent.codes = 8";

    fn test(rule: &str) -> String {
        format!(
            "[[questions]]\nid = 'q'\nasks = 'Q?'\n[[questions.tests]]\nid = 't'\nclaim = 'C'\nrule = {rule}"
        )
    }

    #[test]
    fn arms_vary_the_cell_of_the_matrix() {
        let study = study(ARMS, &test("{ kind = 'positive', contrast = { LPC = 1, plain = -1 } }")).unwrap();
        let matrix = Matrix::built_in(Scale::Toy).unwrap();
        let cells = study.cells(&matrix, Scale::Toy, None).unwrap().cells;
        assert_eq!(cells.len(), 6);
        let of_table2 = |latent| {
            let same = |c: &&MatrixCell| c.objective == "DPO" && c.latent == latent && c.recipe.seed == 2;
            matrix.cells().iter().find(same).unwrap().recipe.clone()
        };
        assert_eq!(cells[3].recipe, of_table2(false));
        assert_eq!(cells[4].recipe, of_table2(true));
        assert_eq!(cells[5].recipe.latent.codes().unwrap().codes, 8);
        assert_eq!((cells[5].objective.as_str(), cells[5].latent, cells[3].latent), ("K=8", true, false));
    }

    #[test]
    fn faults_are_named() {
        let one = |rule: &str| study(ARMS, &test(rule)).unwrap_err().to_string();
        assert!(
            one("{ kind = 'positive', contrast = { LPC = 1 } }").contains("weights that add up to 0, got 1")
        );
        assert!(
            one("{ kind = 'positive', contrast = { LPC = 1, K = -1 } }").contains("arms of the study, got K")
        );
        assert!(
            one("{ kind = 'within', points = 1.0, contrast = { LPC = 1e3, plain = -1e3 } }")
                .contains("at most 100")
        );
        assert!(one("{ kind = 'better' }").contains("study.toml:"));
        let arm = |set: &str| {
            let study = study(&format!("questions = []\n[[arms]]\nname = 'a'\n{set}"), "").unwrap();
            study.cells(&Matrix::built_in(Scale::Toy).unwrap(), Scale::Toy, None).unwrap_err().to_string()
        };
        assert!(arm("set.latent.cods = 8").contains("unknown field `cods`"));
        assert!(arm("set.latent.codes = 0").contains("latent.codes = 0"));
        assert!(arm("set.latent = { mode = 'marginal' }").contains("missing field `codes`"));
    }

    /// Memory, places and, beyond the toy scale, more seeds are no other experiment; anything else is.
    #[test]
    fn what_is_the_same_experiment() {
        let small = Matrix::built_in(Scale::Small).unwrap();
        let changed = |change: fn(&mut Matrix)| {
            let mut other = small.clone();
            change(&mut other);
            small.same_experiment(&other)
        };
        assert!(changed(|m| (m.training.micro_batch_size, m.training.recompute) = (8, true)));
        assert!(changed(|m| m.seeds = vec![1, 2, 3]));
        assert!(!changed(|m| m.seeds = vec![2]));
        assert!(!changed(|m| m.training.batch_size = 4));
        assert!(!changed(|m| m.objectives.truncate(1)));
        let built_in = Study::built_in(Table::Figure2).unwrap();
        let fewer = Study { seeds: vec![1], ..built_in.clone() };
        assert!(
            built_in.same_experiment(&fewer, Scale::Small) && !built_in.same_experiment(&fewer, Scale::Toy)
        );
        let other = Study { map: None, ..built_in.clone() };
        assert!(!built_in.same_experiment(&other, Scale::Small));
    }

    #[test]
    fn the_studies_that_ship_are_valid() {
        for table in [Table::Figure2, Table::Reviews] {
            let study = Study::built_in(table).unwrap();
            for scale in [Scale::Toy, Scale::Small] {
                let planned = study.cells(&Matrix::built_in(scale).unwrap(), scale, None).unwrap();
                let ran = planned.cells.len() / study.seeds.len();
                assert_eq!(ran + planned.cannot_run.len(), study.arms.len());
                assert!(scale != Scale::Toy || planned.cannot_run.is_empty(), "{:?}", planned.cannot_run);
            }
        }
    }

    #[test]
    fn the_second_data_set_is_another_world_or_files() {
        let study = Study::built_in(Table::Reviews).unwrap();
        let at = |scale, second: Option<&DataSource>| {
            let planned = study.cells(&Matrix::built_in(scale).unwrap(), scale, second).unwrap();
            let of = |arm: &str| planned.cells.iter().find(|c| c.objective == arm).map(|c| c.recipe.clone());
            let arms = [of("DPO"), of("DPO, second data"), of("LPC, second data")];
            (arms, planned.cannot_run)
        };
        let ([first, plain, lpc], _) = at(Scale::Toy, None);
        let (DataSource::World(first), DataSource::World(second)) =
            (first.unwrap().data, plain.unwrap().data)
        else {
            panic!("toy data is the built-in world");
        };
        assert_eq!(second, World { seed: 20260102, ..first.clone() });
        assert_eq!(lpc.unwrap().data, DataSource::World(second));

        let ([_, plain, _], cannot) = at(Scale::Small, None);
        assert_eq!(plain, None);
        for arm in ["DPO, second data", "LPC, second data"] {
            assert!(cannot.iter().any(|(name, why)| name == arm && why.contains("--second-data")));
        }
        assert!(cannot.iter().any(|(name, why)| name == "told" && why == "an arm of the toy scale alone"));

        let files = DataSource::Jsonl {
            folder: "hh".into(),
            limit: None,
            empty_completion: crate::config::EmptyCompletion::LeaveOut,
            flip_rate: 0.0,
            flip_marked: false,
            identical_completions: Default::default(),
        };
        let ([first, plain, lpc], cannot) = at(Scale::Small, Some(&files));
        let plain = plain.unwrap();
        assert_eq!((&plain.data, &lpc.unwrap().data), (&files, &files));
        assert_eq!(Recipe { data: first.clone().unwrap().data, ..plain }, first.unwrap());
        assert!(cannot.iter().all(|(_, why)| why == "an arm of the toy scale alone"), "{cannot:?}");
    }
}
