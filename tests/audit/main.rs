//! Numbers led back to their evidence: the paper's tables, and our own reports byte by byte.

mod committed;
#[path = "../common/git.rs"]
mod git;
mod page;
mod paper;
#[path = "../common/program.rs"]
mod program;
mod support;
mod tampered;
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
