//! `lpc`: see `lpc --help`.

#![forbid(unsafe_code)]

use lpc::cli::{Arguments, run};
use lpc::interrupt;
use std::io::Write;
use std::process::ExitCode;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

#[global_allocator]
static ALLOCATOR: lpc::machine::allocator::Allocator = lpc::machine::allocator::ALLOCATOR;

fn main() -> ExitCode {
    lpc::machine::allocator::keep_freed_memory();
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(e) => e.exit(),
    };
    lpc::machine::threads::set(arguments.threads_a_run());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,usvg=error"));
    // At its finest the HTTP library logs every byte it sends, keys included.
    let no_wire = filter_fn(|event| !event.target().starts_with("ureq"));
    let lines = fmt::layer().with_writer(std::io::stderr).without_time();
    registry().with(lines).with(filter).with(no_wire).init();
    interrupt::install();
    // On a thread of the pool, which takes its share of every product: one outside would be put to
    // sleep and woken at each, some hundred times a token.
    match rayon::scope(|_| run(arguments)) {
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
