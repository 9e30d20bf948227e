//! The reference implementation of the paper's mathematics, for reading: ndarray, f64, pure functions,
//! closed-form gradients.
//!
//! Nothing here draws a random number (noise is an argument), reads a file or keeps a state.
//! Everything is in nats and in the log domain, and finite at |β·margin| = 1e4. One pair at a
//! time: a batch is a loop. [`crate::tensor`] computes the same functions, under the same
//! names, for training; neither side uses the other.
//!
//! | equation | function |
//! |---|---|
//! | (1), (3), (4) reward and policy | [`objective::reward`] |
//! | (2) Bradley–Terry | [`objective::bradley_terry`] |
//! | (5) DPO | [`objective::dpo`] |
//! | (6) marginal over codes | [`marginal`] |
//! | (7) evidence bound | [`elbo`] |
//! | (8), (9) posterior and prior networks, KL, α | [`latent`] |
//! | (10) policy given a code | [`logprob`] |
//! | (11) relaxed samples, mixing, h_z | [`gumbel`], [`codebook`] |
//! | (12) SimPO, (13) IPO, the GPO family | [`objective`] |
//! | ours, to compare with: a control, a Gaussian latent | [`latent::control_latent`], [`gaussian`] |
//! | ours: what the networks read, if not hidden states as they are | [`heads_input`] |
//! | the loss of a pair under each latent rule, and its gradient | [`gradient`] |
//!
//! A function named `f_gradient` is the closed-form derivative of `f`. Where `f` returns more
//! than one number it takes `upstream`, ∂loss/∂f, and returns ∂loss/∂(each argument).

mod check;
pub mod codebook;
pub mod elbo;
pub mod gaussian;
pub mod gradient;
pub mod gumbel;
pub mod heads_input;
pub mod latent;
pub mod logprob;
pub mod marginal;
pub mod numerics;
pub mod objective;
