//! Files of data sets on the Hugging Face hub, downloaded once into its cache.

use crate::error::{Error, Place, Result};
use crate::model::load::{hub, one_line};
use hf_hub::{Repo, RepoType};
use std::path::PathBuf;

/// One file of the data set `id`, from the cache where it is there. `HF_ENDPOINT`, `HF_HOME` and
/// `HF_TOKEN` mean what they mean for models.
///
/// Errors: the hub has no such file, or cannot be reached.
pub fn dataset_file(id: &str, name: &str) -> Result<PathBuf> {
    let repo = Repo::new(id.into(), RepoType::Dataset);
    hub::api().and_then(|api| api.repo(repo).get(name)).map_err(|e| {
        Error::input(Place::file(format!("{id}/{name}")), "a file of a data set from the hub", one_line(e))
    })
}
