//! `lpc push`: a run's model on the hub.

use super::PushArguments;
use super::output::print_line;
use crate::error::{Error, Place, Result};
use crate::experiment::saved::is_run;
use crate::model::load::hub::push::{Destination, push};
use crate::progress::Progress;

pub fn run(arguments: PushArguments) -> Result<()> {
    let model = arguments.run.join("model");
    // Written last: without it the others are no model.
    if !is_run(&arguments.run) || !model.join("config.json").is_file() {
        let expected = "a run that holds its model (`lpc train`, or --keep-models)";
        let got = if arguments.run.is_dir() { "another folder" } else { "no such folder" };
        return Err(Error::input(Place::file(arguments.run), expected, got));
    }
    let PushArguments { repository: id, revision, private, .. } = &arguments;
    let to = Destination { id, revision, private: *private };
    let pushed = push(&model, to, &Progress::stderr())?;
    match pushed.commit {
        Some(commit) => {
            print_line(format_args!("new or changed: {}", pushed.files.join(", ")))?;
            print_line(format_args!("{} at commit {commit}", pushed.page))
        }
        None => print_line(format_args!("{} has all of it already", pushed.page)),
    }
}
