//! Splits of a preference data set, written as a folder that a recipe can name.

use crate::data::layout::Layout;
use crate::data::pairs::{LeftOut, Pair, Pairs};
use crate::data::ultrafeedback::ScoreCounts;
use crate::error::{Error, Result};
use crate::files::{sha256, sha256_file, write_atomic};
use crate::seed::{permutation, stream};
use crate::text::message::Message;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Pairs held out by a seed, and the rest for training.
#[derive(Debug, Clone, PartialEq)]
pub struct Splits {
    pub train: Vec<Pair>,
    pub validation: Vec<Pair>,
    pub test: Vec<Pair>,
    /// Pairs in no split, because another split has their prompt.
    pub prompt_elsewhere: usize,
}

/// `manifest.json` beside the splits: which files were read and which were written.
#[derive(Debug, Serialize)]
struct Manifest {
    lpc: &'static str,
    seed: u64,
    files: Vec<Written>,
    layouts: BTreeMap<Layout, usize>,
    left_out: BTreeMap<LeftOut, usize>,
    identical_completions: usize,
    prompt_in_another_split: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ultrafeedback_scores: Option<ScoreCounts>,
    splits: Vec<Written>,
}

#[derive(Debug, Serialize)]
struct Written {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<usize>,
    sha256: String,
}

/// Draws `test` pairs, then `validation` pairs, by `seed`; the rest trains, in its order. No prompt,
/// context included, is in two splits: otherwise a data set that asks a question twice would be tested on
/// a question it was trained on.
///
/// # Errors
/// Too few pairs for both and one to train on.
pub fn split(pairs: Vec<Pair>, validation: usize, test: usize, seed: u64) -> Result<Splits> {
    let order = permutation(&mut stream(seed, "binarize/held out"), pairs.len());
    let (mut held_out, mut taken) = ([vec![], vec![]], vec![false; pairs.len()]);
    let mut prompts: [HashSet<&[Message]>; 2] = [HashSet::new(), HashSet::new()];
    let mut elsewhere = 0;
    let key = |i: usize| pairs[i].prompt.as_slice();
    let mut left = order.into_iter();
    for (split, wanted) in [test, validation].into_iter().enumerate() {
        while held_out[split].len() < wanted {
            let Some(i) = left.next() else { break };
            taken[i] = true;
            if split == 1 && prompts[0].contains(&key(i)) {
                elsewhere += 1;
                continue;
            }
            prompts[split].insert(key(i));
            held_out[split].push(i);
        }
    }
    let in_training = |i: &usize| prompts.iter().all(|held_out| !held_out.contains(&key(*i)));
    let (train, dropped): (Vec<usize>, Vec<usize>) =
        (0..pairs.len()).filter(|&i| !taken[i]).partition(|i| in_training(i));
    let [test_pairs, validation_pairs] = held_out.map(|split| {
        let mut split = split;
        split.sort_unstable();
        split.into_iter().map(|i| pairs[i].clone()).collect::<Vec<_>>()
    });
    if train.is_empty() || test_pairs.len() < test || validation_pairs.len() < validation {
        let expected = format!("more pairs than {test} for the test and {validation} for validation");
        return Err(Error::argument("binarize", "pairs", pairs.len(), expected));
    }
    Ok(Splits {
        train: train.into_iter().map(|i| pairs[i].clone()).collect(),
        validation: validation_pairs,
        test: test_pairs,
        prompt_elsewhere: elsewhere + dropped.len(),
    })
}

/// Writes `train.jsonl`, `validation.jsonl` and `test.jsonl` (without an empty one), then
/// `manifest.json` with checksums of what was read and written. Where any pair has a context, all
/// are messages with an explicit prompt; else all are plain text.
///
/// # Errors
/// A file cannot be read or written.
pub fn write(folder: &Path, files: &[PathBuf], read: &Pairs, splits: &Splits, seed: u64) -> Result<()> {
    let parts = [("train", &splits.train), ("validation", &splits.validation), ("test", &splits.test)];
    let messages = parts.iter().any(|(_, pairs)| pairs.iter().any(|p| !p.is_plain()));
    let mut written = vec![];
    for (name, pairs) in parts.into_iter().filter(|(_, pairs)| !pairs.is_empty()) {
        let name = format!("{name}.jsonl");
        let text: String = pairs.iter().map(|pair| format!("{}\n", row(pair, messages))).collect();
        write_atomic(&folder.join(&name), text.as_bytes())?;
        written.push(Written { name, pairs: Some(pairs.len()), sha256: sha256(text.as_bytes()) });
    }
    let source = |path: &PathBuf| {
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Ok(Written { name, pairs: None, sha256: sha256_file(path)? })
    };
    let manifest = Manifest {
        lpc: env!("CARGO_PKG_VERSION"),
        seed,
        files: files.iter().map(source).collect::<Result<_>>()?,
        layouts: read.layouts.clone(),
        left_out: read.left_out_by_reason(),
        identical_completions: read.identical,
        prompt_in_another_split: splits.prompt_elsewhere,
        ultrafeedback_scores: read.layouts.contains_key(&Layout::UltraFeedback).then_some(read.scores),
        splits: written,
    };
    let path = folder.join("manifest.json");
    let json = serde_json::to_string_pretty(&manifest).map_err(|e| Error::io(&path)(e.into()))?;
    write_atomic(&path, format!("{json}\n").as_bytes())
}

fn row(pair: &Pair, messages: bool) -> Value {
    let mut row = json!({ "id": pair.id, "source": pair.source });
    if messages {
        row["prompt"] = json!(pair.prompt);
        row["chosen"] = json!(pair.chosen);
        row["rejected"] = json!(pair.rejected);
    } else {
        row["prompt"] = pair.prompt_text().into();
        row["chosen"] = pair.chosen_text().into();
        row["rejected"] = pair.rejected_text().into();
    }
    if let Some(tools) = &pair.tools {
        row["tools"] = tools.clone();
    }
    if !pair.template_kwargs.is_empty() {
        row["chat_template_kwargs"] = json!(pair.template_kwargs);
    }
    row
}
