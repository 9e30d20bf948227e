//! Decoder, weights in and out.

pub mod batch;
pub mod config;
pub mod decoder;
pub mod gradients;
pub mod load;
pub mod parameters;
pub mod rotary;
pub mod rows;
pub mod save;
