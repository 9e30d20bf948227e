//! Decoder, heads, weights in and out, tokenizer, chat template.

pub mod by_hand;
pub mod chat_template;
pub mod config;
pub mod decoder;
pub mod dialogue;
pub mod fused;
pub mod heads;
pub mod inference;
pub mod load;
pub mod message;
pub mod panics;
pub mod parameters;
pub mod policy;
pub mod python_json;
pub mod rotary;
pub mod rows;
pub mod save;
pub mod tokenizer;
