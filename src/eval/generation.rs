//! Continuations token by token, with a cache of keys and values; h_z comes from the prompt.

use crate::config::Recipe;
use crate::eval::preference::prior_latent;
use crate::model::decoder::KvCache;
use crate::model::policy::Policy;
use crate::model::tokenizer::TextTokenizer;
use crate::train::interrupt;
use crate::{Error, Result, seed};
use candle_core::{DType, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Method};
use rand::Rng;

#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    pub max_new_tokens: usize,
    /// 0: the likeliest token.
    pub temperature: f64,
    pub top_p: f64,
    /// Tokens and z are drawn from streams of this seed, named by the prompt's index.
    pub seed: u64,
}

/// Continues `prompt` until an end token, the limit or the end of the context; returns the new
/// tokens without the end token. `show` is called with the whole continuation so far; `index`
/// tells prompts of one call apart, so that each has draws of its own.
///
/// Source: (10), z ~ p(z|x) as the recipe's evaluation says; a model without recipe has no z.
/// Errors: a prompt that is empty or longer than the context; whatever `show` returns.
pub fn generate(
    recipe: Option<&Recipe>,
    policy: &Policy,
    tokenizer: &TextTokenizer,
    prompt: &[u32],
    sampling: Sampling,
    index: usize,
    mut show: impl FnMut(&str) -> Result<()>,
) -> Result<Vec<u32>> {
    let context = policy.decoder.config.max_position_embeddings;
    if prompt.is_empty() || prompt.len() >= context {
        let expected = format!("1 to {} tokens", context - 1);
        return Err(Error::argument("generate", "prompt", format!("{} tokens", prompt.len()), expected));
    }
    let method = match sampling.temperature {
        t if t <= 0.0 => Method::ArgMax,
        temperature if sampling.top_p < 1.0 => Method::TopP { p: sampling.top_p, temperature },
        temperature => Method::All { temperature },
    };
    let mut processor = LogitsProcessor::from_sampling(
        seed::stream(sampling.seed, &format!("generate/{index}")).next_u64(),
        method,
    );
    let mut cache = KvCache::default();
    let mut hidden = policy.decoder.extend(prompt, &mut cache)?.narrow(0, prompt.len() - 1, 1)?;
    let latent = match recipe {
        Some(recipe) => prior_latent(recipe, policy, &hidden, sampling.seed, std::iter::once(index))?,
        None => None,
    };
    let mut new = vec![];
    while new.len() < sampling.max_new_tokens && prompt.len() + new.len() < context {
        interrupt::check("generation")?;
        let state = match &latent {
            Some(latent) => (&hidden + latent)?,
            None => hidden,
        };
        let logits: Tensor = state.matmul(&policy.decoder.lm_head().t()?)?.squeeze(0)?;
        let token = processor.sample(&logits.to_dtype(DType::F32)?)?;
        if tokenizer.eos_ids().contains(&token) {
            break;
        }
        new.push(token);
        show(&tokenizer.decode(&new, true)?)?;
        hidden = policy.decoder.extend(&[token], &mut cache)?;
    }
    Ok(new)
}
