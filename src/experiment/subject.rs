//! What a user names to be measured or to write: a run with its model, or a base model.

use crate::config::{LatentAtTest, ModelSource, Precision, Recipe};
use crate::error::{Error, Place, Result};
use crate::experiment::prepared::reference_policy;
use crate::experiment::{saved, template_date};
use crate::files::sha256_file;
use crate::latent::HEADS;
use crate::model::load::{self, Loaded, load_tokenizer};
use crate::passes::policy::Policy;
use crate::text::tokenizer::TextTokenizer;
use candle_core::Device;
use std::path::{Path, PathBuf};

/// What a path or a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Named {
    /// The folder of a run.
    Run(PathBuf),
    Base(ModelSource),
}

/// What the user sets beside the recipe.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choices<'a> {
    /// The date that a chat template writes.
    pub template_date: Option<&'a str>,
    /// How z is chosen, for runs with LPC alone.
    pub latent: Option<LatentAtTest>,
}

/// A model that is ready to be measured or to write.
pub struct Subject {
    /// None for a base model.
    pub recipe: Option<Recipe>,
    pub loaded: Loaded,
    pub policy: Policy,
    /// The run's folder.
    run: Option<PathBuf>,
}

impl Named {
    /// A run's folder is a run. Any other folder, or a file, is a base model. Where no such path exists, the
    /// name is a model of the hub: `organisation/name` or `organisation/name@revision`.
    pub fn of(name: &Path) -> Self {
        match is_run(name) {
            true => Self::Run(name.into()),
            false => Self::Base(base_model(name)),
        }
    }

    /// The tokenizer alone, with its template's date.
    ///
    /// Errors: files that are missing or damaged.
    pub fn tokenizer(&self, template_date: Option<&str>) -> Result<TextTokenizer> {
        let (mut tokenizer, of_run) = match self {
            Self::Run(folder) => {
                let recipe = Recipe::read(&folder.join("recipe.toml"))?;
                let model = ModelSource::Folder { path: model_of(folder)? };
                (load_tokenizer(&model)?, recipe.template_date)
            }
            Self::Base(source) => (load_tokenizer(source)?, None),
        };
        if let Some(date) = template_date.or(of_run.as_deref()) {
            template_date::set(&mut tokenizer, date)?;
        }
        Ok(tokenizer)
    }
}

impl Subject {
    /// Reads a run or a base model, as [`Named::of`] tells them apart. Base models compute in f32.
    ///
    /// Errors: files that are missing or damaged, a run without its model, or `latent` for a model that has
    /// none.
    pub fn open(name: &Path, choices: Choices<'_>, device: &Device) -> Result<Self> {
        let mut subject = match Named::of(name) {
            Named::Run(folder) => {
                model_of(&folder)?;
                let (recipe, loaded, policy) = saved::load(&folder, device)?;
                Self { recipe: Some(recipe), loaded, policy, run: Some(folder) }
            }
            Named::Base(source) => {
                let loaded = load::load(&source)?;
                let policy = reference_policy(&loaded, Precision::F32, device)?;
                Self { recipe: None, loaded, policy, run: None }
            }
        };
        if let Some(date) = choices.template_date {
            template_date::set(&mut subject.loaded.tokenizer, date)?;
        }
        if let Some(latent) = choices.latent {
            if subject.policy.heads.is_none() {
                return Err(Error::argument("model", "--latent", "a model without LPC", "a run with LPC"));
            }
            if let Some(recipe) = &mut subject.recipe {
                recipe.evaluation.latent = latent;
            }
        }
        Ok(subject)
    }

    /// As [`Subject::open`], for a run only, with its recipe.
    ///
    /// Errors: also a base model.
    pub fn open_run(folder: &Path, choices: Choices<'_>, device: &Device) -> Result<(Recipe, Self)> {
        model_of(folder)?;
        let subject = Self::open(folder, choices, device)?;
        let recipe = subject.recipe.clone().expect("a run has a recipe");
        Ok((recipe, subject))
    }

    /// How z is chosen; None for a model without LPC.
    pub fn latent(&self) -> Option<LatentAtTest> {
        self.recipe.as_ref().filter(|_| self.policy.heads.is_some()).map(|recipe| recipe.evaluation.latent)
    }

    /// The files that decide what the model answers, by their hashes, and how z is chosen.
    ///
    /// Errors: files of the run that cannot be read.
    pub fn identity(&self) -> Result<String> {
        let mut identity = format!("{}\n{:?}\n", self.loaded.fingerprint, self.latent());
        let of_a_run = |folder: &PathBuf| [folder.join("recipe.toml"), folder.join("model").join(HEADS)];
        for file in self.run.iter().flat_map(of_a_run).filter(|file| file.is_file()) {
            identity += &sha256_file(&file)?;
        }
        Ok(identity)
    }
}

/// The folder of a run's model.
///
/// Errors: no run, or one without its model.
pub fn model_of(run: &Path) -> Result<PathBuf> {
    let model = run.join("model");
    // Written last: without it the other files are no model.
    if is_run(run) && model.join("config.json").is_file() {
        return Ok(model);
    }
    let got = match (run.is_dir(), is_run(run)) {
        (_, true) => "a run whose model was not kept",
        (true, _) => "another folder",
        (false, _) => "no such folder",
    };
    let expected = "a run that holds its model (`lpc train`, or `lpc reproduce` with --keep-models)";
    Err(Error::input(Place::file(run), expected, got))
}

fn is_run(folder: &Path) -> bool {
    folder.join("recipe.toml").is_file()
}

/// A folder, a file that is or holds a GGUF, or, where no such path exists, a model of the hub.
pub fn base_model(name: &Path) -> ModelSource {
    if name.is_dir() {
        return ModelSource::Folder { path: name.into() };
    }
    let hub = if name.exists() { None } else { hub_model(name) };
    hub.unwrap_or_else(|| ModelSource::Gguf { path: name.into() })
}

/// A misspelt path is no model of the hub: neither if its folder exists, nor if it has the suffix of a file.
fn hub_model(name: &Path) -> Option<ModelSource> {
    let file = name.extension().is_some_and(|e| e == "gguf" || e == "whl" || e == "zip");
    if file || name.parent()?.is_dir() {
        return None;
    }
    let text = name.to_str()?;
    let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
    let (organisation, model) = id.split_once('/')?;
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    (plain(organisation) && plain(model) && !revision.is_empty())
        .then(|| ModelSource::Hub { id: id.into(), revision: revision.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(id: &str, revision: &str) -> ModelSource {
        ModelSource::Hub { id: id.into(), revision: revision.into() }
    }

    #[test]
    fn hub_ids_and_paths() {
        let read = |text: &str| base_model(Path::new(text));
        assert_eq!(read("org/name-1.5B"), hub("org/name-1.5B", "main"));
        assert_eq!(read("org/name@v1.0"), hub("org/name", "v1.0"));
        assert_eq!(read("org/name@refs/pr/1"), hub("org/name", "refs/pr/1"));
        // `src` exists: its missing children are misspelt paths.
        for path in
            ["none", "models/none.gguf", "src/none", "a/b/c", "/org/name", "../name", "org/", "org/n@"]
        {
            assert_eq!(read(path), ModelSource::Gguf { path: path.into() }, "{path}");
        }
        assert_eq!(read("src"), ModelSource::Folder { path: "src".into() });
    }

    #[test]
    fn a_folder_with_a_recipe_is_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(Named::of(path), Named::Base(ModelSource::Folder { path: path.into() }));
        assert!(model_of(path).unwrap_err().to_string().ends_with("got another folder"));
        std::fs::write(path.join("recipe.toml"), "").unwrap();
        assert_eq!(Named::of(path), Named::Run(path.into()));
        assert!(model_of(path).unwrap_err().to_string().ends_with("got a run whose model was not kept"));
        assert!(model_of(&path.join("none")).unwrap_err().to_string().ends_with("got no such folder"));
    }
}
