//! The decoder behind caches on slices: many sequences a pass, f32 on the CPU.

mod attention;
mod linear;

use crate::error::{Error, Result};
use crate::machine::pointwise::{Turns, rms_norm_into, rotate, swiglu_in_place};
use crate::model::decoder::{Block, Decoder};
use crate::model::rows::{Row, TokenRows};
use crate::passes::autograd::final_norm;
use crate::passes::cached::{Cached, Extension};
use crate::tensor::slices::Held;
use attention::{KeyHeads, Sequence, Shape, Step};
use candle_core::Tensor;
use linear::{linear, linears};

/// All sequences in one pass over the weights, which it borrows.
pub(super) struct Together<'a> {
    decoder: &'a Decoder,
    blocks: Vec<[Held<'a>; 9]>,
    lm_head: Held<'a>,
}

impl<'a> Together<'a> {
    pub fn new(decoder: &'a Decoder) -> Result<Self> {
        let hold = |block: &'a Block| -> Result<[Held<'a>; 9]> {
            let held = block.weights().iter().map(Held::new).collect::<Result<Vec<_>, _>>()?;
            <[Held<'a>; 9]>::try_from(held)
                .map_err(|_| Error::argument("inference", "weights", 0, "nine a block"))
        };
        let blocks = decoder.blocks().iter().map(hold).collect::<Result<_>>()?;
        Ok(Self { decoder, blocks, lm_head: Held::new(decoder.lm_head())? })
    }
}

impl Cached for Together<'_> {
    fn extend(&self, extensions: &mut [Extension<'_>]) -> Result<Tensor> {
        let c = &self.decoder.config;
        let rows = extensions.iter().map(|e| {
            let mut row = Row::default();
            row.push(e.tokens, e.past(), 0);
            row
        });
        let rows = TokenRows::new(rows.collect());
        let n = rows.tokens();
        let (cos, sin) = self.decoder.turns(&rows)?;
        let turns = Turns { cos, sin };
        let mut x = self.decoder.embed(&rows)?.detach().flatten_all()?.to_vec1::<f32>()?;
        let shape =
            Shape { heads: c.num_attention_heads, kv_heads: c.num_key_value_heads, head_dim: c.head_dim };
        let heads = self.blocks.len() * shape.kv_heads;
        let sequences = extensions.iter_mut().map(|e| {
            let behind = e.behind.iter().filter_map(|cache| cache.held::<KeyHeads>().transpose());
            let behind = behind.collect::<Result<_>>()?;
            let own = e.cache.held_mut::<KeyHeads>()?;
            own.resize(heads, Default::default());
            Ok(Sequence { behind, own, tokens: e.tokens.len() })
        });
        let mut sequences = sequences.collect::<Result<Vec<_>>>()?;
        let (q_size, kv_size) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        // Every block uses the same memory: fresh pages would cost a third of the time.
        let [mut normed, mut q, mut k, mut v, mut gate, mut up, mut out] = [const { vec![] }; 7];
        for (layer, block) in self.blocks.iter().enumerate() {
            let [attention_norm, wq, wk, wv, wo, mlp_norm, wgate, wup, wdown] =
                block.each_ref().map(Held::slice);
            rms_norm_into(&x, attention_norm, c.rms_norm_eps, &mut normed);
            let weights = [(wq, q_size), (wk, kv_size), (wv, kv_size)];
            linears(&normed, n, weights, [&mut q, &mut k, &mut v]);
            rotate(&mut q, shape.head_dim, &turns);
            rotate(&mut k, shape.head_dim, &turns);
            let step = Step { shape, layer, window: c.sliding_window };
            linear(&step.attend(&q, &k, &v, &mut sequences), n, wo, c.hidden_size, &mut out);
            add(&mut x, &out);
            rms_norm_into(&x, mlp_norm, c.rms_norm_eps, &mut normed);
            let ff = c.intermediate_size;
            linears(&normed, n, [(wgate, ff), (wup, ff)], [&mut gate, &mut up]);
            swiglu_in_place(&mut gate, &up);
            linear(&gate, n, wdown, c.hidden_size, &mut out);
            add(&mut x, &out);
        }
        let x = Tensor::from_vec(x, (n, c.hidden_size), self.decoder.device())?;
        Ok(final_norm(self.decoder, &x)?.detach())
    }

    fn logits(&self, states: &[f32], scores: &mut Vec<f32>) -> Result<()> {
        let c = &self.decoder.config;
        linear(states, states.len() / c.hidden_size, self.lm_head.slice(), c.vocab_size, scores);
        Ok(())
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
