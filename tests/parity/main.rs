//! Our implementations against each other and against other people's.
//!
//! `objectives`, `latents`, `logprobs`, `whole_loss` and `training` hold `tensor` to `spec`: the
//! two were written apart, so what they agree on, neither copied.

mod baselines;
mod bf16;
mod codes;
#[path = "../common/composed.rs"]
mod composed;
mod decoder;
#[path = "../common/decoders.rs"]
mod decoders;
#[path = "../common/difference.rs"]
mod difference;
mod gradients;
mod heads_input;
mod kernels;
mod latents;
mod logprobs;
mod long_rows;
mod numerics;
mod objectives;
mod packing;
#[path = "../common/random_pairs.rs"]
mod random_pairs;
#[path = "../common/random_settings.rs"]
mod random_settings;
mod support;
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
mod training;
mod twins;
mod whole_loss;
