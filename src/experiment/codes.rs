//! A run's codes, read: which are used, whether prior and posterior agree, what each promotes, and what
//! they know of sources and, where the truth is known, of tastes.

use crate::config::{DataSource, Recipe};
use crate::data::world;
use crate::error::{Error, Result};
use crate::eval::clusters::{against_permutations, mutual_information};
use crate::experiment::dataset::TextPairs;
use crate::experiment::latents::{Latents, PERMUTATIONS, sources};
use crate::model::load::Loaded;
use crate::passes::policy::{PairPolicy, Policy};
use crate::progress::Progress;
use crate::run::codes::{Codes, Information, Usage, entropy};
use crate::seed;
use candle_core::DType;
use ndarray::{ArrayView2, Axis};

/// Tokens shown of each code.
const TOKENS: usize = 8;

/// Reads the codes on the test pairs of the recipe's data.
///
/// Errors: a policy without codes; data that is gone.
pub fn read(recipe: &Recipe, loaded: &Loaded, policy: &Policy, progress: &Progress) -> Result<Codes> {
    let text = TextPairs::load(&recipe.data)?;
    let data = text.tokenized(loaded, &recipe.truncation)?;
    let task = progress.task("latents of test pairs", data.test.len());
    let latents = Latents::of(policy, &data.test, &recipe.training, &task)?;
    drop(task);
    let n = data.test.len() as f64;
    let likeliest = |of: ArrayView2<f64>| -> Vec<usize> {
        let best = |row: ndarray::ArrayView1<f64>| {
            row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(k, _)| k)
        };
        of.rows().into_iter().map(best).collect()
    };
    let (before, after) = (likeliest(latents.prior.view()), likeliest(latents.posterior.view()));
    let means = |of: &ndarray::Array2<f64>| of.sum_axis(Axis(0)) / n;
    let (prior, posterior) = (means(&latents.prior), means(&latents.posterior));
    let promoted = promoted(policy, loaded)?;
    let usage = promoted.into_iter().enumerate().map(|(k, tokens)| Usage {
        prior: prior[k],
        posterior: posterior[k],
        likeliest: before.iter().filter(|b| **b == k).count() as f64 / n,
        tokens,
    });
    let divergence = |(q, p): (&f64, &f64)| if *q > 0.0 { q * (q / p).ln() } else { 0.0 };
    Ok(Codes {
        pairs: data.test.len(),
        usage: usage.collect(),
        prior_entropy: latents.prior.rows().into_iter().map(|r| entropy(r.iter().copied())).sum::<f64>() / n,
        kl: latents.posterior.iter().zip(&latents.prior).map(divergence).sum::<f64>() / n,
        same_code: before.iter().zip(&after).filter(|(a, b)| a == b).count() as f64 / n,
        information: information(recipe, &text, latents.prior.view())?,
    })
}

/// What p(z|x) tells of a prompt's source and, in the built-in world, of what it rewards.
fn information(recipe: &Recipe, text: &TextPairs, prior: ArrayView2<f64>) -> Result<Vec<Information>> {
    let (names, by_source) = sources(&text.test);
    let mut labels = vec![];
    // Where every pair has the same source there is nothing to tell.
    if names.len() > 1 {
        labels.push(("source".to_string(), names.len(), by_source.clone()));
    }
    if let DataSource::World(settings) = &recipe.data {
        let truth = world::generate(settings)?.test;
        let cue: Vec<usize> = truth.iter().map(|p| usize::from(p.truth.cue_flips)).collect();
        let both = by_source.iter().zip(&cue).map(|(s, c)| 2 * s + c).collect();
        labels.push(("taste: source and cue".into(), 2 * names.len(), both));
        labels.push(("cue".into(), 2, cue));
    }
    let of = |(of, kinds, labels): (String, usize, Vec<usize>)| {
        let mut rng = seed::stream(recipe.seed, &format!("codes/{of}"));
        let found = against_permutations(&labels, PERMUTATIONS, &mut rng, |labels| {
            mutual_information(labels, kinds, prior)
        })?;
        let n = labels.len() as f64;
        let shares = (0..kinds).map(|l| labels.iter().filter(|x| **x == l).count() as f64 / n);
        Ok(Information { of, entropy: entropy(shares), found })
    };
    labels.into_iter().map(of).collect()
}

/// The tokens whose scores W e_k rises most above the codes' mean, for every code.
fn promoted(policy: &Policy, loaded: &Loaded) -> Result<Vec<Vec<String>>> {
    let heads = policy
        .codes()
        .ok_or_else(|| Error::argument("codes", "run", "a model without codes", "one trained with LPC"))?;
    let scores = heads.codebook.to_dtype(policy.decoder.lm_head().dtype())?;
    let scores = scores.matmul(&policy.decoder.lm_head().t()?)?.to_dtype(DType::F32)?;
    let scores = scores.broadcast_sub(&scores.mean_keepdim(0)?)?.to_vec2::<f32>()?;
    let of = |scores: Vec<f32>| {
        let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
        ids.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
        ids.truncate(TOKENS);
        ids.iter().map(|id| loaded.tokenizer.decode(&[*id], false)).collect::<Result<Vec<_>>>()
    };
    scores.into_iter().map(of).collect()
}
