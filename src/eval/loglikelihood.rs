//! Log-likelihood of continuations given a context. A context is computed once for all of its continuations, and the
//! common beginning of all contexts is computed once for all of them.

use crate::error::{Error, Result};
use crate::eval::predictor::{ContextLatent, Predictor, first_largest};
use crate::eval::preference::mixture;
use crate::passes::cached::{Extension, KvCache};
use crate::text::tokenizer::TextTokenizer;
use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Most scores in memory at the same time: 8 Mi numbers, 32 MiB.
const CHUNK_SCORES: usize = 1 << 23;

/// A common beginning that is shorter than this does not get a pass of its own.
const LEAST_SHARED: usize = 16;

/// Units: nats, summed over the continuation's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    pub loglikelihood: f64,
    /// Whether every token is the likeliest at its place (of equals, the first).
    pub is_greedy: bool,
}

/// A context and its continuations as token ids.
#[derive(Debug, Clone)]
pub struct Encoded {
    parts: Vec<Part>,
    continuations: usize,
    /// Continuations whose context was cut at its beginning to fit the model's window.
    pub truncated: usize,
}

/// Continuations that see the same context.
#[derive(Debug, Clone)]
struct Part {
    context: Vec<u32>,
    /// With their places among the document's continuations.
    continuations: Vec<(usize, Vec<u32>)>,
}

/// Tokens of a context and its continuations: white space at the context's end belongs to the
/// continuation, whose tokens are what the two together have beyond the context's. Where the
/// two have more than `window` + 1 tokens the context loses its beginning.
///
/// Errors: a context or a continuation without a token, or a continuation longer than the window.
pub fn encode(
    tokenizer: &TextTokenizer,
    context: &str,
    continuations: &[String],
    window: usize,
) -> Result<Encoded> {
    let kept = context.trim_end_matches(python_space);
    let space = &context[kept.len()..];
    let context = tokenizer.encode_text(kept)?;
    if context.is_empty() {
        return Err(Error::argument("loglikelihood", "context", "no token", "at least one"));
    }
    let mut encoded = Encoded { parts: vec![], continuations: continuations.len(), truncated: 0 };
    for (i, continuation) in continuations.iter().enumerate() {
        let whole = tokenizer.encode_text(&format!("{kept}{space}{continuation}"))?;
        let tokens = whole.get(context.len()..).unwrap_or_default().to_vec();
        if tokens.is_empty() || tokens.len() > window {
            let expected = format!("1 to {window} tokens");
            return Err(Error::argument("loglikelihood", "continuation", tokens.len(), expected));
        }
        let surplus = (context.len() + tokens.len()).saturating_sub(window + 1);
        encoded.truncated += usize::from(surplus > 0);
        // A continuation as long as the window leaves one token of context.
        let context = &context[surplus..];
        match encoded.parts.iter_mut().find(|part| part.context == context) {
            Some(part) => part.continuations.push((i, tokens)),
            None => {
                encoded.parts.push(Part { context: context.to_vec(), continuations: vec![(i, tokens)] });
            }
        }
    }
    Ok(encoded)
}

/// What Python's `str.rstrip` removes.
fn python_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

impl Encoded {
    /// The longest sequence of tokens.
    pub fn tokens(&self) -> usize {
        let longest = |part: &Part| {
            part.context.len() + part.continuations.iter().map(|(_, c)| c.len()).max().unwrap_or(0)
        };
        self.parts.iter().map(longest).max().unwrap_or(0)
    }
}

/// Scores documents that may begin alike.
pub struct Scorer<'p, 'a> {
    predictor: &'p Predictor<'a>,
    shared: Vec<u32>,
    cache: KvCache,
}

/// One continuation that is being scored.
struct Running {
    tokens: usize,
    /// log π(y_<t|x), under each code for a mixture.
    logps: Vec<f64>,
    greedy: bool,
}

/// One predicting state and the tokens that it is asked about, by continuation.
struct Query {
    part: usize,
    state: usize,
    asked: Vec<(usize, u32)>,
}

impl<'p, 'a> Scorer<'p, 'a> {
    /// For documents such as these.
    pub fn new(predictor: &'p Predictor<'a>, documents: &[&Encoded]) -> Result<Self> {
        let contexts: Vec<&[u32]> =
            documents.iter().flat_map(|d| d.parts.iter().map(|p| p.context.as_slice())).collect();
        let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let shared = match contexts.split_first() {
            // Every context keeps a token of its own, the one that predicts.
            Some((first, rest)) if !rest.is_empty() => {
                let lengths = rest.iter().map(|c| common(first, c).min(c.len() - 1));
                first[..lengths.min().unwrap_or(0).min(first.len() - 1)].to_vec()
            }
            _ => vec![],
        };
        let mut scorer = Self { predictor, shared: vec![], cache: KvCache::default() };
        if shared.len() >= LEAST_SHARED {
            let e = Extension { behind: vec![], cache: &mut scorer.cache, tokens: &shared };
            predictor.inference.extend(&mut [e])?;
            scorer.shared = shared;
        }
        Ok(scorer)
    }

    /// Tokens of a document's contexts that are not shared.
    pub(super) fn own_tokens(&self, document: &Encoded) -> usize {
        let own = |part: &Part| part.context.len() - self.shared_by(part);
        document.parts.iter().map(own).sum()
    }

    fn shared_by(&self, part: &Part) -> usize {
        if part.context.starts_with(&self.shared) { self.shared.len() } else { 0 }
    }

    /// One result for each continuation. `seed` and `streams` (one for each document) name the samples of z.
    ///
    /// Source: (10), z ~ p(z|context). Errors: a number that is not finite.
    pub fn score(
        &self,
        documents: &[&Encoded],
        seed: u64,
        streams: &[String],
    ) -> Result<Vec<Vec<Likelihood>>> {
        let parts: Vec<(usize, &Part)> =
            documents.iter().enumerate().flat_map(|(i, d)| d.parts.iter().map(move |p| (i, p))).collect();
        let mut caches: Vec<KvCache> = parts.iter().map(|_| KvCache::default()).collect();
        let behind = |part: &Part| if self.shared_by(part) > 0 { vec![&self.cache] } else { vec![] };
        let mut contexts: Vec<Extension<'_>> = parts
            .iter()
            .zip(&mut caches)
            .map(|((_, part), cache)| Extension {
                behind: behind(part),
                cache,
                tokens: &part.context[self.shared_by(part)..],
            })
            .collect();
        let hidden = self.predictor.inference.extend(&mut contexts)?;
        let ends = contexts.iter().scan(0u32, |end, e| {
            *end += e.tokens.len() as u32;
            Some(*end - 1)
        });
        let ends: Vec<u32> = ends.collect();
        let prompt_hidden = hidden.index_select(&Tensor::new(ends, hidden.device())?, 0)?;
        let names = parts.iter().map(|(document, _)| streams[*document].clone());
        let latents = self.predictor.latents(&prompt_hidden, seed, names)?;

        let all = || parts.iter().zip(&caches).enumerate();
        let all =
            all().flat_map(|(p, ((_, part), cache))| part.continuations.iter().map(move |c| (p, cache, c)));
        let all: Vec<_> = all.collect();
        let mut own_caches: Vec<KvCache> = all.iter().map(|_| KvCache::default()).collect();
        let mut extensions = vec![];
        let mut queries: Vec<Query> =
            (0..parts.len()).map(|part| Query { part, state: part, asked: vec![] }).collect();
        let mut state = parts.len();
        for ((i, &(part, cache, (_, tokens))), own) in all.iter().enumerate().zip(&mut own_caches) {
            queries[part].asked.push((i, tokens[0]));
            for token in &tokens[1..] {
                queries.push(Query { part, state, asked: vec![(i, *token)] });
                state += 1;
            }
            if tokens.len() > 1 {
                let mut behind = behind(parts[part].1);
                behind.push(cache);
                extensions.push(Extension { behind, cache: own, tokens: &tokens[..tokens.len() - 1] });
            }
        }
        let mut states = prompt_hidden.flatten_all()?.to_vec1::<f32>()?;
        if !extensions.is_empty() {
            states.extend(self.predictor.inference.extend(&mut extensions)?.flatten_all()?.to_vec1::<f32>()?);
        }
        let mut running: Vec<Running> = all
            .iter()
            .map(|(part, _, (_, tokens))| {
                let codes = if let ContextLatent::Mixture(prior) = &latents[*part] { prior.len() } else { 1 };
                Running { tokens: tokens.len(), logps: vec![0.0; codes], greedy: true }
            })
            .collect();
        let d = hidden.dim(1)?;
        let mut scores = vec![];
        for queries in queries.chunks((CHUNK_SCORES / self.predictor.vocab_size()).max(1)) {
            self.ask(queries, &states, d, &latents, &mut running, &mut scores)?;
        }
        let mut results: Vec<Vec<Option<Likelihood>>> =
            documents.iter().map(|d| vec![None; d.continuations]).collect();
        for ((part, _, (place, _)), run) in all.iter().zip(running) {
            let loglikelihood = match &latents[*part] {
                ContextLatent::Mixture(prior) => mixture(prior, &run.logps),
                ContextLatent::Plain | ContextLatent::Latent(_) => run.logps[0],
            };
            if !loglikelihood.is_finite() {
                let argument = format!("continuation of {} tokens", run.tokens);
                return Err(Error::argument("loglikelihood", argument, loglikelihood, "a finite number"));
            }
            results[parts[*part].0][*place] = Some(Likelihood { loglikelihood, is_greedy: run.greedy });
        }
        Ok(results.into_iter().map(|r| r.into_iter().flatten().collect()).collect())
    }

    /// Moves every continuation on by the queries' tokens, which come in the continuations' order.
    fn ask(
        &self,
        queries: &[Query],
        states: &[f32],
        d: usize,
        latents: &[ContextLatent],
        running: &mut [Running],
        scores: &mut Vec<f32>,
    ) -> Result<()> {
        let vocab = self.predictor.vocab_size();
        let of_queries: Vec<f32> =
            queries.iter().flat_map(|q| states[q.state * d..(q.state + 1) * d].iter().copied()).collect();
        let latent_of: Vec<&ContextLatent> = queries.iter().map(|q| &latents[q.part]).collect();
        self.predictor.scores(of_queries, &latent_of, scores)?;
        let measured: Vec<_> = scores
            .par_chunks(vocab)
            .zip(queries)
            .zip(&latent_of)
            .map(|((scores, query), latent)| {
                let normalisers = self.predictor.normalisers(scores, latent);
                let logps = query.asked.iter().map(|(_, t)| self.predictor.logps(scores, &normalisers, *t));
                let logps: Vec<Vec<f64>> = logps.collect();
                (normalisers, logps)
            })
            .collect();
        // The codes' weights before each token, which earlier tokens have moved.
        let mut before: Vec<ContextLatent> = vec![];
        for (query, (_, logps)) in queries.iter().zip(&measured) {
            let mut latent = latents[query.part].clone();
            if let [(only, _)] = query.asked[..] {
                latent.observe(&running[only].logps);
            }
            before.push(latent);
            for ((continuation, _), logps) in query.asked.iter().zip(logps) {
                let run = &mut running[*continuation];
                run.logps.iter_mut().zip(logps).for_each(|(sum, l)| *sum += l);
            }
        }
        let likeliest: Vec<usize> = scores
            .par_chunks_mut(vocab)
            .zip(&measured)
            .zip(&before)
            .map(|((scores, (normalisers, _)), latent)| {
                self.predictor.predictive(scores, normalisers, latent);
                first_largest(scores)
            })
            .collect();
        for (query, likeliest) in queries.iter().zip(likeliest) {
            for (continuation, token) in &query.asked {
                running[*continuation].greedy &= *token as usize == likeliest;
            }
        }
        Ok(())
    }
}
