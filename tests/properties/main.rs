//! Mathematical properties of `spec`, on random data and random hyper-parameters.

mod baselines;
mod bound;
mod codes;
mod equations;
mod errors;
mod extremes;
mod gradients;
mod heads_input;
mod logprob;
#[path = "../common/message.rs"]
mod message;
mod objectives;
mod rewards;
mod rules;
mod sampling;
mod support;
