//! Models, tokenizers and preference data from files: real, damaged and hostile ones.

mod allocations;
mod chat_template;
mod dialogues;
mod folder;
mod gguf;
#[path = "../common/http.rs"]
mod http;
mod hub;
mod hub_hostile;
mod hub_rules;
#[path = "../common/message.rs"]
mod message;
mod pairs;
#[path = "../common/program.rs"]
mod program;
mod push;
mod scored_tokens;
mod server;
mod smollm2;
mod splitting;
mod strangers;
mod template_date;
#[path = "../common/tiny.rs"]
mod tiny;
#[path = "../common/tiny_files.rs"]
mod tiny_files;
mod tokenize;
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
mod trl_steps;
