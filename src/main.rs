//! `lpc`: see `lpc --help`.

use clap::Parser;
use lpc::cli::{Arguments, run};
use lpc::train::interrupt;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // candle and gemm read this variable, rayon too; nothing else runs yet.
    // SAFETY: the process has a single thread here.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", arguments.threads_a_run().to_string()) };
    interrupt::install();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lpc: {e}");
            match e {
                lpc::Error::Interrupted { .. } => ExitCode::from(interrupt::EXIT_CODE as u8),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
