//! What is measured of a trained policy.

pub mod generation;
pub mod journal;
pub mod judge;
pub mod preference;
pub mod stats;
pub mod winrate;
