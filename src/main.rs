//! `lpc`: see `lpc --help`.

use clap::Parser;
use lpc::cli::{Arguments, run};
use lpc::train::interrupt;
use std::io::Write;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // candle and gemm read this variable, rayon too; nothing else runs yet.
    // SAFETY: the process has a single thread here.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", arguments.threads_a_run().to_string()) };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    interrupt::install();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(std::io::stderr(), "lpc: {e}");
            match e {
                lpc::Error::Interrupted { .. } => ExitCode::from(interrupt::EXIT_CODE as u8),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
