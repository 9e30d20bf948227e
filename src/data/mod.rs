//! Preference data: pairs, the built-in world, batches.

pub mod batch;
pub mod noise;
pub mod pairs;
pub mod tokenize;
pub mod world;
