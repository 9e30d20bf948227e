//! One micro-batch: [`forward_backward`] with a loss that the caller gives, and the sums that its metrics are
//! made of.

use crate::Result;
use crate::model::batch::PairBatch;
use crate::model::gradients::Gradients;
use crate::model::parameters::Parameters;
use crate::passes::Pending;
use crate::train::loss::PairOutputs;
use candle_core::{DType, Tensor};

/// Sums over a micro-batch's pairs, for metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepSums {
    pub loss: f64,
    /// None without a divergence.
    pub kl: Option<f64>,
    pub margin: f64,
    pub correct: f64,
    pub chosen_logps: f64,
    pub rejected_logps: f64,
    pub chosen_reward: f64,
    pub rejected_reward: f64,
    /// Σ over pairs of the code weights, [K]; empty without codes.
    pub code_weights: Vec<f64>,
    pub prior_entropy: f64,
    /// Σ of the gaps of (7) at λ = 1, where they were calculated.
    pub bound_gap: Option<f64>,
    pub tokens: usize,
    pub pairs: usize,
}

impl PairOutputs {
    /// Adds up what metrics report.
    pub fn sums(&self, batch: &PairBatch) -> Result<StepSums> {
        let values = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.to_dtype(DType::F64)?.to_vec1()?) };
        let sum = |t: &Tensor| -> Result<f64> { Ok(values(t)?.iter().sum()) };
        let (chosen, rejected) = (values(&self.rewards.chosen)?, values(&self.rewards.rejected)?);
        let mut sums = StepSums {
            loss: sum(&self.loss)?,
            margin: sum(&self.margin)?,
            correct: chosen.iter().zip(&rejected).filter(|(c, r)| c > r).count() as f64,
            chosen_reward: chosen.iter().sum(),
            rejected_reward: rejected.iter().sum(),
            chosen_logps: sum(&self.logps.chosen)?,
            rejected_logps: sum(&self.logps.rejected)?,
            tokens: batch.rows.tokens(),
            pairs: batch.pairs,
            ..StepSums::default()
        };
        if let Some(latent) = &self.latent {
            sums.kl = Some(sum(&latent.kl)?);
        }
        if let Some(codes) = self.latent.as_ref().and_then(|latent| latent.codes.as_ref()) {
            sums.code_weights = values(&codes.code_weights.sum(0)?)?;
            let prior: Vec<Vec<f64>> = codes.prior.to_dtype(DType::F64)?.to_vec2()?;
            sums.prior_entropy = prior.iter().flatten().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        }
        Ok(sums)
    }
}

impl StepSums {
    pub fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.kl = other.kl.map_or(self.kl, |kl| Some(self.kl.unwrap_or(0.0) + kl));
        self.bound_gap =
            other.bound_gap.map_or(self.bound_gap, |gap| Some(self.bound_gap.unwrap_or(0.0) + gap));
        self.margin += other.margin;
        self.correct += other.correct;
        self.chosen_logps += other.chosen_logps;
        self.rejected_logps += other.rejected_logps;
        self.chosen_reward += other.chosen_reward;
        self.rejected_reward += other.rejected_reward;
        self.prior_entropy += other.prior_entropy;
        self.tokens += other.tokens;
        self.pairs += other.pairs;
        self.code_weights.resize(other.code_weights.len().max(self.code_weights.len()), 0.0);
        self.code_weights.iter_mut().zip(&other.code_weights).for_each(|(a, b)| *a += b);
    }
}

/// Adds to `gradients` those of `scalar(states)`, where `scalar` returns the loss with anything else of interest.
///
/// Below the states their pass goes back, above them autograd.
pub fn forward_backward<S, T>(
    (states, pass): (S, Box<dyn Pending + '_>),
    parameters: &Parameters,
    gradients: &mut Gradients,
    scalar: impl FnOnce(&S) -> Result<(Tensor, T)>,
) -> Result<T> {
    let (loss, other) = scalar(&states)?;
    let mut store = loss.backward()?;
    gradients.collect(parameters.iter().map(|(name, var)| (name, var.as_tensor())), &store)?;
    pass.backward(&mut store, gradients)?;
    Ok(other)
}
