//! The command line. Each command has a file with its arguments, its help text and what it does.

mod audit;
mod check;
mod codes;
mod completions;
mod data;
mod eval;
mod generate;
mod judge;
mod output;
mod plan;
mod preference;
mod push;
mod report;
mod reproduce;
mod shared;
mod train;
mod values;
mod verify;
mod winrate;
mod world;

use crate::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use values::DeviceName;

/// Latent Preference Coding, re-derived, re-trained and re-measured.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Number of threads. It changes the speed, not the results [default: all cores]
    #[arg(long, global = true, display_order = 900, value_name = "N", value_parser = values::up_to::<usize>(4096))]
    threads: Option<usize>,
    /// Folder of runs. Each run has its own folder in it, named by a hash of everything it was made from
    #[arg(long, global = true, display_order = 901, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Device that computes: cpu, or cuda[:N] if lpc was built with `--features cuda`
    #[arg(long, global = true, display_order = 902, default_value = "cpu", value_parser = values::device)]
    device: DeviceName,
}

#[derive(Debug, Subcommand)]
enum Command {
    Reproduce(reproduce::ReproduceArguments),
    Train(train::TrainArguments),
    Plan(plan::PlanArguments),
    #[command(subcommand)]
    Data(data::DataCommand),
    Eval(eval::EvalArguments),
    Generate(generate::GenerateArguments),
    Codes(codes::CodesArguments),
    Judge(judge::JudgeArguments),
    Winrate(winrate::WinrateArguments),
    Push(push::PushArguments),
    Check(check::CheckArguments),
    Report(report::ReportArguments),
    Audit(audit::AuditArguments),
    Completions(completions::CompletionsArguments),
    Verify(verify::VerifyArguments),
}

impl Arguments {
    /// Reads the command line. The error is clap's: it prints itself and ends the program.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().collect();
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(&line);
        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|e| reproduce::with_hint(e, &command, &line))
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Threads that one run uses. Toy runs on the CPU use one each, because several of them run at the same
    /// time. All other runs use every thread.
    pub fn threads_a_run(&self) -> usize {
        match &self.command {
            Command::Reproduce(r) if r.is_toy() && self.device == DeviceName::Cpu => 1,
            _ => self.threads(),
        }
    }
}

/// Carries out the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let (threads, device, runs) = (arguments.threads(), arguments.device, arguments.runs);
    match arguments.command {
        Command::Reproduce(reproduce) => reproduce::run(reproduce, runs, threads, device),
        Command::Train(train) => train::run(train, &runs, &device.open()?),
        Command::Plan(plan) => plan::run(plan),
        Command::Data(command) => data::run(command),
        Command::Eval(eval) => eval::run(eval, &runs, &device.open()?),
        Command::Generate(generate) => generate::run(generate, &device.open()?),
        Command::Codes(codes) => codes::run(codes, &device.open()?),
        Command::Judge(judge) => judge::run(judge, &runs),
        Command::Winrate(winrate) => winrate::run(winrate),
        Command::Push(push) => push::run(push),
        Command::Check(check) => check::run(check),
        Command::Report(report) => report::run(report),
        Command::Audit(audit) => audit::run(audit, &runs),
        Command::Completions(completions) => completions::run(completions),
        Command::Verify(verify) => verify::run(verify),
    }
}
