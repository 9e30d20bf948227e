//! The paper's formulas on candle tensors, for training: any device and dtype, autograd.
//!
//! Every formula has a twin of the same name in [`crate::spec`], written without sight of this
//! one; `tests/parity` holds the two together, values and gradients.

pub mod code_head;
pub mod codebook;
pub mod elbo;
pub mod gaussian;
pub mod gumbel;
pub mod latent;
pub mod lm_head;
pub mod logprob;
pub mod marginal;
pub mod numerics;
pub mod objective;
pub(crate) mod slices;
