//! Overlaps in data that spoil a measurement: pairs that contradict each other, test pairs that are also training
//! pairs, and questions of a benchmark in the pairs.

use crate::data::pairs::Pair;
use crate::text::message::Message;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

type Said<'a> = (&'a [Message], &'a [Message], &'a [Message]);

fn said(pair: &Pair) -> Said<'_> {
    (&pair.prompt, &pair.chosen, &pair.rejected)
}

fn turned(pair: &Pair) -> Said<'_> {
    (&pair.prompt, &pair.rejected, &pair.chosen)
}

/// How many pairs contradict another pair: same prompt and same answers, but preferred the other way round. None if
/// there are no such pairs.
///
/// ```
/// use lpc::data::{overlap::contradictions, pairs::Pair};
/// let pairs = [Pair::of_texts("q", "a", "b"), Pair::of_texts("q", "b", "a"), Pair::of_texts("q", "a", "a")];
/// assert!(contradictions(&pairs).unwrap().starts_with("2 of 3 pairs"));
/// assert_eq!(contradictions(&pairs[1..]), None);
/// ```
pub fn contradictions(pairs: &[Pair]) -> Option<String> {
    let known: HashSet<Said<'_>> = pairs.iter().filter(|pair| !pair.is_identical()).map(said).collect();
    let count = pairs.iter().filter(|pair| !pair.is_identical() && known.contains(&turned(pair))).count();
    let total = pairs.len();
    (count > 0).then(|| {
        format!("{count} of {total} pairs are beside one with the same answers preferred the other way round")
    })
}

/// What pairs have in common with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    of: usize,
    /// The same prompt and the same two answers.
    pub pairs: usize,
    /// Those of `pairs` that are there only with the other preference.
    pub turned: usize,
    /// The same prompt, context included.
    pub prompts: usize,
}

/// Counts the `pairs` that are among `others`, too.
pub fn shared(pairs: &[Pair], others: &[Pair]) -> Shared {
    let known: HashSet<Said<'_>> = others.iter().map(said).collect();
    let prompts: HashSet<&[Message]> = others.iter().map(|pair| pair.prompt.as_slice()).collect();
    let mut counts = Shared { of: pairs.len(), pairs: 0, turned: 0, prompts: 0 };
    for pair in pairs {
        let (same, turned) = (known.contains(&said(pair)), known.contains(&turned(pair)));
        counts.pairs += usize::from(same || turned);
        counts.turned += usize::from(turned && !same);
        counts.prompts += usize::from(prompts.contains(pair.prompt.as_slice()));
    }
    counts
}

/// The report of [`Counts`]: found items by task, and by source.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (task, (items, found)) in &self.tasks {
            let share = 100.0 * *found as f64 / (*items).max(1) as f64;
            writeln!(f, "{task}: {found} of {items} questions found ({share:.1} %)")?;
            for ((_, source), (found, pairs)) in self.sources.iter().filter(|((of, _), _)| of == task) {
                let name = if source.is_empty() { "(no source)" } else { source };
                writeln!(f, "  {name:30} {found:>8} in {pairs} pairs")?;
            }
        }
        Ok(())
    }
}

impl Shared {
    /// A sentence about the counts, or none if they are all 0. `name` and `others` name the two sets of pairs.
    pub fn note(&self, name: &str, others: &str) -> Option<String> {
        let Self { of, pairs, turned, prompts } = self;
        (*prompts > 0).then(|| {
            format!(
                "{name}: {prompts} of {of} pairs have a prompt of the {others} pairs; {pairs} are such a pair \
                 themselves, {turned} of them the other way round"
            )
        })
    }
}

/// Words of a benchmark's question that must stand in a row. GPT-3's authors and the LM Evaluation Harness
/// look for as many.
pub const WORDS: usize = 13;
/// A question of fewer words is found only if a message consists of nothing else.
const FEWEST: usize = 4;

/// A question of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub task: String,
    /// 1-based, in the task's file.
    pub line: usize,
    pub text: String,
}

/// Where a question was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Into the items.
    pub item: usize,
    /// Into the pairs.
    pub pair: usize,
    pub part: &'static str,
}

/// Finds the items in the messages of the pairs. An item is found if a message has [`WORDS`] of its words in a row;
/// if it has fewer words, all of them; if it has fewer than four, they must be the whole message. Words are runs of
/// letters and digits. Case and the characters between words do not matter. Each item is found at most once in a
/// pair. The order is that of the pairs.
///
/// ```
/// use lpc::data::{overlap::{Hit, Item, find}, pairs::Pair};
/// let item = |text: &str| Item { task: "t".into(), line: 1, text: text.into() };
/// let items = [item("Do all cats purr?"), item("Why?")];
/// let pairs = [Pair::of_texts("why", "So: DO ALL - cats purr, I ask", "Why not?")];
/// let hits: Vec<_> = find(&items, &pairs).into_iter().map(|hit| (hit.item, hit.part)).collect();
/// assert_eq!(hits, [(0, "chosen"), (1, "prompt")]);
/// ```
pub fn find(items: &[Item], pairs: &[Pair]) -> Vec<Hit> {
    let words: Vec<Vec<String>> = items.iter().map(|item| words_of(&item.text)).collect();
    // By their number of words, runs of words by a hash; equal hashes are compared word by word.
    let mut known: BTreeMap<usize, HashMap<u64, Vec<(usize, usize)>>> = BTreeMap::new();
    for (item, words) in words.iter().enumerate().filter(|(_, words)| !words.is_empty()) {
        let length = words.len().min(WORDS);
        let hashes = Hashes::of(words);
        for start in 0..=words.len() - length {
            known
                .entry(length)
                .or_default()
                .entry(hashes.run(start, length))
                .or_default()
                .push((item, start));
        }
    }
    let in_message = |text: &str, found: &mut BTreeSet<usize>| {
        let message = words_of(text);
        let hashes = Hashes::of(&message);
        for (&length, runs) in known.range(..=message.len()) {
            if length < FEWEST && length != message.len() {
                continue;
            }
            for start in 0..=message.len() - length {
                for &(item, at) in runs.get(&hashes.run(start, length)).into_iter().flatten() {
                    if words[item][at..at + length] == message[start..start + length] {
                        found.insert(item);
                    }
                }
            }
        }
    };
    let in_pair = |(pair, said): (usize, &Pair)| {
        let mut hits: BTreeMap<usize, &'static str> = BTreeMap::new();
        for (part, messages) in
            [("prompt", &said.prompt), ("chosen", &said.chosen), ("rejected", &said.rejected)]
        {
            let mut found = BTreeSet::new();
            messages.iter().for_each(|message| in_message(&message.text(), &mut found));
            for item in found {
                hits.entry(item).or_insert(part);
            }
        }
        hits.into_iter().map(|(item, part)| Hit { item, pair, part }).collect::<Vec<_>>()
    };
    let found: Vec<Vec<Hit>> = pairs.par_iter().enumerate().map(in_pair).collect();
    found.into_iter().flatten().collect()
}

/// Lower-case runs of letters and digits.
fn words_of(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Hashes of all prefixes of a row of words. The hash of any run of words follows from them.
struct Hashes {
    beginnings: Vec<u64>,
    powers: Vec<u64>,
}

impl Hashes {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

    fn of(words: &[String]) -> Self {
        let (mut beginnings, mut powers) = (vec![0_u64], vec![1_u64]);
        for (i, word) in words.iter().enumerate() {
            let word = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            beginnings.push(beginnings[i].wrapping_mul(Self::BASE).wrapping_add(word));
            powers.push(powers[i].wrapping_mul(Self::BASE));
        }
        Self { beginnings, powers }
    }

    fn run(&self, start: usize, length: usize) -> u64 {
        let before = self.beginnings[start].wrapping_mul(self.powers[length]);
        self.beginnings[start + length].wrapping_sub(before)
    }
}

/// What was found, by task and by the pairs' source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Items of a task, and those found.
    pub tasks: BTreeMap<String, (usize, usize)>,
    /// By task and source: the items found, and the pairs that hold any.
    pub sources: BTreeMap<(String, String), (usize, usize)>,
}

pub fn count(items: &[Item], pairs: &[Pair], hits: &[Hit]) -> Counts {
    let mut counts = Counts::default();
    for item in items {
        counts.tasks.entry(item.task.clone()).or_default().0 += 1;
    }
    let found: HashSet<usize> = hits.iter().map(|hit| hit.item).collect();
    for item in found {
        counts.tasks.entry(items[item].task.clone()).or_default().1 += 1;
    }
    let mut by_source: BTreeMap<(String, String), (HashSet<usize>, HashSet<usize>)> = BTreeMap::new();
    for hit in hits {
        let key = (items[hit.item].task.clone(), pairs[hit.pair].source.clone());
        let (found, holding) = by_source.entry(key).or_default();
        found.insert(hit.item);
        holding.insert(hit.pair);
    }
    let sizes = |(found, holding): (HashSet<usize>, HashSet<usize>)| (found.len(), holding.len());
    counts.sources = by_source.into_iter().map(|(key, sets)| (key, sizes(sets))).collect();
    counts
}
