//! What is measured of a trained policy.

pub mod preference;
