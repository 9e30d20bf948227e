//! Preference data: pairs, the built-in world, batches.

pub mod pairs;
pub mod tokenize;
