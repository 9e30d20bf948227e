//! The program as a user runs it: whole tables, interruptions, bad input.

mod bad_input;
mod baselines;
mod check;
mod equal_completions;
mod exact_latents;
mod figure1;
mod help;
mod interrupted;
mod one_code;
mod saved_run;
mod second_data;
mod study;
mod support;
mod table1;
mod table2;
#[path = "../loading/tiny.rs"]
#[expect(dead_code, reason = "shared with another test target")]
mod tiny;
