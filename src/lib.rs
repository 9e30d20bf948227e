//! Latent Preference Coding, re-derived, re-trained and re-measured.
//!
//! | paper | module |
//! |---|---|
//! | §3.1–3.4, Appendix A: the formulas, for reading: the reference implementation | [`spec`] (ndarray, f64) |
//! | the same formulas, for training: β enters here | [`tensor`] (candle) |
//! | loops, matrix products and memory for this machine; the only unsafe code | [`machine`] |
//! | §4.1: the recipe of a run: its objective, latent, data and training settings | [`config`] |
//! | Figure 1: the decoder and the batches that it reads; models loaded and saved | [`model`] |
//! | §3.3, Figure 1: codebook, prior and posterior, and the latents that LPC is compared with | [`latent`] |
//! | who computes, on which device: the decoder forward, backward and with a cache | [`passes`] |
//! | messages, chat templates, tokenizers: which tokens are scored | [`text`] |
//! | §4.1: preference data; the built-in world | [`data`] |
//! | §4.1: loss, optimiser, schedule, training steps | [`train`] |
//! | §4: preference accuracy and its statistics; generation; AlpacaEval 2's judge and win rates | [`eval`] |
//! | §4: the run matrices and studies that are to be run | [`plan`] |
//! | what a run leaves behind: records, manifest, evidence | [`run`] |
//! | trains and measures what a plan asks for | [`experiment`] |
//! | which test holds which equation | [`verify`] |
//! | a pair's loss from given numbers, by both implementations of the formulas | [`check`] |
//! | tables, figures and the page from the records of runs | [`report`] |
//! | every number back to its evidence; the paper's own tables examined | [`audit`] |
//! | the commands of `lpc` | [`cli`] |
//! | what the others share | [`error`], [`seed`], [`files`], [`progress`], [`interrupt`], [`visible`], [`python_numbers`] |
//!
//! `CONTRIBUTING.md` says where to add an objective, a latent, an exhibit or a device, file by file, and where
//! β enters and where the number in a cell of a table comes from. `tests/rooms.toml` says which module may use which.
//!
//! Without the default feature `train`, only [`spec`], [`verify`] and what they use ([`config`], [`error`],
//! [`seed`]) are built, and no candle.

#![deny(unsafe_code)]

#[cfg(feature = "train")]
pub mod audit;
#[cfg(feature = "train")]
pub mod check;
#[cfg(feature = "train")]
pub mod cli;
pub mod config;
#[cfg(feature = "train")]
pub mod data;
pub mod error;
#[cfg(feature = "train")]
pub mod eval;
#[cfg(feature = "train")]
pub mod experiment;
#[cfg(feature = "train")]
pub mod files;
#[cfg(feature = "train")]
pub mod interrupt;
#[cfg(feature = "train")]
pub mod latent;
#[cfg(feature = "train")]
#[allow(unsafe_code)]
pub mod machine;
#[cfg(feature = "train")]
pub mod model;
#[cfg(feature = "train")]
pub mod passes;
#[cfg(feature = "train")]
pub mod plan;
#[cfg(feature = "train")]
pub mod progress;
#[cfg(feature = "train")]
pub mod python_numbers;
#[cfg(feature = "train")]
pub mod report;
#[cfg(feature = "train")]
pub mod run;
pub mod seed;
pub mod spec;
#[cfg(feature = "train")]
pub mod tensor;
#[cfg(feature = "train")]
pub mod text;
#[cfg(feature = "train")]
pub mod train;
pub mod verify;
#[cfg(feature = "train")]
pub mod visible;

pub use error::{Error, Result};
