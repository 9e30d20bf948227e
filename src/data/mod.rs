//! Preference data: pairs, the built-in world, batches.

pub mod batch;
pub mod hub;
pub mod noise;
pub mod pairs;
pub mod tokenize;
pub mod world;
