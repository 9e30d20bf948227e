//! The benchmarks: prompts and verdicts against lm-eval, the inference path against the plain decoder,
//! LPC at test time against its definition.

mod command;
#[path = "../common/decoders.rs"]
mod decoders;
#[path = "../common/difference.rs"]
mod difference;
mod faults;
mod formats;
mod hub;
mod inference;
mod latents;
mod oracle;
#[path = "../common/outcome.rs"]
mod outcome;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/tiny.rs"]
mod tiny;
