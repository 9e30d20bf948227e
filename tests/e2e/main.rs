//! The program as a user runs it: whole tables, interruptions, bad input.

mod bad_input;
mod baselines;
mod check;
mod equal_completions;
mod exact_latents;
mod figure1;
mod flat;
mod help;
mod interrupted;
mod one_code;
#[path = "../common/outcome.rs"]
mod outcome;
mod plan;
#[path = "../common/program.rs"]
mod program;
mod saved_run;
mod second_data;
mod study;
mod support;
mod table1;
mod table2;
#[path = "../common/tiny.rs"]
mod tiny;
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
#[path = "../common/toy_runs.rs"]
mod toy_runs;
mod world;
