//! Standard output. A reader that has had enough (`lpc ... | head`) ends the program quietly.

use crate::{Error, Result};
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Writes `text` and flushes it.
///
/// Errors: standard output cannot be written, as on a full disk.
pub(super) fn print(text: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        // Whatever is worth keeping is on disk before it is talked about.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(Error::io("standard output")),
    }
}

/// As [`print`], with a line's end.
pub(super) fn print_line(text: impl Display) -> Result<()> {
    print(format_args!("{text}\n"))
}
