use super::*;
use crate::config::{DataSource, Recipe, World};
use crate::plan::matrix::{Matrix, MatrixCell};

fn study(arms: &str, tests: &str) -> Result<Study> {
    let text = format!("title = 'T'\nseeds = [101, 102]\nobjective = 'DPO'\n{arms}\n{tests}");
    Study::parse(&text, Path::new("study.toml"))
}

const ARMS: &str = "[[arms]]\nname = 'plain'\nset.latent = { mode = 'none' }\n[[arms]]\nname = 'LPC'\n\
                    [[arms]]\nname = 'K=8'\nset.latent.codes = 8";

fn test(rule: &str) -> String {
    format!("[[questions]]\nid = 'q'\nasks = 'Q?'\n[[questions.tests]]\nid = 't'\nclaim = 'C'\nrule = {rule}")
}

#[test]
fn arms_vary_the_cell_of_the_matrix() {
    let study = study(ARMS, &test("{ kind = 'positive', contrast = { LPC = 1, plain = -1 } }")).unwrap();
    let matrix = Matrix::built_in(Scale::Toy).unwrap();
    let cells = study.cells(&matrix, Scale::Toy, None).unwrap().cells;
    assert_eq!(cells.len(), 6);
    let of_table2 = |latent| {
        let same = |c: &&MatrixCell| c.objective == "DPO" && c.latent == latent && c.recipe.seed == 102;
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
    assert!(one("{ kind = 'positive', contrast = { LPC = 1 } }").contains("weights that add up to 0, got 1"));
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
    assert!(built_in.same_experiment(&fewer, Scale::Small) && !built_in.same_experiment(&fewer, Scale::Toy));
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
    let (DataSource::World(first), DataSource::World(second)) = (first.unwrap().data, plain.unwrap().data)
    else {
        panic!("toy data is the built-in world");
    };
    assert_eq!(second, World { seed: 20261128, ..first.clone() });
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
