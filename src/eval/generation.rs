//! Continuations token by token, with a cache of keys and values; z comes from the prompt.

use crate::eval::predictor::{ContextLatent, Predictor, first_largest};
use crate::interrupt;
use crate::passes::cached::{Extension, FEW, KvCache};
use crate::text::tokenizer::TextTokenizer;
use crate::{Error, Result, seed};
use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Method};
use rand::Rng;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    pub max_new_tokens: usize,
    /// Below [`COLDEST`] the likeliest token is taken.
    pub temperature: f64,
    pub top_p: f64,
    /// Tokens and z are drawn from streams of this seed, named by the prompt's index.
    pub seed: u64,
}

/// At a lower temperature any other token than the likeliest has a probability that f32 cannot hold, and scores
/// divided by the temperature overflow.
const COLDEST: f64 = 1e-5;

impl Sampling {
    /// How tokens are drawn. None if the likeliest token is always taken.
    fn method(&self) -> Option<Method> {
        match self.temperature {
            t if t < COLDEST => None,
            // As f32 it is not 0, so that the likeliest token is always one of those drawn from.
            temperature if self.top_p < 1.0 => {
                Some(Method::TopP { p: self.top_p.max(f32::MIN_POSITIVE.into()), temperature })
            }
            temperature => Some(Method::All { temperature }),
        }
    }
}

/// New tokens without the end token, and the reason if the answer is incomplete.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    pub tokens: Vec<u32>,
    pub cut: Option<Cut>,
}

/// Why an answer is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// `max_new_tokens` was reached before an end token.
    Length,
    /// The context was full before an end token.
    Context,
    /// There is no answer, because the prompt leaves no room in the context.
    PromptTooLong,
    /// There is no answer, because the prompt has no tokens.
    PromptEmpty,
}

impl Cut {
    /// Of a prompt that cannot be answered.
    pub fn of_prompt(predictor: &Predictor<'_>, prompt: &[u32]) -> Option<Self> {
        match prompt.len() {
            0 => Some(Self::PromptEmpty),
            n if n >= predictor.inference.context() => Some(Self::PromptTooLong),
            _ => None,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Length => "cut at the limit of tokens",
            Self::Context => "cut at the end of the context",
            Self::PromptTooLong => "empty, the prompt being longer than the context",
            Self::PromptEmpty => "empty, as the prompt",
        }
    }

    /// The number of each kind, in words. None if every answer is complete.
    pub fn count(cuts: impl IntoIterator<Item = Option<Self>>) -> Option<String> {
        let cuts: Vec<Self> = cuts.into_iter().flatten().collect();
        let kinds = [Self::Length, Self::Context, Self::PromptTooLong, Self::PromptEmpty];
        let of = |kind: Self| (cuts.iter().filter(|&&c| c == kind).count(), kind.describe());
        let parts = kinds.map(of).into_iter().filter(|&(n, _)| n > 0);
        let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// An answer to one prompt of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub output: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// As [`generate`], with the answer as text. A prompt that cannot be answered gets an empty answer with the reason;
/// the other prompts of its set are still answered.
pub fn answer(
    predictor: &Predictor<'_>,
    tokenizer: &TextTokenizer,
    prompt: &[u32],
    sampling: Sampling,
    index: usize,
) -> Result<Answer> {
    if let Some(cut) = Cut::of_prompt(predictor, prompt) {
        return Ok(Answer { output: String::new(), cut: Some(cut) });
    }
    let Continuation { tokens, cut } = generate(predictor, tokenizer, prompt, sampling, index, |_| Ok(()))?;
    Ok(Answer { output: tokenizer.decode(&tokens, true)?, cut })
}

/// A sequence that is being continued.
struct Writing {
    cache: KvCache,
    latent: ContextLatent,
    /// The state that predicts the next token, [d].
    state: Vec<f32>,
    new: Vec<u32>,
}

impl Writing {
    fn begin(predictor: &Predictor<'_>, prompt: &[u32], seed: u64, stream: String) -> Result<Self> {
        let mut cache = KvCache::default();
        let e = Extension { behind: vec![], cache: &mut cache, tokens: prompt };
        let hidden = predictor.inference.extend(&mut [e])?.narrow(0, prompt.len() - 1, 1)?;
        let latent = predictor.latents(&hidden, seed, std::iter::once(stream))?;
        let latent = latent.into_iter().next().unwrap_or(ContextLatent::Plain);
        Ok(Self { cache, latent, state: hidden.flatten_all()?.to_vec1()?, new: vec![] })
    }
}

/// Adds one token to every sequence. `choose` gets scores whose softmax is the predictive distribution, and returns
/// none where the sequence ends.
fn step(
    predictor: &Predictor<'_>,
    writings: &mut [&mut Writing],
    mut choose: impl FnMut(usize, &[f32]) -> Result<Option<u32>>,
) -> Result<()> {
    let states = writings.iter().flat_map(|w| w.state.iter().copied()).collect();
    let latents: Vec<&ContextLatent> = writings.iter().map(|w| &w.latent).collect();
    let mut scores = vec![];
    predictor.scores(states, &latents, &mut scores)?;
    let mut chosen = vec![];
    for ((i, writing), scores) in
        writings.iter_mut().enumerate().zip(scores.chunks_mut(predictor.vocab_size()))
    {
        // Only a mixture needs them: its codes' weights move with every token.
        let mixed = matches!(writing.latent, ContextLatent::Mixture(_));
        let normalisers = if mixed { predictor.normalisers(scores, &writing.latent) } else { vec![] };
        let plain = if mixed { scores.to_vec() } else { vec![] };
        predictor.predictive(scores, &normalisers, &writing.latent);
        let token = choose(i, scores)?;
        if let Some(token) = token {
            writing.latent.observe(&predictor.logps(&plain, &normalisers, token));
            writing.new.push(token);
        }
        chosen.push(token);
    }
    let mut moving: Vec<(&mut &mut Writing, [u32; 1])> =
        writings.iter_mut().zip(chosen).filter_map(|(w, token)| Some((w, [token?]))).collect();
    let mut extensions: Vec<Extension<'_>> = moving
        .iter_mut()
        .map(|(w, token)| Extension { behind: vec![], cache: &mut w.cache, tokens: token })
        .collect();
    if extensions.is_empty() {
        return Ok(());
    }
    let hidden = predictor.inference.extend(&mut extensions)?.to_vec2::<f32>()?;
    for ((writing, _), state) in moving.into_iter().zip(hidden) {
        writing.state = state;
    }
    Ok(())
}

/// Continues `prompt` until an end token, the limit or the end of the context. `show` is called with the whole
/// continuation so far. Each `index` of a prompt has its own random draws.
///
/// Source: (10), z ~ p(z|x) as the predictor's recipe says; a model without one has no z.
/// Errors: a prompt that is empty or longer than the context; whatever `show` returns.
pub fn generate(
    predictor: &Predictor<'_>,
    tokenizer: &TextTokenizer,
    prompt: &[u32],
    sampling: Sampling,
    index: usize,
    mut show: impl FnMut(&str) -> Result<()>,
) -> Result<Continuation> {
    let context = predictor.inference.context();
    if Cut::of_prompt(predictor, prompt).is_some() {
        let expected = format!("1 to {} tokens", context - 1);
        return Err(Error::argument("generate", "prompt", format!("{} tokens", prompt.len()), expected));
    }
    let mut processor = sampling.method().map(|method| {
        let seed = seed::stream(sampling.seed, &format!("generate/{index}")).next_u64();
        LogitsProcessor::from_sampling(seed, method)
    });
    let mut writing = Writing::begin(predictor, prompt, sampling.seed, format!("gumbel/test/{index}"))?;
    let cut = loop {
        if writing.new.len() == sampling.max_new_tokens {
            break Some(Cut::Length);
        }
        if prompt.len() + writing.new.len() == context {
            break Some(Cut::Context);
        }
        interrupt::check("generation")?;
        let before = writing.new.len();
        step(predictor, &mut [&mut writing], |_, scores| {
            let token = match &mut processor {
                None => first_largest(scores) as u32,
                Some(processor) => processor.sample(&Tensor::new(scores, &Device::Cpu)?)?,
            };
            Ok((!tokenizer.eos_ids().contains(&token)).then_some(token))
        })?;
        if writing.new.len() == before {
            break None;
        }
        show(&tokenizer.decode(&writing.new, true)?)?;
    };
    Ok(Continuation { tokens: writing.new, cut })
}

/// A prompt to continue greedily.
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// Names its sample of z.
    pub stream: String,
}

/// Continues each prompt with the likeliest tokens until an end token, a stop string or `max_new_tokens`, several
/// prompts at the same time. `done` gets each text, cut at its first stop string, with the prompt's index, in the
/// order in which the texts end.
///
/// Errors: a prompt that is empty or does not leave room in the context; whatever `done` returns.
pub(super) fn generate_until(
    predictor: &Predictor<'_>,
    tokenizer: &TextTokenizer,
    prompts: &[Prompt],
    seed: u64,
    stops: &[&str],
    max_new_tokens: usize,
    mut done: impl FnMut(usize, String) -> Result<()>,
) -> Result<()> {
    let context = predictor.inference.context();
    for Prompt { tokens, .. } in prompts {
        if tokens.is_empty() || tokens.len() + max_new_tokens > context {
            let expected = format!("at least 1, and {max_new_tokens} below the context of {context}");
            return Err(Error::argument(
                "generate_until",
                "prompt",
                format!("{} tokens", tokens.len()),
                expected,
            ));
        }
    }
    let mut waiting = prompts.iter().enumerate();
    let mut active: Vec<(usize, Writing)> = vec![];
    loop {
        while active.len() < FEW {
            let Some((i, prompt)) = waiting.next() else { break };
            interrupt::check("generation")?;
            active.push((i, Writing::begin(predictor, &prompt.tokens, seed, prompt.stream.clone())?));
        }
        if active.is_empty() {
            return Ok(());
        }
        interrupt::check("generation")?;
        let mut ended = vec![false; active.len()];
        let mut writings: Vec<&mut Writing> = active.iter_mut().map(|(_, w)| w).collect();
        step(predictor, &mut writings, |i, scores| {
            let token = first_largest(scores) as u32;
            ended[i] = tokenizer.eos_ids().contains(&token);
            Ok((!ended[i]).then_some(token))
        })?;
        let mut ended = ended.into_iter();
        let mut rest = vec![];
        for (i, writing) in active {
            let text = tokenizer.decode(&writing.new, true)?;
            let cut = cut_at_stops(&text, stops);
            let full = writing.new.len() == max_new_tokens;
            if ended.next() == Some(true) || cut.len() < text.len() || full {
                done(i, cut.to_string())?;
            } else {
                rest.push((i, writing));
            }
        }
        active = rest;
    }
}

/// The text up to the first stop string, one stop after the other.
pub(super) fn cut_at_stops<'t>(text: &'t str, stops: &[&str]) -> &'t str {
    stops.iter().filter(|s| !s.is_empty()).fold(text, |text, stop| text.split(stop).next().unwrap_or(text))
}
