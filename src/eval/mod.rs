//! What is measured of a trained policy.

pub mod preference;
pub mod stats;
