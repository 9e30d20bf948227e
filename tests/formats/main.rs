//! Formats that others define: preference data in, models and metrics out. Expected values come from
//! TRL, pyarrow, transformers and TensorBoard (fixtures/loading/generate_*.py).

mod binarized;
mod columns;
mod configs;
#[path = "../common/message.rs"]
mod message;
#[path = "../common/outcome.rs"]
mod outcome;
mod overlap;
mod parquet;
mod preferences;
#[path = "../common/program.rs"]
mod program;
mod quantised;
mod real_data;
mod saving;
mod support;
mod tensorboard;
#[path = "../common/tiny.rs"]
mod tiny;
#[path = "../common/tiny_files.rs"]
mod tiny_files;
mod transformers;
