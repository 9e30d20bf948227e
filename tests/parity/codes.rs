//! The head under every code at once, by one product, against `spec`, which scores code by code.

use crate::composed::{gradient, numbers};
use crate::twins::{Draw, assert_close, backward, log_uniform, size, var2};
use candle_core::{DType, Device, Tensor, Var};
use lpc::config::Precision;
use lpc::seed;
use lpc::tensor::code_head::code_logps_fused;
use lpc::tensor::logprob::{code_logps, completion_logps_sum};
use lpc::{Error, spec, tensor};
use ndarray::{Array2, array};
use proptest::prelude::*;

/// f32 against f64 on the same inputs, relative to the largest score: roundings of 6e-8 of a score,
/// of two exponentials and of their sum. Measured over 5,000 cases: 2.1e-7 at most.
const F32: f64 = 1e-6;

/// States and codes that spread by their own scales: their peaks lie near or far.
#[derive(Debug, Clone)]
struct Problem {
    hidden: Array2<f64>,
    lm_head: Array2<f64>,
    codebook: Array2<f64>,
    lengths: Vec<usize>,
    tokens: Vec<u32>,
    /// [completions, K]
    upstream: Array2<f64>,
}

fn problem() -> impl Strategy<Value = Problem> {
    let lengths = prop::collection::vec(1usize..=8, 1..5);
    let scales = (log_uniform(0.1, 300.0), log_uniform(0.01, 300.0));
    (any::<u64>(), lengths, 2usize..60, 1usize..7, 1usize..=8, scales).prop_map(
        |(seed, lengths, vocabulary, d, codes, (states, code_scale))| {
            let mut draw = Draw::new(seed);
            let n = lengths.iter().sum();
            Problem {
                hidden: draw.matrix(n, d, states),
                lm_head: draw.matrix(vocabulary, d, 1.0),
                codebook: draw.matrix(codes, d, code_scale),
                tokens: draw.tokens(n, vocabulary),
                upstream: draw.matrix(lengths.len(), codes, 1.0),
                lengths,
            }
        },
    )
}

struct Outcome {
    sums: Vec<f64>,
    hidden: Vec<f64>,
    lm_head: Vec<f64>,
    codebook: Vec<f64>,
}

impl Problem {
    fn rounded(mut self) -> Self {
        for array in [&mut self.hidden, &mut self.lm_head, &mut self.codebook, &mut self.upstream] {
            array.mapv_inplace(|v| f64::from(v as f32));
        }
        self
    }

    fn score_size(&self) -> f64 {
        let scores = self.hidden.dot(&self.lm_head.t());
        size(&scores) + size(&self.codebook.dot(&self.lm_head.t()))
    }

    fn spec(&self) -> Outcome {
        let mut from = 0;
        let (mut sums, mut to_hidden) = (vec![], vec![]);
        let mut to_lm_head = Array2::<f64>::zeros(self.lm_head.dim());
        let mut to_codebook = Array2::<f64>::zeros(self.codebook.dim());
        for (&n, upstream) in self.lengths.iter().zip(self.upstream.rows()) {
            let hidden = self.hidden.slice(ndarray::s![from..from + n, ..]);
            let tokens = &self.tokens[from..from + n];
            let (lm_head, codebook) = (&self.lm_head, &self.codebook);
            sums.extend(spec::logprob::code_logps(&hidden, lm_head, codebook, tokens).unwrap());
            let (h, w, e) =
                spec::logprob::code_logps_gradient(&hidden, lm_head, codebook, tokens, &upstream).unwrap();
            to_hidden.extend(h);
            to_lm_head += &w;
            to_codebook += &e;
            from += n;
        }
        let flat = |a: Array2<f64>| a.iter().copied().collect();
        Outcome { sums, hidden: to_hidden, lm_head: flat(to_lm_head), codebook: flat(to_codebook) }
    }

    fn tensor(&self, dtype: DType, fused: bool) -> Outcome {
        let var = |a: &Array2<f64>| Var::from_tensor(&var2(a).to_dtype(dtype).unwrap()).unwrap();
        let [hidden, lm_head, codebook] = [&self.hidden, &self.lm_head, &self.codebook].map(var);
        let logps = if fused {
            code_logps_fused(&hidden, &lm_head, &codebook, &self.tokens, Precision::F32).unwrap()
        } else {
            let ids = Tensor::new(self.tokens.as_slice(), &Device::Cpu).unwrap();
            code_logps(&hidden, &lm_head, &codebook, &ids).unwrap()
        };
        let ids = self.lengths.iter().enumerate().flat_map(|(i, &n)| vec![i as u32; n]);
        let ids: Vec<u32> = ids.collect();
        let sums = completion_logps_sum(&logps, &ids, self.lengths.len()).unwrap();
        let store = backward(&sums.to_dtype(DType::F64).unwrap(), self.upstream.as_slice().unwrap());
        Outcome {
            sums: numbers(&sums),
            hidden: gradient(&store, &hidden),
            lm_head: gradient(&store, &lm_head),
            codebook: gradient(&store, &codebook),
        }
    }
}

impl Outcome {
    /// What the roundings of scores of `scores` become in each.
    fn blocks(&self, p: &Problem, scores: f64) -> [(&'static str, &[f64], f64); 4] {
        let terms = p.tokens.len() as f64 * p.codebook.nrows() as f64 * size(&p.upstream);
        let (head, states) = (size(&p.lm_head), size(&p.hidden) + size(&p.codebook));
        [
            ("sums", &self.sums, scores * p.tokens.len() as f64),
            ("∂hidden", &self.hidden, scores * terms * head),
            ("∂lm_head", &self.lm_head, scores * terms * states),
            ("∂codebook", &self.codebook, scores * terms * head),
        ]
    }
}

proptest! {
    #[test]
    fn double_precision(problem in problem()) {
        let (spec, tensor) = (problem.spec(), problem.tensor(DType::F64, false));
        let scores = problem.score_size();
        for ((what, got, size), (_, expected, _)) in tensor.blocks(&problem, scores).into_iter().zip(spec.blocks(&problem, scores)) {
            assert_close(what, got, expected, size);
        }
    }

    #[test]
    fn single_precision(problem in problem(), fused: bool) {
        let problem = problem.rounded();
        let (spec, tensor) = (problem.spec(), problem.tensor(DType::F32, fused));
        let scores = problem.score_size();
        for ((what, got, size), (_, expected, _)) in tensor.blocks(&problem, scores).into_iter().zip(spec.blocks(&problem, scores)) {
            let off = got.iter().zip(expected).fold(0f64, |m, (g, e)| m.max(if g.is_finite() { (g - e).abs() } else { f64::INFINITY }));
            prop_assert!(off <= F32 * size, "{} off by {:e} of {:e}", what, off, size);
        }
    }

    /// Beside codes whose product underflows stand codes whose does not: peaks of `height` on words
    /// of their own, which leave e^−height of the product, or less than any f32.
    #[test]
    fn peaks_far_apart(height in 40.0..400.0f64, seed: u64) {
        let mut draw = Draw::new(seed);
        let peak = |word: usize| {
            let mut row = ndarray::Array1::<f64>::zeros(4);
            row[word] = height;
            row
        };
        let stack = |rows: &[ndarray::Array1<f64>]| {
            ndarray::stack(ndarray::Axis(0), &rows.iter().map(|r| r.view()).collect::<Vec<_>>()).unwrap()
        };
        let problem = Problem {
            hidden: stack(&[peak(0), peak(1), peak(1) * 0.1, peak(3)]),
            lm_head: Array2::eye(4),
            codebook: stack(&[peak(0), peak(2), peak(3) * 0.5, peak(0) * 0.0]),
            lengths: vec![1, 3],
            tokens: vec![2, 0, 1, 3],
            upstream: draw.matrix(2, 4, 1.0),
        }
        .rounded();
        let spec = problem.spec();
        for (dtype, fused) in [(DType::F64, false), (DType::F32, false), (DType::F32, true)] {
            let tensor = problem.tensor(dtype, fused);
            let scores = problem.score_size();
            for ((what, got, size), (_, expected, _)) in tensor.blocks(&problem, scores).into_iter().zip(spec.blocks(&problem, scores)) {
                let off = got.iter().zip(expected).fold(0f64, |m, (g, e)| m.max(if g.is_finite() { (g - e).abs() } else { f64::INFINITY }));
                prop_assert!(off <= F32 * size, "{:?} {} {}: off by {:e} of {:e}", dtype, fused, what, off, size);
            }
        }
    }
}

proptest! {
    /// (6), its posterior, the gap of (7), and (7) itself, from any losses of codes; gradients of each.
    #[test]
    fn exact_latents(seed: u64, b in 1usize..4, codes in 1usize..=8, scale in log_uniform(0.1, 100.0), height in log_uniform(0.1, 1e4), kl_weight in prop_oneof![1 => Just(0.0), 1 => Just(1.0), 2 => 0.0..3.0]) {
        let mut draw = Draw::new(seed);
        let [p, q] = [draw.matrix(b, codes, scale), draw.matrix(b, codes, scale)];
        let (losses, upstream) = (draw.matrix(b, codes, height).abs(), draw.vector(b, 1.0));
        let [p_var, q_var, losses_var] = [&p, &q, &losses].map(var2);
        let marginal = tensor::marginal::marginal_loss(&p_var, &losses_var).unwrap();
        let posterior = tensor::marginal::true_posterior_logps(&p_var, &losses_var).unwrap();
        let gap = tensor::marginal::bound_gap(&q_var, &p_var, &losses_var).unwrap();
        let elbo = tensor::elbo::negative_elbo_exact(&losses_var, &q_var, &p_var, kl_weight).unwrap();
        let mean = tensor::elbo::expectation(&q_var, &losses_var).unwrap();
        let from_marginal = backward(&marginal, upstream.as_slice().unwrap());
        let from_elbo = backward(&elbo, upstream.as_slice().unwrap());
        let size = size(&losses) + size(&p) + size(&q);
        let row = |tensor: &Tensor, i: usize| numbers(&tensor.get(i).unwrap());
        let gradient_row = |store: &candle_core::backprop::GradStore, var: &Var, i: usize| {
            gradient(store, var)[i * codes..(i + 1) * codes].to_vec()
        };
        for i in 0..b {
            let (p, q, l, w) = (&p.row(i), &q.row(i), &losses.row(i), upstream[i]);
            assert_close("marginal_loss", &[numbers(&marginal)[i]], &[spec::marginal::marginal_loss(p, l).unwrap()], size);
            assert_close("true_posterior_logps", &row(&posterior, i), &spec::marginal::true_posterior_logps(p, l).unwrap().to_vec(), size);
            assert_close("bound_gap", &[numbers(&gap)[i]], &[spec::marginal::bound_gap(q, p, l).unwrap()], size);
            assert_close("negative_elbo_exact", &[numbers(&elbo)[i]], &[spec::elbo::negative_elbo_exact(l, q, p, kl_weight).unwrap()], size * (1.0 + kl_weight));
            assert_close("expectation", &[numbers(&mean)[i]], &[spec::numerics::softmax(q).dot(l)], size);
            let (to_p, to_losses) = spec::marginal::marginal_gradient(p, l).unwrap();
            assert_close("∂marginal/∂prior", &gradient_row(&from_marginal, &p_var, i), &(to_p * w).to_vec(), size);
            assert_close("∂marginal/∂losses", &gradient_row(&from_marginal, &losses_var, i), &(to_losses * w).to_vec(), size);
            let (to_losses, to_q, to_p) = spec::elbo::negative_elbo_exact_gradient(l, q, p, kl_weight).unwrap();
            let size = size * (1.0 + kl_weight);
            assert_close("∂elbo/∂losses", &gradient_row(&from_elbo, &losses_var, i), &(to_losses * w).to_vec(), size);
            assert_close("∂elbo/∂posterior", &gradient_row(&from_elbo, &q_var, i), &(to_q * w).to_vec(), size);
            // Candle ends a path at a factor of 0: no gradient then, instead of zeros.
            if kl_weight > 0.0 {
                assert_close("∂elbo/∂prior", &gradient_row(&from_elbo, &p_var, i), &(to_p * w).to_vec(), size);
            }
        }
    }
}

/// 167 rows of 50,000 scores are one chunk of the fused pass: one row more, then a whole second.
#[test]
fn several_chunks() {
    const VOCABULARY: usize = 50_000;
    for n in [168, 334] {
        let mut rng = seed::stream(9, "code head");
        let mut normal = |rows: usize, cols: usize| {
            let values = seed::normal(&mut rng, rows * cols).iter().map(|x| f64::from(*x as f32)).collect();
            Array2::from_shape_vec((rows, cols), values).unwrap()
        };
        let problem = Problem {
            hidden: normal(n, 4),
            lm_head: normal(VOCABULARY, 4),
            codebook: normal(3, 4),
            lengths: vec![n / 2, n - n / 2],
            tokens: (0..n).map(|i| (i * 7919 % VOCABULARY) as u32).collect(),
            upstream: array![[1.0, -0.5, 0.25], [-2.0, 0.125, 0.5]],
        };
        let (plain, fused) = (problem.tensor(DType::F64, false), problem.tensor(DType::F32, true));
        let pairs = [
            ("sums", &plain.sums, &fused.sums),
            ("∂hidden", &plain.hidden, &fused.hidden),
            ("∂lm_head", &plain.lm_head, &fused.lm_head),
            ("∂codebook", &plain.codebook, &fused.codebook),
        ];
        for (what, plain, fused) in pairs {
            let largest = plain.iter().fold(0f64, |m, x| m.max(x.abs()));
            let off = plain.iter().zip(fused).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(off <= 1e-5 * largest, "{what} of {n}: off by {off:e} of {largest:e}");
        }
    }
}

#[test]
fn refusals() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (hidden, head) = (zeros(&[2, 3]), zeros(&[5, 3]));
    for (codebook, tokens, fault) in [
        (zeros(&[4, 2]), [0u32, 1], "codebook"),
        (zeros(&[0, 3]), [0, 1], "codebook"),
        (zeros(&[3]), [0, 1], "codebook"),
        (zeros(&[4, 3]), [0, 5], "token"),
    ] {
        let ids = Tensor::new(&tokens, &Device::Cpu).unwrap();
        for result in [
            code_logps(&hidden, &head, &codebook, &ids),
            code_logps_fused(&hidden, &head, &codebook, &tokens, Precision::F32),
        ] {
            match result {
                Err(error @ Error::Argument { .. }) => assert!(error.to_string().contains(fault), "{error}"),
                other => panic!("expected a refusal, got {other:?}"),
            }
        }
    }
}
