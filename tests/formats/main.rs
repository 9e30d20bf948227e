//! Formats that others define: preference data in, models and metrics out. Expected values come from
//! TRL, pyarrow, transformers and TensorBoard (fixtures/loading/generate_*.py).

mod binarized;
mod columns;
mod configs;
mod overlap;
mod parquet;
mod preferences;
mod quantised;
mod real_data;
mod saving;
mod support;
mod tensorboard;
#[allow(dead_code)]
#[path = "../loading/tiny.rs"]
mod tiny;
mod transformers;
