//! Random inputs for both sides, and how close they must come.

use crate::composed::{Blocks, Relaxed};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use lpc::config::{Gpo, Objective};
use lpc::seed;
use lpc::spec::gradient::{LatentRule, LpcLoss, LpcPair, LpcSettings, lpc_loss};
use lpc::spec::objective::PairLogps;
use ndarray::{Array1, Array2};
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;

/// Two f64 implementations differ in the order of sums, and by up to 1/τ ≤ 10 times the rounding of
/// an exponent of up to 1e4: some 1e-11.
pub const RELATIVE: f64 = 1e-10;
/// What cancels to nearly nothing keeps the rounding of its terms: this, times their size. Measured
/// over 5,000 cases: 2.9e-14 at most.
pub const NEAR_ZERO: f64 = 1e-13;

/// The largest magnitude among `values`, at least 1.
pub fn size<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().fold(1.0, |m, v| m.max(v.abs()))
}

/// f64 against f64, where the terms behind a number are no larger than `size`.
#[track_caller]
pub fn assert_close(what: &str, tensor: &[f64], spec: &[f64], size: f64) {
    assert_eq!(tensor.len(), spec.len(), "{what}: numbers");
    for (i, (t, s)) in tensor.iter().zip(spec).enumerate() {
        assert!(t.is_finite() && s.is_finite(), "{what}[{i}]: tensor {t}, spec {s}");
        let allowed = RELATIVE * s.abs() + NEAR_ZERO * size;
        let off = (t - s).abs();
        assert!(off <= allowed, "{what}[{i}]: tensor {t}, spec {s}, off by {off:e}, allowed {allowed:e}");
    }
}

/// f64 variables from rows.
pub fn var1(values: &[f64]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

pub fn var2(values: &Array2<f64>) -> Var {
    let data: Vec<f64> = values.iter().copied().collect();
    Var::from_tensor(&Tensor::from_vec(data, values.dim(), &Device::Cpu).unwrap()).unwrap()
}

/// Reverse mode of Σ output·upstream.
pub fn backward(output: &Tensor, upstream: &[f64]) -> GradStore {
    let upstream = Tensor::from_vec(upstream.to_vec(), output.shape(), &Device::Cpu).unwrap();
    (output * upstream).unwrap().sum_all().unwrap().backward().unwrap()
}

/// Arrays drawn from one seed.
pub struct Draw(ChaCha12Rng);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed::stream(seed, "parity"))
    }

    pub fn vector(&mut self, n: usize, scale: f64) -> Array1<f64> {
        Array1::from(seed::normal(&mut self.0, n)) * scale
    }

    pub fn matrix(&mut self, rows: usize, columns: usize, scale: f64) -> Array2<f64> {
        self.vector(rows * columns, scale).into_shape_with_order((rows, columns)).unwrap()
    }

    pub fn gumbel(&mut self, rows: usize, columns: usize) -> Array2<f64> {
        Array2::from_shape_vec((rows, columns), seed::gumbel(&mut self.0, rows * columns)).unwrap()
    }

    pub fn tokens(&mut self, n: usize, vocabulary: usize) -> Vec<u32> {
        (0..n).map(|_| seed::below(&mut self.0, vocabulary) as u32).collect()
    }
}

/// 10^u with u uniform.
pub fn log_uniform(low: f64, high: f64) -> impl Strategy<Value = f64> {
    (low.log10()..=high.log10()).prop_map(|u| 10f64.powf(u))
}

/// The members of GPO but for the exponential.
fn bounded_members() -> Vec<Gpo> {
    Gpo::ALL.into_iter().filter(|&member| member != Gpo::Exponential).collect()
}

pub fn objective() -> impl Strategy<Value = Objective> {
    prop_oneof![
        log_uniform(1e-3, 10.0).prop_map(|beta| Objective::Dpo { beta }),
        log_uniform(1e-2, 3.0).prop_map(|ipo_tau| Objective::Ipo { ipo_tau }),
        (log_uniform(1e-3, 10.0), -3.0..3.0).prop_map(|(beta, gamma)| Objective::Simpo { beta, gamma }),
        // Up to 1: a square multiplies the rounding of a margin by β². The exponential loss leaves
        // f64 in the far tails; `objectives::losses_of_the_margin` has it.
        (prop::sample::select(bounded_members()), log_uniform(1e-3, 1.0))
            .prop_map(|(member, beta)| Objective::Gpo { member, beta }),
    ]
}

/// Ends of ranges are where terms vanish: they come up often.
pub fn settings() -> impl Strategy<Value = Relaxed> {
    let prior_weight = prop_oneof![1 => Just(0.0), 1 => Just(1.0), 3 => 0.0..1.0];
    let kl_weight = prop_oneof![1 => Just(0.0), 3 => 0.0..2.0];
    (objective(), log_uniform(0.1, 10.0), prior_weight, kl_weight).prop_map(
        |(objective, gumbel_tau, prior_weight, kl_weight)| Relaxed {
            objective,
            gumbel_tau,
            prior_weight,
            kl_weight,
        },
    )
}

impl Relaxed {
    pub fn spec(self) -> LpcSettings {
        let Self { objective, gumbel_tau, prior_weight, kl_weight } = self;
        LpcSettings { objective, latent: LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight } }
    }
}

/// Owner of what an [`LpcPair`] borrows, and the pair's weight in the batch's loss.
#[derive(Debug, Clone)]
pub struct Example {
    pub chosen_hidden: Array2<f64>,
    pub rejected_hidden: Array2<f64>,
    chosen_tokens: Vec<u32>,
    rejected_tokens: Vec<u32>,
    prior_logits: Array1<f64>,
    posterior_logits: Array1<f64>,
    prior_noise: Array1<f64>,
    posterior_noise: Array1<f64>,
    pub reference: PairLogps,
    upstream: f64,
}

/// Pairs that share a codebook and an LM head.
#[derive(Debug, Clone)]
pub struct Problem {
    pub lm_head: Array2<f64>,
    pub codebook: Array2<f64>,
    pub examples: Vec<Example>,
}

/// 1–4 pairs of 1–8 tokens a side, 2–9 words, width 1–6, 1–8 codes, spread-out or nearly flat.
pub fn problem() -> impl Strategy<Value = Problem> {
    let lengths = prop::collection::vec((1usize..=8, 1usize..=8), 1..=4);
    (any::<u64>(), lengths, 2usize..10, 1usize..7, 1usize..=8, log_uniform(0.1, 3.0)).prop_map(
        |(seed, lengths, vocabulary, d, codes, scale)| {
            let mut draw = Draw::new(seed);
            let mut example = |&(chosen, rejected): &(usize, usize)| Example {
                chosen_hidden: draw.matrix(chosen, d, scale),
                rejected_hidden: draw.matrix(rejected, d, scale),
                chosen_tokens: draw.tokens(chosen, vocabulary),
                rejected_tokens: draw.tokens(rejected, vocabulary),
                prior_logits: draw.vector(codes, scale),
                posterior_logits: draw.vector(codes, scale),
                prior_noise: draw.gumbel(1, codes).remove_axis(ndarray::Axis(0)),
                posterior_noise: draw.gumbel(1, codes).remove_axis(ndarray::Axis(0)),
                reference: PairLogps {
                    chosen: draw.vector(1, 3.0)[0] - 8.0,
                    rejected: draw.vector(1, 3.0)[0] - 8.0,
                },
                upstream: draw.vector(1, 1.0)[0],
            };
            Problem {
                examples: lengths.iter().map(&mut example).collect(),
                lm_head: draw.matrix(vocabulary, d, 1.0),
                codebook: draw.matrix(codes, d, 1.0),
            }
        },
    )
}

impl Problem {
    pub fn pairs(&self) -> Vec<LpcPair<'_>> {
        self.examples.iter().map(|e| self.pair(e)).collect()
    }

    fn pair<'a>(&'a self, e: &'a Example) -> LpcPair<'a> {
        LpcPair {
            chosen_hidden: &e.chosen_hidden,
            rejected_hidden: &e.rejected_hidden,
            chosen_tokens: &e.chosen_tokens,
            rejected_tokens: &e.rejected_tokens,
            lm_head: &self.lm_head,
            codebook: &self.codebook,
            prior_logits: &e.prior_logits,
            posterior_logits: &e.posterior_logits,
            prior_noise: &e.prior_noise,
            posterior_noise: &e.posterior_noise,
            reference: e.reference,
        }
    }

    pub fn upstream(&self) -> Vec<f64> {
        self.examples.iter().map(|e| e.upstream).collect()
    }

    /// `spec` on each pair, laid out as [`crate::composed::Batch::blocks`] lays out `tensor`.
    pub fn spec_blocks(&self, settings: &Relaxed) -> Blocks {
        let losses: Vec<LpcLoss> =
            self.pairs().iter().map(|pair| lpc_loss(pair, &settings.spec()).unwrap()).collect();
        let values = |of: &dyn Fn(&LpcLoss) -> Vec<f64>| losses.iter().flat_map(of).collect::<Vec<f64>>();
        let weighted = |of: &dyn Fn(&LpcLoss) -> Vec<f64>| {
            let scaled =
                |(loss, w): (&LpcLoss, f64)| of(loss).into_iter().map(|v| v * w).collect::<Vec<f64>>();
            losses.iter().zip(self.upstream()).map(scaled).collect::<Vec<_>>()
        };
        // What the pairs share gets the sum of their gradients.
        let shared = |of: &dyn Fn(&LpcLoss) -> Vec<f64>| {
            let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a + b).collect();
            weighted(of).into_iter().reduce(add).unwrap()
        };
        let both = |l: &LpcLoss| {
            let (chosen, rejected) = (&l.gradients.chosen_hidden, &l.gradients.rejected_hidden);
            chosen.iter().chain(rejected).copied().collect()
        };
        vec![
            ("loss", values(&|l| vec![l.loss])),
            ("margin", values(&|l| vec![l.margin])),
            ("kl", values(&|l| vec![l.kl])),
            ("policy_logps", values(&|l| vec![l.policy.chosen, l.policy.rejected])),
            ("code_weights", values(&|l| l.code_weights.to_vec())),
            ("∂hidden", weighted(&both).concat()),
            ("∂lm_head", shared(&|l| l.gradients.lm_head.iter().copied().collect())),
            ("∂codebook", shared(&|l| l.gradients.codebook.iter().copied().collect())),
            ("∂prior_logits", weighted(&|l| l.gradients.prior_logits.to_vec()).concat()),
            ("∂posterior_logits", weighted(&|l| l.gradients.posterior_logits.to_vec()).concat()),
        ]
    }

    /// The largest number that a computation meets on its way to `blocks`: what it returns, the
    /// vocabulary's scores, and what the logits see of the slopes.
    pub fn size(&self, settings: &Relaxed, blocks: &Blocks) -> f64 {
        let d = self.codebook.ncols() as f64;
        let states = self.examples.iter().flat_map(|e| e.chosen_hidden.iter().chain(&e.rejected_hidden));
        let scores = d * size(&self.lm_head) * (size(states) + size(&self.codebook));
        let returned = size(blocks.iter().flat_map(|(_, values)| values));
        scores.max(returned / settings.gumbel_tau.min(1.0))
    }

    /// Every input rounded to f32, so that both precisions start from the same numbers.
    pub fn to_f32(&self) -> Self {
        let round = |v: f64| f64::from(v as f32);
        let mut rounded = self.clone();
        rounded.lm_head.mapv_inplace(round);
        rounded.codebook.mapv_inplace(round);
        for e in &mut rounded.examples {
            e.chosen_hidden.mapv_inplace(round);
            e.rejected_hidden.mapv_inplace(round);
            for codes in
                [&mut e.prior_logits, &mut e.posterior_logits, &mut e.prior_noise, &mut e.posterior_noise]
            {
                codes.mapv_inplace(round);
            }
            let PairLogps { chosen, rejected } = e.reference;
            e.reference = PairLogps { chosen: round(chosen), rejected: round(rejected) };
            e.upstream = round(e.upstream);
        }
        rounded
    }
}
