//! `paper/equations.md` joined with the tests that it names: which equation holds, by which check.

pub mod equations;
pub mod report;
pub mod suites;
