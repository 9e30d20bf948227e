//! Decoder, heads, weights in and out, tokenizer, chat template.

pub mod batch;
pub mod by_hand;
pub mod config;
pub mod decoder;
pub mod fused;
pub mod gradients;
pub mod heads;
pub mod inference;
pub mod load;
pub mod parameters;
pub mod policy;
pub mod rotary;
pub mod rows;
pub mod save;
