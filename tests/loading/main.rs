//! Models, tokenizers and preference data from files: real, damaged and hostile ones.

mod allocations;
mod chat_template;
mod dialogues;
mod folder;
mod gguf;
mod hub;
mod hub_hostile;
mod hub_rules;
mod pairs;
mod push;
mod scored_tokens;
mod server;
mod smollm2;
mod splitting;
mod strangers;
mod template_date;
mod tiny;
mod tokenize;
mod trl_steps;
