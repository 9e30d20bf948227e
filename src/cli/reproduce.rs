//! `lpc reproduce`: a scale's matrix with what the command line changes in it.

use super::{ReproduceArguments, Target};
use crate::config::{DataSource, EmptyCompletion, ModelSource};
use crate::experiment::matrix::{Matrix, Model};
use crate::experiment::table2::{self, Settings};
use crate::progress::Progress;
use crate::report::table::marked;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

pub fn run(arguments: ReproduceArguments, runs: PathBuf, threads: usize) -> Result<()> {
    let scale = arguments.scale.into();
    let mut matrix = match &arguments.recipe {
        Some(path) => Matrix::read(path)?,
        None => Matrix::built_in(scale)?,
    };
    apply(&arguments, &mut matrix)?;
    let settings =
        Settings { scale, runs, reports: arguments.reports, threads, keep_models: arguments.keep_models };
    let progress = Progress::stderr();
    let reproduced = match arguments.target {
        Target::Table2 => table2::reproduce(&matrix, &settings, &progress)?,
    };
    println!("{}", marked("table2", &reproduced.markdown).unwrap_or(&reproduced.markdown));
    println!("written: {}", reproduced.folder.join("table2.{md,csv,svg}").display());
    Ok(())
}

fn apply(arguments: &ReproduceArguments, matrix: &mut Matrix) -> Result<()> {
    if let Some(seeds) = arguments.seeds {
        matrix.seeds = (1..=seeds.max(1)).collect();
    }
    if let Some(folder) = &arguments.data {
        let empty_completion = EmptyCompletion::LeaveOut;
        matrix.data = DataSource::Jsonl { folder: folder.clone(), limit: None, empty_completion };
    }
    if let Some(n) = arguments.limit {
        match &mut matrix.data {
            DataSource::World(world) => (world.train, world.test) = (n, n),
            DataSource::Jsonl { limit, .. } => *limit = Some(n),
        }
    }
    if let Some(path) = &arguments.model {
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into());
        let source = model_source(path);
        matrix.models = match matrix.models.as_slice() {
            [one] if one.source != source => vec![Model { source, ..one.clone() }],
            _ => vec![Model { name, paper: None, source }],
        };
    }
    if !arguments.objectives.is_empty() {
        let known: Vec<String> = matrix.objectives.iter().map(|o| o.name.clone()).collect();
        if let Some(unknown) = arguments.objectives.iter().find(|o| !known.contains(o)) {
            return Err(Error::argument("reproduce", "--objectives", unknown, known.join(", ")));
        }
        matrix.objectives.retain(|o| arguments.objectives.contains(&o.name));
    }
    Ok(())
}

/// A folder, or a file that is or holds a GGUF.
pub fn model_source(path: &Path) -> ModelSource {
    if path.is_dir() {
        ModelSource::Folder { path: path.into() }
    } else {
        ModelSource::Gguf { path: path.into() }
    }
}
