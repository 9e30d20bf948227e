//! Our implementations against each other and against other people's.
//!
//! `objectives`, `latents`, `logprobs`, `whole_loss` and `training` hold `tensor` to `spec`: the
//! two were written apart, so what they agree on, neither copied.

mod baselines;
mod bf16;
mod codes;
mod composed;
mod decoder;
mod gradients;
mod kernels;
mod latents;
mod logprobs;
mod long_rows;
mod numerics;
mod objectives;
mod packing;
mod support;
mod training;
mod twins;
mod whole_loss;
