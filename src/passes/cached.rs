//! A decoder for values alone: tokens behind caches of keys and values that others may share, many
//! sequences a pass.

use super::Passes;
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use candle_core::Tensor;
use std::any::Any;

/// Up to here a state and its scores do not depend on how many sequences are extended by a token at
/// once, to the last bit.
pub const FEW: usize = 8;

/// How a pass extends sequences.
pub trait Cached: Sync {
    /// Last hidden states of all new tokens, after the final norm, sequence after sequence; each
    /// cache then holds what later tokens need of them. Shapes: n tokens in all → [n, d].
    ///
    /// Errors: a position outside the context.
    fn extend(&self, extensions: &mut [Extension<'_>]) -> Result<Tensor>;

    /// Unnormalised scores of the next token. Shapes: states [n, d] → scores [n, V], whose memory is
    /// used again.
    fn logits(&self, states: &[f32], scores: &mut Vec<f32>) -> Result<()>;
}

/// A decoder that is only read.
pub struct Inference<'a> {
    decoder: &'a Decoder,
    cached: Box<dyn Cached + 'a>,
}

/// Keys and values of tokens already seen. It grows; what stands before it may be in other caches.
#[derive(Debug, Default)]
pub struct KvCache {
    /// In the form of the pass that extends it; nothing at first.
    held: Option<Box<dyn Any + Send + Sync>>,
    tokens: usize,
}

impl KvCache {
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Errors: another pass has extended it.
    pub(super) fn held<T: Any>(&self) -> Result<Option<&T>> {
        let held = self.held.as_ref();
        held.map(|held| held.downcast_ref().ok_or_else(of_another_pass)).transpose()
    }

    /// Errors: those of [`Self::held`].
    pub(super) fn held_mut<T: Any + Default + Send + Sync>(&mut self) -> Result<&mut T> {
        self.held.get_or_insert_with(|| Box::new(T::default())).downcast_mut().ok_or_else(of_another_pass)
    }
}

fn of_another_pass() -> Error {
    Error::argument("inference", "cache", "one of another pass", "one of this pass")
}

/// New tokens of one sequence: they see everything `behind` them, in order, then `cache`, then
/// each other; `cache` grows by them.
pub struct Extension<'c> {
    pub behind: Vec<&'c KvCache>,
    pub cache: &'c mut KvCache,
    pub tokens: &'c [u32],
}

impl Extension<'_> {
    /// Tokens that stand before the new ones.
    pub(super) fn past(&self) -> usize {
        self.behind.iter().copied().chain([&*self.cache]).map(KvCache::tokens).sum()
    }
}

impl<'a> Inference<'a> {
    pub fn new(passes: &dyn Passes, decoder: &'a Decoder) -> Result<Self> {
        Ok(Self { decoder, cached: passes.cached(decoder)? })
    }

    /// [`Cached::extend`].
    ///
    /// Errors: a token outside the vocabulary, a position outside the context.
    /// Numerics: a sequence's states do not depend on the sequences beside it but for rounding.
    pub fn extend(&self, extensions: &mut [Extension<'_>]) -> Result<Tensor> {
        let vocabulary = self.decoder.config.vocab_size;
        let mut tokens = extensions.iter().flat_map(|e| e.tokens);
        if let Some(id) = tokens.find(|&&id| id as usize >= vocabulary) {
            return Err(Error::argument("inference", "token", id, format!("below {vocabulary}")));
        }
        let states = self.cached.extend(extensions)?;
        extensions.iter_mut().for_each(|e| e.cache.tokens += e.tokens.len());
        Ok(states)
    }

    /// Positions the decoder has.
    pub fn context(&self) -> usize {
        self.decoder.config.max_position_embeddings
    }

    /// [`Cached::logits`].
    pub fn logits(&self, states: &[f32], scores: &mut Vec<f32>) -> Result<()> {
        self.cached.logits(states, scores)
    }
}
