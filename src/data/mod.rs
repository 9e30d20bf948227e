//! Preference data: pairs, the built-in world, batches.

pub mod noise;
pub mod pairs;
pub mod world;
