//! The built-in preference world: is it what it says it is, and is it hard in the right way?

mod factors;
mod labels;
mod noise;
mod page;
mod probes;
mod vocabulary;
