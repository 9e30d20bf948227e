//! The paper's formulas on candle tensors, for training: any device and dtype, autograd.
//!
//! Every formula has a twin of the same name in [`crate::spec`], written without sight of this
//! one; `tests/parity` holds the two together, values and gradients.
//!
//! | equation | module |
//! |---|---|
//! | (4) rewards of a pair | [`objective::reward`] |
//! | (5) DPO, (12) SimPO, (13) IPO, the GPO family | [`objective`] |
//! | (6) marginal over codes | [`marginal`] |
//! | (7) evidence bound | [`elbo`] |
//! | (8), (9) posterior and prior networks, KL, α; the control's network | [`latent`] |
//! | (10) policy given a code | [`logprob`], in plain operations |
//! | (10) at the LM head, in bounded memory | [`lm_head`] for one h_z, [`code_head`] for every code at once |
//! | (11) relaxed samples, mixing, h_z | [`gumbel`], [`codebook`] |
//! | ours, to compare with: a Gaussian latent | [`gaussian`] |
//! | ours: what the networks read, if not hidden states as they are | [`heads_input`] |
//! | softmax and its relatives; products of factors rounded to bf16 | [`numerics`] |
//! | a CPU tensor's numbers as a slice | `slices` |

pub mod code_head;
pub mod codebook;
pub mod elbo;
pub mod gaussian;
pub mod gumbel;
pub mod heads_input;
pub mod latent;
pub mod lm_head;
pub mod logprob;
pub mod marginal;
pub mod numerics;
pub mod objective;
pub(crate) mod slices;
