//! What a trained policy's latents are on pairs: prior, posterior and h_z, and whether they know
//! where a prompt comes from.

use crate::config::Training;
use crate::data::pairs::Pair;
use crate::data::tokenize::TokenizedPair;
use crate::error::{Error, Result};
use crate::eval::clusters::{against_permutations, distances, neighbours, silhouettes, votes_right};
use crate::interrupt;
use crate::model::batch::PairBatch;
use crate::passes::policy::PairPolicy;
use crate::progress::Task;
use crate::run::map::{Map, Means};
use crate::seed;
use crate::tensor::codebook;
use crate::tensor::numerics::softmax;
use crate::train::micro_batches::micro_batches;
use crate::train::reference::by_length;
use candle_core::{DType, Tensor};
use ndarray::{Array2, ArrayView2};

/// A row a pair.
pub struct Latents {
    /// p(k|x), [n, K].
    pub prior: Array2<f64>,
    /// q(k|x, y_w ≻ y_l), [n, K].
    pub posterior: Array2<f64>,
    /// h_z = Σ_k p(k|x) e_k, [n, d]: from the prompt alone.
    pub latent: Array2<f64>,
}

impl Latents {
    /// Errors: a policy without codes.
    pub fn of(
        policy: &dyn PairPolicy,
        pairs: &[TokenizedPair],
        training: &Training,
        progress: &Task,
    ) -> Result<Self> {
        let heads = policy
            .codes()
            .ok_or_else(|| Error::argument("latents", "policy", "without codes", "one trained with LPC"))?;
        let (codes, d) = heads.codebook.dims2()?;
        let empty = |width: usize| Array2::zeros((pairs.len(), width));
        let mut all = Self { prior: empty(codes), posterior: empty(codes), latent: empty(d) };
        for members in &micro_batches(&by_length(pairs), pairs, training, policy.pads()) {
            interrupt::check("latents")?;
            let chunk: Vec<&TokenizedPair> = members.iter().map(|&i| &pairs[i]).collect();
            let batch = PairBatch::new(&chunk, policy.dtype(), policy.device())?;
            let states = policy.states(&batch)?;
            let prior = softmax(&heads.prior_logits(&states.prompt_hidden)?)?;
            let posterior = heads.posterior_logits(&states.seen(&batch))?;
            put(&mut all.latent, members, &codebook::latent(&prior, &heads.codebook)?)?;
            put(&mut all.prior, members, &prior)?;
            put(&mut all.posterior, members, &softmax(&posterior)?)?;
            progress.advance(members.len(), String::new);
        }
        Ok(all)
    }
}

fn put(rows: &mut Array2<f64>, members: &[usize], values: &Tensor) -> Result<()> {
    for (&i, values) in members.iter().zip(values.to_dtype(DType::F64)?.to_vec2::<f64>()?) {
        rows.row_mut(i).iter_mut().zip(values).for_each(|(to, from)| *to = from);
    }
    Ok(())
}

/// Test pairs that the map shows, the first ones: distances are of all pairs of points.
pub(super) const MAP_PAIRS: usize = 1000;

/// Neighbours that vote on a point's source.
pub(super) const NEIGHBOURS: usize = 10;

/// Orders of the sources behind a null.
pub(super) const PERMUTATIONS: usize = 999;

/// t-SNE's perplexity, and its optimiser's steps.
pub(super) const PERPLEXITY: f32 = 30.0;
const EPOCHS: usize = 1000;

/// How well latents [n, d] tell sources apart, without a picture.
pub fn means(latents: ArrayView2<f64>, labels: &[usize], kinds: usize) -> Means {
    let all = distances(latents);
    let right = votes_right(&neighbours(all.view(), NEIGHBOURS), labels, kinds);
    Means {
        silhouette: mean(&silhouettes(all.view(), labels, kinds)),
        vote_accuracy: right.iter().filter(|r| **r).count() as f64 / right.len() as f64,
    }
}

/// 1 for each latent of [n, d] whose neighbours' commonest label is its own, otherwise 0.
pub fn votes(latents: ArrayView2<f64>, labels: &[usize], kinds: usize) -> Vec<f64> {
    let right = votes_right(&neighbours(distances(latents).view(), NEIGHBOURS), labels, kinds);
    right.into_iter().map(|right| f64::from(u8::from(right))).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Distinct sources in order, and each pair's position among them.
pub fn sources(pairs: &[Pair]) -> (Vec<&str>, Vec<usize>) {
    let mut names: Vec<&str> = pairs.iter().map(|p| p.source.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let position = |p: &Pair| names.binary_search(&p.source.as_str()).unwrap_or(0);
    let labels = pairs.iter().map(position).collect();
    (names, labels)
}

/// Lays `latents` [n, d] out and compares them with their `labels`. The random start and orders are
/// streams of `seed`.
///
/// Errors: fewer points than t-SNE's perplexity needs.
pub fn map(latents: ArrayView2<f64>, labels: &[usize], kinds: usize, seed: u64) -> Result<Map> {
    let n = latents.nrows();
    let least = 3 * PERPLEXITY as usize + 2;
    if n < least {
        let expected = format!("at least {least}, for a perplexity of {PERPLEXITY}");
        return Err(Error::argument("map of latents", "pairs", n, expected));
    }
    let all = distances(latents);
    let near = neighbours(all.view(), NEIGHBOURS);
    let silhouette_of = |labels: &[usize]| silhouettes(all.view(), labels, kinds);
    let votes_of = |labels: &[usize]| -> Vec<f64> {
        votes_right(&near, labels, kinds).into_iter().map(|right| f64::from(u8::from(right))).collect()
    };
    let rng = |what: &str| seed::stream(seed, &format!("map/{what}"));
    let mean_silhouette =
        against_permutations(labels, PERMUTATIONS, &mut rng("silhouette"), |l| mean(&silhouette_of(l)))?;
    let vote_accuracy =
        against_permutations(labels, PERMUTATIONS, &mut rng("votes"), |l| mean(&votes_of(l)))?;
    // Its Gaussians take squares; their scale is found by bisection, which begins at 1.
    let squares = all.mapv(|d| d * d);
    let scale = squares.sum() / (n * n) as f64;
    let points: Vec<usize> = (0..n).collect();
    let start: Vec<f32> =
        seed::normal(&mut rng("t-sne"), 2 * n).into_iter().map(|v| 1e-4 * v as f32).collect();
    let embedding = bhtsne::tSNE::<f32, usize>::new(&points)
        .perplexity(PERPLEXITY)
        .epochs(EPOCHS)
        .initial_embedding(start)
        .exact(|&a, &b| (squares[[a, b]] / scale) as f32)
        .embedding();
    Ok(Map {
        x: embedding.iter().step_by(2).map(|v| f64::from(*v)).collect(),
        y: embedding.iter().skip(1).step_by(2).map(|v| f64::from(*v)).collect(),
        silhouette: silhouette_of(labels),
        mean_silhouette,
        vote_accuracy,
    })
}
