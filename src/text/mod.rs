//! From conversations to token ids: messages, chat templates, tokenizers, and which tokens are scored.

pub mod chat_template;
pub mod dialogue;
pub mod message;
pub mod panics;
pub mod python_json;
pub mod tokenizer;
