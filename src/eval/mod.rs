//! What is measured of a trained policy.

pub mod clusters;
pub mod generation;
pub mod harness;
pub mod journal;
pub mod judge;
pub mod loglikelihood;
pub mod predictor;
pub mod preference;
pub mod stats;
pub mod tasks;
pub mod winrate;
