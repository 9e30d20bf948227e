//! A run whose model was kept, read back.

use crate::config::Recipe;
use crate::error::Place;
use crate::experiment::cell;
use crate::experiment::prepared::Prepared;
use crate::experiment::settings::label;
use crate::experiment::template_date;
use crate::latent::HEADS;
use crate::model::load::{Loaded, huggingface};
use crate::model::parameters::Parameters;
use crate::passes::policy::Policy;
use crate::plan::matrix::MatrixCell;
use crate::progress::Progress;
use crate::run::manifest::Manifest;
use crate::run::store::Store;
use crate::{Error, Result};
use candle_core::Device;
use std::path::Path;

/// Recipe, decoder with tokenizer, and policy of a run's folder.
///
/// Errors: the folder holds no model (train with `lpc train` or `--keep-models`), or a file is
/// missing or damaged.
pub fn load(folder: &Path, device: &Device) -> Result<(Recipe, Loaded, Policy)> {
    let recipe = Recipe::read(&folder.join("recipe.toml"))?;
    let model = folder.join("model");
    let mut loaded = huggingface::load(&model)?;
    if let Some(date) = &recipe.template_date {
        template_date::set(&mut loaded.tokenizer, date)?;
    }
    let mut parameters = Parameters::from_tensors(&*loaded.tensors()?)?;
    if recipe.latent.has_heads() {
        let path = model.join(HEADS);
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let heads = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
        let damaged = |e| Error::input(Place::file(&path), "LPC's heads as safetensors", e);
        for (name, head) in heads.map_err(damaged)? {
            parameters.insert(&name, head)?;
        }
    }
    let parameters = parameters.on(device)?;
    let policy = Policy::new(&loaded.config, &parameters, &recipe.latent, recipe.training.dtype)?;
    Ok((recipe, loaded, policy))
}

/// Is `base` the model that this run began from, and so its reference?
///
/// Errors: the run has not finished, or another model lies where its recipe points today.
pub fn check_base(folder: &Path, base: &Loaded) -> Result<()> {
    let path = folder.join("manifest.json");
    let manifest = Manifest::read(&path)?;
    if manifest.model == base.fingerprint {
        return Ok(());
    }
    let place = Place::file(path).field("model");
    Err(Error::input(place, "the base model that the recipe names", format!("another: {}", base.fingerprint)))
}

/// The id of the cell's run, finished and with its model. A finished run whose model was not kept is
/// trained again, to the same bytes.
pub(super) fn with_model(
    cell: &MatrixCell,
    prepared: &Prepared,
    store: &Store,
    progress: &Progress,
) -> Result<String> {
    let folder = store.folder(&prepared.key(&cell.recipe)?.id());
    if folder.join("manifest.json").is_file() && !folder.join("model/config.json").is_file() {
        std::fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    Ok(cell::train_and_score(&cell.recipe, &label(cell), prepared, store, true, progress)?.run)
}
