//! See lib.rs.

pub mod stats;
