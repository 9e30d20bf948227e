//! The code that runs a decoder: forward, backward, cached decoding. One folder for each implementation of
//! [`Passes`]; [`of`] chooses. Methods that a new implementation does not override use candle's operations.
//!
//! | module | what computes |
//! |---|---|
//! | [`fused`] | f32 on the CPU: hand-written passes over slices, without an autograd graph |
//! | [`by_hand`] | f32 on a GPU, or wherever [`fused`] must not be used: candle's operations with a hand-written backward pass |
//! | [`autograd`] | any device and dtype: candle's operations and gradients; the others are tested against it |
//! | [`gpu`] | bf16 in flat memory with our own kernels, for models of 7 and 8 billion parameters. It holds the decoder's numbers itself |
//! | [`cached`] | what every implementation offers for decoding with a cache of keys and values |
//! | [`adamw`] | what every implementation offers for the optimiser's update |
//! | [`policy`] | a decoder with its latent's heads, and what training and scoring ask of it |
//! | [`trainable`] | the numbers that a run trains: all in candle's tensors, or the decoder's in flat memory |
//!
//! A new device also touches files of other modules: `CONTRIBUTING.md` lists them.

pub mod adamw;
pub mod autograd;
pub mod by_hand;
pub mod cached;
pub mod fused;
pub mod gpu;
pub mod policy;
pub mod trainable;

use crate::model::decoder::Decoder;
use crate::model::gradients::Gradients;
use crate::model::parameters::Parameters;
use crate::model::rows::TokenRows;
use crate::tensor::code_head::code_logps_composed;
use crate::tensor::lm_head::token_logps_composed;
use crate::{Error, Result};
use adamw::{InTensors, Moments};
use autograd::Autograd;
use by_hand::ByHand;
use cached::Cached;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use fused::Fused;
use std::fmt::Debug;

/// What computes with a decoder's parameters.
pub trait Passes: Debug + Send + Sync {
    /// Last hidden states, after the final norm, for values only. Shapes: → [tokens, d].
    ///
    /// Source: §3.3's h. A row's values do not depend on the other rows but for rounding.
    fn hidden(&self, decoder: &Decoder, rows: &TokenRows) -> Result<Tensor>;

    /// [`Self::hidden`], and what its backward pass needs.
    ///
    /// With `recompute`, each block's activations are dropped in the forward pass and rebuilt in the
    /// backward pass, block by block: the same operations on the same numbers.
    fn forward<'a>(
        &self,
        decoder: &'a Decoder,
        rows: &'a TokenRows,
        recompute: bool,
    ) -> Result<(Tensor, Box<dyn Backward + 'a>)>;

    /// log π of the token that follows each state [N, d], tracked by autograd. Shapes: → [N].
    ///
    /// Source: (10). It is [`crate::tensor::logprob::token_logps`] of factors rounded to the precision.
    fn token_logps(&self, decoder: &Decoder, hidden: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        token_logps_composed(hidden, decoder.lm_head(), tokens, decoder.precision())
    }

    /// [`Self::token_logps`] under each code alone. Shapes: codebook [K, d] → [N, K].
    ///
    /// Source: (6), (10). It is [`crate::tensor::logprob::code_logps`] of rounded factors.
    fn code_logps(
        &self,
        decoder: &Decoder,
        hidden: &Tensor,
        codebook: &Tensor,
        tokens: &[u32],
    ) -> Result<Tensor> {
        code_logps_composed(hidden, decoder.lm_head(), codebook, tokens, decoder.precision())
    }

    /// The decoder behind caches of keys and values.
    fn cached<'a>(&self, decoder: &'a Decoder) -> Result<Box<dyn Cached + 'a>> {
        Ok(Box::new(autograd::cached::OneByOne::new(decoder)))
    }

    /// AdamW's moments of a parameter, all 0.
    fn moments(&self, parameter: &Var) -> Result<Box<dyn Moments>> {
        Ok(Box::new(InTensors::zeros(parameter)?))
    }

    /// Σ g² of all gradients.
    fn square_sum(&self, gradients: &[Tensor]) -> Result<f64> {
        adamw::square_sum(gradients)
    }
}

/// What a forward pass has kept.
pub trait Backward {
    /// Adds to `gradients` those of the decoder's parameters below the head, from that of the states
    /// [tokens, d].
    fn backward(self: Box<Self>, d_hidden: &Tensor, gradients: &mut Gradients) -> Result<()>;
}

/// A forward pass that waits for the gradients of its states.
pub trait Pending {
    /// Adds to `gradients` those of the decoder's parameters, from those of the states in `store`.
    fn backward(self: Box<Self>, store: &mut GradStore, gradients: &mut Gradients) -> Result<()>;
}

struct OfStates<'a> {
    hidden: Var,
    pass: Box<dyn Backward + 'a>,
}

impl Pending for OfStates<'_> {
    fn backward(self: Box<Self>, store: &mut GradStore, gradients: &mut Gradients) -> Result<()> {
        let none = || Error::argument("backward", "hidden states", "no gradient", "one");
        self.pass.backward(&store.remove(&self.hidden).ok_or_else(none)?, gradients)
    }
}

/// [`Passes::forward`] whose states autograd begins with: below them the pass goes back, above them autograd.
pub fn tracked<'a>(
    passes: &dyn Passes,
    decoder: &'a Decoder,
    rows: &'a TokenRows,
    recompute: bool,
) -> Result<(Tensor, Box<dyn Pending + 'a>)> {
    let (hidden, pass) = passes.forward(decoder, rows, recompute)?;
    let hidden = Var::from_tensor(&hidden)?;
    Ok((hidden.as_tensor().clone(), Box::new(OfStates { hidden, pass })))
}

/// Who computes with parameters where and as they are: the one place that decides.
pub fn of(parameters: &Parameters) -> &'static dyn Passes {
    let Some((_, first)) = parameters.iter().next() else { return &Autograd };
    match (first.dtype(), first.device().is_cpu() && !parameters.is_composed()) {
        (DType::F32, true) => &Fused,
        (DType::F32, false) => &ByHand,
        _ => &Autograd,
    }
}
