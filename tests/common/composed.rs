//! The LPC loss of a batch, out of `tensor`'s functions and nothing else.

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Tensor, Var};
use lpc::config::{Objective, Precision};
use lpc::spec::gradient::LpcPair;
use lpc::tensor::elbo::{SampleNoise, draw_latent, negative_elbo_sampled};
use lpc::tensor::lm_head::token_logps_fused;
use lpc::tensor::logprob::{add_latent, completion_logps_sum, token_logps};
use lpc::tensor::objective::{PairLengths, PairLogps};
use ndarray::ArrayRef1;

/// Which of the two implementations of [`token_logps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    Plain,
    Fused,
}

/// What is trained: the paper's relaxation, (7) and (11).
#[derive(Debug, Clone, Copy)]
pub struct Relaxed {
    pub objective: Objective,
    pub gumbel_tau: f64,
    pub prior_weight: f64,
    pub kl_weight: f64,
}

/// Numbers by name: each pair's values, then the gradients, pair after pair.
pub type Blocks = Vec<(&'static str, Vec<f64>)>;

/// B pairs as tensors; the codebook and the LM head are those of the first.
pub struct Batch {
    /// [N, d]: chosen then rejected, pair after pair.
    hidden: Var,
    tokens: Vec<u32>,
    pair: Vec<u32>,
    completion: Vec<u32>,
    lm_head: Var,
    codebook: Var,
    prior_logits: Var,
    posterior_logits: Var,
    noise: SampleNoise,
    reference: PairLogps,
    lengths: PairLengths,
    dtype: DType,
}

fn tensor(dtype: DType, values: Vec<f64>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// ∂/∂leaf. A factor of exactly 0, as at either end of α, ends candle's path: no gradient is zero.
pub fn gradient(store: &GradStore, leaf: &Var) -> Vec<f64> {
    numbers(store.get(leaf).unwrap_or(&leaf.zeros_like().unwrap()))
}

impl Batch {
    pub fn new(pairs: &[LpcPair], dtype: DType) -> Self {
        let b = pairs.len();
        let (k, d) = pairs[0].codebook.dim();
        let var =
            |values: Vec<f64>, shape: &[usize]| Var::from_tensor(&tensor(dtype, values, shape)).unwrap();
        let scalars = |of: &dyn Fn(&LpcPair) -> f64| tensor(dtype, pairs.iter().map(of).collect(), &[b]);
        let codes = |of: for<'a> fn(&LpcPair<'a>) -> &'a ArrayRef1<f64>| -> Vec<f64> {
            pairs.iter().flat_map(|p| of(p).to_vec()).collect()
        };
        let (mut hidden, mut tokens, mut pair, mut completion) = (vec![], vec![], vec![], vec![]);
        for (i, p) in pairs.iter().enumerate() {
            for (side, states, ids) in
                [(0, p.chosen_hidden, p.chosen_tokens), (b, p.rejected_hidden, p.rejected_tokens)]
            {
                hidden.extend(states.iter().copied());
                tokens.extend(ids);
                pair.resize(tokens.len(), i as u32);
                completion.resize(tokens.len(), (side + i) as u32);
            }
        }
        Self {
            hidden: var(hidden, &[tokens.len(), d]),
            lm_head: var(pairs[0].lm_head.iter().copied().collect(), &[pairs[0].lm_head.nrows(), d]),
            codebook: var(pairs[0].codebook.iter().copied().collect(), &[k, d]),
            prior_logits: var(codes(|p| p.prior_logits), &[b, k]),
            posterior_logits: var(codes(|p| p.posterior_logits), &[b, k]),
            noise: SampleNoise {
                prior: tensor(dtype, codes(|p| p.prior_noise), &[b, k]),
                posterior: tensor(dtype, codes(|p| p.posterior_noise), &[b, k]),
            },
            reference: PairLogps {
                chosen: scalars(&|p| p.reference.chosen),
                rejected: scalars(&|p| p.reference.rejected),
            },
            lengths: PairLengths {
                chosen: scalars(&|p| p.chosen_tokens.len() as f64),
                rejected: scalars(&|p| p.rejected_tokens.len() as f64),
            },
            tokens,
            pair,
            completion,
            dtype,
        }
    }

    /// Values of each pair, and the gradients of Σ_b upstream_b · loss_b.
    pub fn blocks(&self, settings: &Relaxed, upstream: &[f64], head: Head) -> Blocks {
        let Relaxed { objective, gumbel_tau, prior_weight, kl_weight } = *settings;
        let b = upstream.len();
        let draw = draw_latent(
            &self.prior_logits,
            &self.posterior_logits,
            &self.noise,
            &self.codebook,
            gumbel_tau,
            prior_weight,
        )
        .unwrap();
        let pair = Tensor::new(self.pair.as_slice(), &Device::Cpu).unwrap();
        let hidden = add_latent(&self.hidden, &draw.latent, &pair).unwrap();
        let logps = match head {
            Head::Plain => {
                let tokens = Tensor::new(self.tokens.as_slice(), &Device::Cpu).unwrap();
                token_logps(&hidden, &self.lm_head, &tokens)
            }
            Head::Fused => token_logps_fused(&hidden, &self.lm_head, &self.tokens, Precision::F32),
        };
        let sums = completion_logps_sum(&logps.unwrap(), &self.completion, 2 * b).unwrap();
        let policy =
            PairLogps { chosen: sums.narrow(0, 0, b).unwrap(), rejected: sums.narrow(0, b, b).unwrap() };
        // SimPO is told of no reference, so that it can read none.
        let reference = objective.needs_reference().then_some(&self.reference);
        let outcome =
            negative_elbo_sampled(objective, &policy, reference, &self.lengths, &draw.kl, kl_weight).unwrap();

        let upstream = tensor(self.dtype, upstream.to_vec(), &[b]);
        let store = (&outcome.loss * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = |leaf: &Var| gradient(&store, leaf);
        let logps = Tensor::stack(&[&policy.chosen, &policy.rejected], D::Minus1).unwrap();
        vec![
            ("loss", numbers(&outcome.loss)),
            ("margin", numbers(&outcome.margin)),
            ("kl", numbers(&draw.kl)),
            ("policy_logps", numbers(&logps)),
            ("code_weights", numbers(&draw.code_weights)),
            ("∂hidden", gradient(&self.hidden)),
            ("∂lm_head", gradient(&self.lm_head)),
            ("∂codebook", gradient(&self.codebook)),
            ("∂prior_logits", gradient(&self.prior_logits)),
            ("∂posterior_logits", gradient(&self.posterior_logits)),
        ]
    }
}
