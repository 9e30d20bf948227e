//! Counts, lengths and samples of preference pairs, to read before training on them.

use crate::Result;
use crate::config::Truncation;
use crate::data::overlap::contradictions;
use crate::data::pairs::{Pair, Pairs};
use crate::data::tokenize::{TokenReport, tokenize};
use crate::text::message::Message;
use crate::text::tokenizer::TextTokenizer;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;

/// Most characters of a text that a sample shows.
const SHOWN: usize = 160;
/// Most ids that are named beside a count.
const NAMED: usize = 5;

/// Lengths of one part of every pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    pub mean: f64,
    /// The 5 %, 50 % and 95 % quantiles and the largest: each the length of some pair's part.
    pub quantiles: [usize; 4],
}

/// Lengths of prompt, chosen and rejected.
pub type PairLengths = [Lengths; 3];

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    pub pairs: usize,
    /// Pairs by source; a source that is not known is the empty string.
    pub sources: BTreeMap<String, usize>,
    /// Pairs with messages before the prompt.
    pub with_context: usize,
    /// In characters; a prompt counts its context. `None` without pairs, here and below.
    pub characters: Option<PairLengths>,
    /// In tokens, as trained on, before truncation, with what was cut.
    pub tokens: Option<(PairLengths, TokenReport)>,
    /// Pairs whose chosen completion has more characters than the rejected.
    pub chosen_longer: usize,
    /// Pairs with the same prompt and completions as an earlier pair.
    pub repeated_pairs: usize,
    /// Pairs with the same prompt, context included, as an earlier pair.
    pub repeated_prompts: usize,
    pub identical: usize,
    /// Ids of the first pairs whose completions have the same tokens after truncation, if tokens were counted.
    pub identical_ids: Vec<String>,
    /// Pairs that another pair contradicts, as a sentence.
    pub contradictions: Option<String>,
    /// Keys of messages beside role and content, with the pairs that have them; of those, with a tokenizer, the
    /// ones that its template does not read.
    pub keys: BTreeMap<String, usize>,
    /// The first, the middle and the last pair.
    pub samples: Vec<Pair>,
}

/// Counts the pairs, and also their tokens if a tokenizer and its limits are given.
///
/// # Errors
/// As [`tokenize`].
pub fn inspect(read: &Pairs, tokens: Option<(&TextTokenizer, &Truncation)>) -> Result<Inspection> {
    let pairs = &read.pairs;
    let mut sources = BTreeMap::new();
    for pair in pairs {
        *sources.entry(pair.source.clone()).or_default() += 1;
    }
    let characters = |text: &str| text.chars().count();
    let prompt = |p: &Pair| p.prompt.iter().map(|message| characters(&message.text())).sum::<usize>();
    let template = tokens.map(|(tokenizer, _)| tokenizer);
    let tokens = match tokens {
        None => None,
        Some((tokenizer, limits)) => {
            let whole = Truncation { max_length: usize::MAX, max_prompt_length: usize::MAX - 1 };
            let whole = tokenize(pairs, tokenizer, &whole)?;
            let cut = TokenReport::of(&tokenize(pairs, tokenizer, limits)?);
            lengths(&whole, |p| [p.prompt.len(), p.chosen.len(), p.rejected.len()]).map(|l| (l, cut))
        }
    };
    let same_tokens = tokens.as_ref().map_or(&[][..], |(_, cut): &(_, TokenReport)| &cut.identical);
    let identical_ids = same_tokens.iter().take(NAMED).map(|&i| pairs[i].id.clone()).collect();
    let middle = pairs.len() / 2;
    let mut shown = vec![0, middle, pairs.len().saturating_sub(1)];
    shown.dedup();
    Ok(Inspection {
        pairs: pairs.len(),
        sources,
        with_context: pairs.iter().filter(|p| !p.context().is_empty()).count(),
        characters: lengths(pairs, |p| {
            [prompt(p), characters(&p.chosen_text()), characters(&p.rejected_text())]
        }),
        tokens,
        chosen_longer: pairs
            .iter()
            .filter(|p| characters(&p.chosen_text()) > characters(&p.rejected_text()))
            .count(),
        repeated_pairs: repeated(pairs.iter().map(|p| (&p.prompt, &p.chosen, &p.rejected))),
        repeated_prompts: repeated(pairs.iter().map(|p| &p.prompt)),
        identical: read.identical,
        identical_ids,
        contradictions: contradictions(pairs),
        keys: match template {
            None => keys(pairs.iter()),
            Some(tokenizer) => unread_keys(pairs.iter(), tokenizer),
        },
        samples: shown.into_iter().filter_map(|i| pairs.get(i).cloned()).collect(),
    })
}

/// Keys of messages beside role and content that say something, with the pairs that have them.
fn keys<'a>(pairs: impl Iterator<Item = &'a Pair>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pair in pairs {
        let messages = pair.prompt.iter().chain(&pair.chosen).chain(&pair.rejected);
        let said = messages.flat_map(Message::keys).filter(|(key, value)| {
            !matches!(key.as_str(), "role" | "content") && !matches!(value, Value::Null)
        });
        for key in said.map(|(key, _)| key).collect::<HashSet<_>>() {
            *counts.entry(key.clone()).or_default() += 1;
        }
    }
    counts
}

/// Of those keys the ones that a model's template does not read.
pub fn unread_keys<'a>(
    pairs: impl Iterator<Item = &'a Pair>,
    tokenizer: &TextTokenizer,
) -> BTreeMap<String, usize> {
    let (with_tools, without): (Vec<&Pair>, Vec<&Pair>) = pairs.partition(|pair| pair.tools.is_some());
    let mut unread = BTreeMap::new();
    for (tools, pairs) in [(true, with_tools), (false, without)] {
        let is_read =
            |key: &str| tokenizer.template_for(tools).is_some_and(|template| template.mentions(key));
        for (key, count) in keys(pairs.into_iter()).into_iter().filter(|(key, _)| !is_read(key)) {
            *unread.entry(key).or_default() += count;
        }
    }
    unread
}

fn repeated<T: Hash + Eq>(items: impl Iterator<Item = T>) -> usize {
    let mut seen = HashSet::new();
    items.map(|item| seen.insert(item)).filter(|&new| !new).count()
}

fn lengths<T>(items: &[T], of: impl Fn(&T) -> [usize; 3]) -> Option<PairLengths> {
    if items.is_empty() {
        return None;
    }
    let all: Vec<[usize; 3]> = items.iter().map(of).collect();
    Some([0, 1, 2].map(|part| {
        let mut sorted: Vec<usize> = all.iter().map(|l| l[part]).collect();
        sorted.sort_unstable();
        // The smallest length that at least this share of the pairs does not exceed.
        let quantile = |percent: usize| sorted[(percent * sorted.len()).div_ceil(100).max(1) - 1];
        Lengths {
            mean: sorted.iter().sum::<usize>() as f64 / sorted.len() as f64,
            quantiles: [quantile(5), quantile(50), quantile(95), quantile(100)],
        }
    }))
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.pairs;
        writeln!(f, "pairs: {n}")?;
        for (source, count) in &self.sources {
            let name = if source.is_empty() { "(no source)" } else { source };
            writeln!(f, "  {name:30} {count:>8}")?;
        }
        if let Some(lengths) = &self.characters {
            write_lengths(f, "characters", lengths)?;
        }
        if let Some((lengths, cut)) = &self.tokens {
            write_lengths(f, "tokens", lengths)?;
            let (prompts, completions) = (cut.prompts_truncated, cut.completions_truncated);
            let either = cut.truncated;
            writeln!(f, "truncated: {either} pairs ({prompts} prompts, {completions} pairs' completions)")?;
        }
        writeln!(f, "chosen longer than rejected: {} of {n}", self.chosen_longer)?;
        writeln!(f, "with earlier messages: {}", self.with_context)?;
        writeln!(f, "repeated: {} pairs, {} prompts", self.repeated_pairs, self.repeated_prompts)?;
        writeln!(f, "identical completions: {}", self.identical)?;
        if let Some((_, cut)) = &self.tokens {
            let same = cut.identical.len();
            if same > 0 {
                let more = if same > self.identical_ids.len() { ", …" } else { "" };
                let ids = self.identical_ids.join(", ");
                writeln!(f, "completions of the same tokens as truncated: {same} of {n} ({ids}{more})")?;
            }
            let moved = cut.boundaries_moved;
            if moved > 0 {
                writeln!(f, "other tokens at the prompt's end with an answer behind it: {moved}")?;
            }
            if cut.dressed > 0 {
                writeln!(f, "prompts that held the chat template already: {}", cut.dressed)?;
            }
        }
        if let Some(note) = &self.contradictions {
            writeln!(f, "contradictions: {note}")?;
        }
        if !self.keys.is_empty() {
            let keys: Vec<String> = self.keys.iter().map(|(key, n)| format!("{key} ({n} pairs)")).collect();
            let unread = if self.tokens.is_some() { " that the template does not read" } else { "" };
            writeln!(f, "keys of messages{unread}: {}", keys.join(", "))?;
        }
        for pair in &self.samples {
            writeln!(f, "\npair {}", pair.id)?;
            for message in pair.context() {
                writeln!(f, "  {:9} {}", message.role(), shown(&message.text()))?;
            }
            let parts = [
                ("prompt", pair.prompt_text()),
                ("chosen", pair.chosen_text()),
                ("rejected", pair.rejected_text()),
            ];
            for (name, text) in parts {
                writeln!(f, "  {name:9} {}", shown(&text))?;
            }
        }
        Ok(())
    }
}

fn write_lengths(f: &mut fmt::Formatter<'_>, unit: &str, lengths: &PairLengths) -> fmt::Result {
    writeln!(f, "{unit:12} {:>9} {:>8} {:>8} {:>8} {:>8}", "mean", "5 %", "median", "95 %", "longest")?;
    for (name, l) in ["prompt", "chosen", "rejected"].iter().zip(lengths) {
        let [low, median, high, longest] = l.quantiles;
        writeln!(f, "  {name:10} {:>9.1} {low:>8} {median:>8} {high:>8} {longest:>8}", l.mean)?;
    }
    Ok(())
}

/// The beginning of a text, on one line.
fn shown(text: &str) -> String {
    let begin: String = text.chars().take(SHOWN).collect();
    let more = if begin.len() < text.len() { " …" } else { "" };
    format!("{begin:?}{more}")
}
