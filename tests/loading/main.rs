//! Models, tokenizers and preference data from files: real, damaged and hostile ones.

mod allocations;
mod chat_template;
mod folder;
mod gguf;
mod hub;
mod pairs;
mod scored_tokens;
mod smollm2;
mod splitting;
mod tiny;
mod tokenize;
