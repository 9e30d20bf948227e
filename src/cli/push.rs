//! `lpc push`: a run's model on the hub.

use super::output::print_line;
use crate::Result;
use crate::experiment::subject::model_of;
use crate::model::load::hub::push::{Destination, push};
use crate::progress::Progress;
use clap::Args;
use std::path::PathBuf;

/// Publish a run's model on the Hugging Face hub, with its tokenizer, model card and LPC's own files
///
/// Needs a token that may write: HF_TOKEN, or `hf auth login`. The repository and the branch are made if
/// they do not exist. Only files that the hub does not have yet are sent.
///
/// Example: lpc push runs/0123456789abcdef organisation/name --private
#[derive(Debug, Args)]
pub(super) struct PushArguments {
    /// Folder of a run that holds its model
    run: PathBuf,
    /// Where to publish it: organisation/name
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Make the repository private. It is an error if it is public already
    #[arg(long)]
    private: bool,
    /// Branch to commit to
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    revision: String,
}

pub(super) fn run(arguments: PushArguments) -> Result<()> {
    let model = model_of(&arguments.run)?;
    let PushArguments { repository: id, revision, private, .. } = &arguments;
    let to = Destination { id, revision, private: *private };
    let pushed = push(&model, to, &Progress::stderr())?;
    match pushed.commit {
        Some(commit) => {
            print_line(format_args!("new or changed: {}", pushed.files.join(", ")))?;
            print_line(format_args!("{} at commit {commit}", pushed.page))
        }
        None => print_line(format_args!("{} already has all files", pushed.page)),
    }
}
