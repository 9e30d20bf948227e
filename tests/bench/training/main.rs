//! Training speed and memory beside the Python peers': `just bench`.

mod compare;
mod ours;
mod report;
mod shapes;

use clap::{Args, Parser, ValueEnum};
use lpc::config::Precision;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: lpc::machine::allocator::Allocator = lpc::machine::allocator::ALLOCATOR;

#[derive(Parser)]
enum Command {
    /// Both sides in turns; writes bench.md and bench.csv, and goes on from what is in the latter
    Compare(Compare),
    /// Optimiser steps in this process
    Steps(Steps),
    /// Forward and backward passes in this process
    Plain(Plain),
}

#[derive(Args)]
pub struct Compare {
    /// A Python that has torch, transformers and trl
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Real pairs (JSONL), tokenised by --model, a GGUF file
    #[arg(long, requires = "model")]
    data: Option<PathBuf>,
    #[arg(long)]
    model: Option<PathBuf>,
    /// Only comparisons whose names begin so
    #[arg(long)]
    only: Vec<String>,
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
}

#[derive(Args)]
pub struct Steps {
    /// Pairs as token ids, one step a batch of them
    pairs: PathBuf,
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Precision,
    #[arg(long, value_enum, default_value = "plain")]
    loss: Loss,
    #[arg(long, default_value_t = shapes::BATCH)]
    micro_batch: usize,
    #[arg(long)]
    recompute: bool,
}

#[derive(Args)]
pub struct Plain {
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Precision,
    #[arg(long, default_value_t = 4)]
    batch: usize,
    #[arg(long, default_value_t = 256)]
    tokens: usize,
    #[arg(long, default_value_t = 3)]
    steps: usize,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Loss {
    Plain,
    Gumbel,
    ExactElbo,
    Marginal,
}

fn main() -> ExitCode {
    lpc::machine::allocator::keep_freed_memory();
    // Cargo appends --bench.
    let arguments = std::env::args().filter(|a| a != "--bench");
    let command = Command::parse_from(arguments);
    // On a thread of the pool, as the program does.
    let done = rayon::scope(|_| match command {
        Command::Steps(steps) => ours::steps(&steps),
        Command::Plain(plain) => ours::plain(&plain),
        Command::Compare(compare) => compare::run(&compare),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
