//! Decoder, heads, weights in and out, tokenizer, chat template.

pub mod config;
