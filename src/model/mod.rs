//! Decoder, heads, weights in and out, tokenizer, chat template.

pub mod chat_template;
pub mod config;
pub mod load;
pub mod save;
pub mod tokenizer;
