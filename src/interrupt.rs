//! Ctrl-C: the first asks running work to stop at the next safe point, the second ends it.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Exit status of a run that was interrupted, as shells report SIGINT.
pub const EXIT_CODE: i32 = 130;

/// Installs the handler for SIGINT, SIGTERM and SIGHUP. Call once, from `main`.
pub fn install() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE);
        }
        eprintln!("\nstopping at the next step; once more to stop at once");
    };
    // Without a handler the work is still safe: every write is atomic.
    if let Err(e) = ctrlc::set_handler(handler) {
        tracing::warn!("no Ctrl-C handler: {e}");
    }
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error if a stop was asked for, saying what was going on.
pub fn check(work: &str) -> crate::Result<()> {
    if requested() { Err(crate::Error::Interrupted { resume: format!("during {work}") }) } else { Ok(()) }
}
