//! `lpc reproduce`: a scale's matrix with what the command line changes in it.

use super::judge::address;
use super::output::print_line;
use super::values::model_source;
use super::{ReproduceArguments, Target};
use crate::config::{DataSource, EmptyCompletion};
use crate::eval::judge::Prompt;
use crate::experiment::second_data::SecondData;
use crate::experiment::study::{self, Plan};
use crate::experiment::table1::{self, Benchmarks};
use crate::experiment::table2::{self, Settings};
use crate::experiment::table3::{self, Endpoint, Files, Source};
use crate::experiment::{base, cell};
use crate::files::write_atomic;
use crate::plan::Table;
use crate::plan::matrix::{Matrix, Model};
use crate::plan::study::Study;
use crate::progress::Progress;
use crate::report::claims;
use crate::report::document::markdown::marked;
use crate::report::figure1::{self, Architecture};
use crate::report::publish;
use crate::{Error, Result};
use candle_core::Device;
use std::path::{Path, PathBuf};

pub fn run(arguments: ReproduceArguments, runs: PathBuf, threads: usize, device: Device) -> Result<()> {
    let scale = arguments.scale.into();
    let mut matrix = match &arguments.recipe {
        Some(path) => Matrix::read(path)?,
        None => Matrix::built_in(scale)?,
    };
    apply(&arguments, &mut matrix)?;
    let source = source(&arguments, &runs)?;
    let benchmarks = match &arguments.tasks {
        None => Benchmarks::World,
        Some(folder) => Benchmarks::Folder { folder: folder.clone(), limit: arguments.documents },
    };
    let (reports, keep_models) = (arguments.reports, arguments.keep_models);
    let template_date = arguments.date.template_date;
    let settings = Settings { scale, runs, reports, threads, device, keep_models, template_date };
    let progress = Progress::stderr();
    let study = matches!(arguments.target, Target::Figure2 | Target::Reviews);
    if let Some(path) = arguments.second_data.as_ref().filter(|_| !study) {
        let expected = "figure2 or reviews, whose studies have arms on a second data set";
        return Err(Error::argument("reproduce", "--second-data", path.display(), expected));
    }
    let (name, files, reproduced) = match arguments.target {
        Target::Claims => return claims(&settings.reports),
        Target::Figure1 => return figure1(&matrix, &settings, &progress),
        Target::Figure2 | Target::Reviews => {
            let table = if arguments.target == Target::Figure2 { Table::Figure2 } else { Table::Reviews };
            let mut plan = Plan::read(table, arguments.study.as_deref())?;
            if let Some(seeds) = arguments.seeds {
                plan.study.seeds = (1..=seeds).collect();
            }
            if let Some(path) = &arguments.second_data {
                plan.second = Some(second_data(path, &plan.study, &matrix, &settings.runs)?);
            }
            let files = match table {
                Table::Figure2 => "figure2.{md,csv,svg,png,tex,html}",
                _ => "reviews.{md,csv,svg,png,tex,html}",
            };
            (table.name(), files, study::reproduce(&plan, &matrix, &settings, &progress)?)
        }
        Target::Table1 => (
            "table1",
            "table1.{md,csv,tex} and index.html",
            table1::reproduce(&matrix, &settings, &benchmarks, &progress)?,
        ),
        Target::Table2 => (
            "table2",
            "table2.{md,csv,svg,tex} and index.html",
            table2::reproduce(&matrix, &settings, &progress)?,
        ),
        Target::Table3 => (
            "table3",
            "table3.{md,csv,tex} and index.html",
            table3::reproduce(&matrix, &settings, &source, &progress)?,
        ),
    };
    print_line(marked(name, &reproduced.markdown).unwrap_or(&reproduced.markdown))?;
    print_line(format_args!("written: {}", reproduced.folder.join(files).display()))
}

/// Files for a study's arms on a second data set, read before anything is trained.
fn second_data(path: &Path, study: &Study, matrix: &Matrix, runs: &Path) -> Result<SecondData> {
    let refused =
        |expected: &str| Err(Error::argument("reproduce", "--second-data", path.display(), expected));
    if study.arms.iter().all(|arm| arm.pairs != crate::plan::study::Pairs::Second) {
        return refused("a study with arms on a second data set");
    }
    match &matrix.data {
        DataSource::World(_) => refused("--data beside it: the built-in world has a second of its own"),
        DataSource::Jsonl { limit, .. } => SecondData::open(path, runs, *limit),
    }
}

/// A verdict on each of the paper's claims, from whatever evidence there is.
fn claims(reports: &Path) -> Result<()> {
    let findings = claims::findings(reports)?;
    let page = claims::markdown_page(&findings);
    write_atomic(&reports.join("claims.md"), page.as_bytes())?;
    write_atomic(&reports.join("claims.csv"), &claims::csv(&findings)?)?;
    print_line(page)?;
    print_line(format_args!("written: {}", reports.join("claims.{md,csv}").display()))
}

/// Draws the first model of a matrix with LPC; a toy base model that is missing is pre-trained.
fn figure1(matrix: &Matrix, settings: &Settings, progress: &Progress) -> Result<()> {
    let cells = matrix.cells();
    let Some(cell) = cells.iter().find(|cell| cell.latent) else {
        return Err(Error::argument("figure1", "matrix", "no cell with LPC", "at least one"));
    };
    let base = base::load(&cell.recipe.model, &settings.runs, progress)?;
    let parameters = cell::initial_parameters(&cell.recipe, &base)?;
    let svg = figure1::svg(&Architecture {
        model: &cell.base,
        scale: settings.scale.name(),
        config: &base.config,
        latent: cell.recipe.latent,
        objectives: matrix.objectives.iter().map(|o| o.objective).collect(),
        shapes: parameters.tensors().into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect(),
    })?;
    let own = !Matrix::built_in(settings.scale).is_ok_and(|built_in| built_in.same_experiment(matrix));
    let folder = settings.reports.join(format!("{}{}", settings.scale.name(), if own { "-own" } else { "" }));
    let path = folder.join("figure1.svg");
    write_atomic(&path, svg.as_bytes())?;
    publish::write_sums(&folder)?;
    print_line(format_args!("written: {}", path.display()))
}

/// Table 3's prompts and judge: files and an endpoint, or the built-in world.
fn source(arguments: &ReproduceArguments, runs: &Path) -> Result<Source> {
    let Some(prompts) = &arguments.prompts else { return Ok(Source::World) };
    let endpoint = match (&arguments.base_url, &arguments.judge) {
        (Some(url), Some(judge)) => Some(Endpoint {
            client: arguments.effort.client(url, judge)?,
            url: address(url).into(),
            judge: judge.clone(),
            prompt: arguments.judge_prompt.as_deref().map_or_else(|| Ok(Prompt::default()), Prompt::read)?,
            limits: arguments.effort.limits(),
            cache: arguments.effort.cache(runs),
        }),
        _ => None,
    };
    let baseline = arguments.baseline.as_deref();
    Ok(Source::Files(Box::new(Files::read(prompts, baseline, arguments.max_new_tokens, endpoint)?)))
}

fn apply(arguments: &ReproduceArguments, matrix: &mut Matrix) -> Result<()> {
    if let Some(seeds) = arguments.seeds {
        matrix.seeds = (1..=seeds).collect();
    }
    if let Some(folder) = &arguments.data {
        match &mut matrix.data {
            DataSource::Jsonl { folder: place, .. } => *place = folder.clone(),
            world => {
                *world = DataSource::Jsonl {
                    folder: folder.clone(),
                    limit: None,
                    empty_completion: EmptyCompletion::LeaveOut,
                    flip_rate: 0.0,
                    flip_marked: false,
                    identical_completions: Default::default(),
                }
            }
        }
    }
    if let Some(n) = arguments.limit {
        match &mut matrix.data {
            DataSource::World(world) => (world.train, world.test) = (n, n),
            DataSource::Jsonl { limit, .. } => *limit = Some(n),
        }
    }
    let training = &mut matrix.training;
    training.dtype = arguments.dtype.unwrap_or(training.dtype);
    training.micro_batch_size = arguments.micro_batch.unwrap_or(training.micro_batch_size);
    training.recompute |= arguments.recompute;
    if let Some(path) = &arguments.model {
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        // A file named after one of the scale's models is that model, wherever it lies.
        let known = matrix.models.iter().find(|m| is_file_of(&m.name, &name)).cloned();
        let model = known.unwrap_or(Model { name, paper: None, source: model_source(path) });
        matrix.models = vec![Model { source: model_source(path), ..model }];
    }
    if !arguments.objectives.is_empty() {
        let known: Vec<String> = matrix.objectives.iter().map(|o| o.name.clone()).collect();
        if let Some(unknown) = arguments.objectives.iter().find(|o| !known.contains(o)) {
            return Err(Error::argument("reproduce", "--objectives", unknown, known.join(", ")));
        }
        matrix.objectives.retain(|o| arguments.objectives.contains(&o.name));
    }
    matrix.cells().iter().try_for_each(|cell| cell.recipe.validate())
}

/// `SmolLM2.Q4_1.gguf` and a folder `SmolLM2` are SmolLM2; `SmolLM2-mine` is another model.
fn is_file_of(model: &str, file: &str) -> bool {
    file.strip_prefix(model).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_file_of;

    #[test]
    fn a_file_is_its_models_up_to_a_dot() {
        for file in ["SmolLM2", "SmolLM2.Q4_1.gguf"] {
            assert!(is_file_of("SmolLM2", file), "{file}");
        }
        for file in ["SmolLM2-mine.gguf", "SmolLM", "my-SmolLM2.gguf", ""] {
            assert!(!is_file_of("SmolLM2", file), "{file}");
        }
    }
}
