//! The benchmarks: prompts and verdicts against lm-eval, the inference path against the plain decoder,
//! LPC at test time against its definition.

mod command;
mod faults;
mod formats;
mod hub;
mod inference;
mod latents;
mod oracle;
#[path = "../parity/support.rs"]
#[expect(dead_code, reason = "shared with another test target")]
mod support;
#[path = "../loading/tiny.rs"]
#[expect(dead_code, reason = "shared with another test target")]
mod tiny;
