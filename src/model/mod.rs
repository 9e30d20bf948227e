//! The decoder: its parameters, what it reads, and how it is loaded and saved. [`crate::passes`] computes with it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the decoder's shape |
//! | [`parameters`] | the trainable tensors by name, those of a latent included |
//! | [`decoder`] | the same tensors by block |
//! | [`rotary`] | rotary position embeddings |
//! | [`rows`], [`batch`] | rows of tokens for one forward pass, and a batch of pairs as such rows |
//! | [`gradients`] | gradients by parameter name, summed over micro-batches |
//! | [`load`], [`save`] | models from GGUF files, Hugging Face folders and the hub; models written as a folder |

pub mod batch;
pub mod config;
pub mod decoder;
pub mod gradients;
pub mod load;
pub mod parameters;
pub mod rotary;
pub mod rows;
pub mod save;
