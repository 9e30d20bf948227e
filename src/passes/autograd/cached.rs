//! The decoder behind caches in candle's operations, one sequence after the other: any device.

use super::{Context, KeyValues, Steps, final_norm};
use crate::Result;
use crate::model::decoder::Decoder;
use crate::model::rows::{Row, TokenRows};
use crate::passes::cached::{Cached, Extension};
use candle_core::Tensor;

pub(in crate::passes) struct OneByOne<'a> {
    decoder: &'a Decoder,
}

/// What its caches hold: keys and values, a block each.
type Blocks = Vec<KeyValues>;

impl<'a> OneByOne<'a> {
    pub fn new(decoder: &'a Decoder) -> Self {
        Self { decoder }
    }

    fn extend_one(&self, e: &mut Extension<'_>) -> Result<Tensor> {
        let context = Context::behind(self.decoder, e.past(), e.tokens.len())?;
        let behind = e.behind.iter().map(|cache| cache.held::<Blocks>()).collect::<Result<Vec<_>>>()?;
        let own = e.cache.held_mut::<Blocks>()?;
        let row = TokenRows::new(vec![Row::causal(e.tokens)]);
        let mut x = self.decoder.embed(&row)?.detach().unsqueeze(0)?;
        for (layer, block) in self.decoder.blocks().iter().enumerate() {
            let before = behind.iter().copied().flatten().chain([&*own]);
            let before: Vec<&KeyValues> = before.filter_map(|blocks| blocks.get(layer)).collect();
            let steps = Steps { decoder: self.decoder, block, context: &context };
            let (y, new) = steps.forward(&x, &before)?;
            let new = new.detach();
            match own.get_mut(layer) {
                Some(cached) => *cached = KeyValues::joined(&[cached, &new])?,
                None => own.push(new),
            }
            x = y.detach();
        }
        Ok(final_norm(self.decoder, &x.squeeze(0)?)?.detach())
    }
}

impl Cached for OneByOne<'_> {
    fn extend(&self, extensions: &mut [Extension<'_>]) -> Result<Tensor> {
        let states = extensions.iter_mut().map(|e| self.extend_one(e)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&states, 0)?)
    }

    fn logits(&self, states: &[f32], scores: &mut Vec<f32>) -> Result<()> {
        let (d, head) = (self.decoder.config.hidden_size, self.decoder.lm_head());
        let states = Tensor::from_slice(states, (states.len() / d, d), head.device())?;
        *scores = states.matmul(&head.detach().t()?)?.flatten_all()?.to_vec1()?;
        Ok(())
    }
}
