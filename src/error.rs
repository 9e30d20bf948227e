//! One error type for the whole crate. Every message is one line that says what was
//! wrong, where, what was expected and what was found.

use std::fmt;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A function was called with a value it does not accept:
    /// `dpo_loss: beta = -0.1, expected finite and > 0`.
    #[error("{op}: {argument} = {got}, expected {expected}")]
    Argument { op: &'static str, argument: String, got: String, expected: String },

    /// Something the user gave is not what it should be:
    /// `pairs.jsonl:17: field `rejected`: expected a non-empty string, got nothing`.
    #[error("{place}: expected {expected}, got {got}")]
    Input { place: Place, expected: String, got: String },

    /// The operating system refused: `runs/ab/metrics.jsonl: No space left on device`.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },

    /// A tensor operation failed (a shape or device fault inside candle).
    #[cfg(feature = "train")]
    #[error("tensor: {0}")]
    Tensor(#[from] candle_core::Error),

    /// Training produced a number that is not finite; nothing was updated with it.
    #[error("step {step}: {what} = {got}, expected finite; {kept}")]
    Diverged { step: usize, what: &'static str, got: f64, kept: String },

    /// The user asked to stop; the work can be resumed.
    #[error("interrupted: {resume}")]
    Interrupted { resume: String },
}

/// Where in the user's input a fault lies: file, then line, then field, as far as known.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub path: PathBuf,
    pub line: Option<usize>,
    pub field: Option<String>,
}

impl Place {
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// 1-based line number.
    pub fn line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": field `{field}`")?;
        }
        Ok(())
    }
}

impl Error {
    pub fn argument(
        op: &'static str,
        argument: impl Into<String>,
        got: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Argument { op, argument: argument.into(), got: got.to_string(), expected: expected.into() }
    }

    pub fn input(place: Place, expected: impl Into<String>, got: impl fmt::Display) -> Self {
        Self::Input { place, expected: expected.into(), got: got.to_string() }
    }

    /// For `map_err`: `fs::read(p).map_err(Error::io(p))`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }
}
