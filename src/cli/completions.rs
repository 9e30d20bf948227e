//! `lpc completions`: completion of commands and options in a shell.

use super::{Arguments, output};
use crate::Result;
use clap::{Args, CommandFactory};

/// Print a script that completes lpc's commands and options in a shell
///
/// Example: lpc completions bash > ~/.local/share/bash-completion/completions/lpc
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    shell: clap_complete::Shell,
}

pub(super) fn run(arguments: CompletionsArguments) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "lpc", &mut script);
    output::print(String::from_utf8_lossy(&script))
}
