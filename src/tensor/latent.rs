//! Prior and posterior over codes, their divergence, and the schedule of α.

use crate::tensor::numerics::log_softmax;
use crate::{Error, Result};
use candle_core::{D, Tensor};

/// A two-layer network W₂·silu(W₁·h + b₁) + b₂, the form of (8) and (9).
#[derive(Debug, Clone)]
pub struct Mlp {
    /// [width, inputs]
    pub w1: Tensor,
    pub b1: Tensor,
    /// [K, width]
    pub w2: Tensor,
    pub b2: Tensor,
}

impl Mlp {
    fn forward(&self, h: &Tensor) -> Result<Tensor> {
        let inner = h.matmul(&self.w1.t()?)?.broadcast_add(&self.b1)?.silu()?;
        Ok(inner.matmul(&self.w2.t()?)?.broadcast_add(&self.b2)?)
    }
}

/// Logits of p(z|x) from the prompt's last hidden state.
///
/// Source: (9). Twin: `spec::latent::prior_logits`. Shapes: [B, d] → [B, K].
pub fn prior_logits(mlp: &Mlp, prompt_hidden: &Tensor) -> Result<Tensor> {
    mlp.forward(prompt_hidden)
}

/// Logits of q(z|x, y_w≻y_l) from [h_{x,y_w}; h_{x,y_l}], chosen first.
///
/// Source: (8). Twin: `spec::latent::posterior_logits`. Shapes: two [B, d] → [B, K].
pub fn posterior_logits(mlp: &Mlp, chosen_hidden: &Tensor, rejected_hidden: &Tensor) -> Result<Tensor> {
    mlp.forward(&Tensor::cat(&[chosen_hidden, rejected_hidden], D::Minus1)?)
}

/// KL(q‖p) of two categoricals given by logits.
///
/// Source: (7). Twin: `spec::latent::kl_divergence`. Shapes: two [B, K] → [B]. Units: nats.
/// Numerics: log-domain on both sides; a code that q has given up contributes exactly 0.
pub fn kl_divergence(posterior_logits: &Tensor, prior_logits: &Tensor) -> Result<Tensor> {
    let log_q = log_softmax(posterior_logits)?;
    let log_p = log_softmax(prior_logits)?;
    Ok((log_q.exp()? * (log_q - log_p)?)?.sum(D::Minus1)?)
}

/// α at a step: 0 at the first, 1 at the last, linear between.
///
/// Source: §3.3. Twin: `spec::latent::prior_weight`. `step` counts from 0.
/// Errors: `step` not below `steps`. A single step has α = 0.
pub fn prior_weight(step: usize, steps: usize) -> Result<f64> {
    if step >= steps {
        return Err(Error::argument("prior_weight", "step", step, format!("below {steps}")));
    }
    Ok(if steps == 1 { 0.0 } else { step as f64 / (steps - 1) as f64 })
}
