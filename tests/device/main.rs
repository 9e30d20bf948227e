//! The GPU's kernels and its whole pass, run on the host as their device: held to f64.

mod attention;
mod budget;
mod codes;
#[path = "../common/decoders.rs"]
mod decoders;
mod optimiser;
mod pass;
mod pointwise;
#[path = "../common/random_pairs.rs"]
mod random_pairs;
#[path = "../common/random_settings.rs"]
mod random_settings;
mod state;
mod step;
mod tools;
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
