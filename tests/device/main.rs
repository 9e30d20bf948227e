//! The GPU's kernels and its whole pass, run on the host as their device: held to f64.

mod attention;
mod optimiser;
mod pass;
mod pointwise;
#[path = "../parity/support.rs"]
mod support;
mod tools;
