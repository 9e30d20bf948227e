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
    /// [outputs, width]: K logits, or the control's d numbers
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
/// Units: logits, unnormalised log-probabilities in nats.
/// Errors: shapes that do not fit.
/// Numerics: plain products in the inputs' dtype; a common shift of the logits changes nothing.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::latent::{Mlp, prior_logits};
/// let mlp = Mlp {
///     w1: Tensor::new(&[[1f64]], &Cpu)?,
///     b1: Tensor::new(&[0f64], &Cpu)?,
///     w2: Tensor::new(&[[1f64], [-1.0]], &Cpu)?,
///     b2: Tensor::new(&[0f64, 1.0], &Cpu)?,
/// };
/// let logits = prior_logits(&mlp, &Tensor::new(&[[3f64.ln()]], &Cpu)?)?.to_vec2::<f64>()?;
/// let inner = 0.75 * 3f64.ln(); // silu(x) = x·σ(x), and σ(ln 3) = 3/4
/// assert!((logits[0][0] - inner).abs() < 1e-12 && (logits[0][1] - (1.0 - inner)).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn prior_logits(mlp: &Mlp, prompt_hidden: &Tensor) -> Result<Tensor> {
    mlp.forward(prompt_hidden)
}

/// Logits of q(z|x, y_w≻y_l) from [h_{x,y_w}; h_{x,y_l}], chosen first.
///
/// Source: (8). Twin: `spec::latent::posterior_logits`. Shapes: two [B, d] → [B, K].
/// Units: logits, unnormalised log-probabilities in nats.
/// Errors: shapes that do not fit.
/// Numerics: plain products in the inputs' dtype; a common shift of the logits changes nothing.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::latent::{Mlp, posterior_logits};
/// // The inner unit sees chosen − rejected.
/// let mlp = Mlp {
///     w1: Tensor::new(&[[1f64, -1.0]], &Cpu)?,
///     b1: Tensor::new(&[0f64], &Cpu)?,
///     w2: Tensor::new(&[[2f64]], &Cpu)?,
///     b2: Tensor::new(&[1f64], &Cpu)?,
/// };
/// let (chosen, rejected) = (Tensor::new(&[[3f64.ln()]], &Cpu)?, Tensor::new(&[[0f64]], &Cpu)?);
/// let logits = posterior_logits(&mlp, &chosen, &rejected)?.to_vec2::<f64>()?;
/// assert!((logits[0][0] - (1.0 + 1.5 * 3f64.ln())).abs() < 1e-12); // silu(ln 3) = 3/4·ln 3
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn posterior_logits(mlp: &Mlp, chosen_hidden: &Tensor, rejected_hidden: &Tensor) -> Result<Tensor> {
    mlp.forward(&Tensor::cat(&[chosen_hidden, rejected_hidden], D::Minus1)?)
}

/// h_z of the parameter-matched control, from the prompt's last hidden state alone.
///
/// Source: ours. Twin: `spec::latent::control_latent`. Shapes: [B, d] → [B, d].
/// Errors: shapes that do not fit.
/// Numerics: plain products in the inputs' dtype.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::latent::{Mlp, control_latent};
/// let one = |x: f64| Tensor::new(&[[x]], &Cpu);
/// let bias = |x: f64| Tensor::new(&[x], &Cpu);
/// let mlp = Mlp { w1: one(1.0)?, b1: bias(0.0)?, w2: one(2.0)?, b2: bias(-1.0)? };
/// let h_z = control_latent(&mlp, &one(3f64.ln())?)?.to_vec2::<f64>()?;
/// assert!((h_z[0][0] - (1.5 * 3f64.ln() - 1.0)).abs() < 1e-12); // silu(ln 3) = 3/4·ln 3
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn control_latent(mlp: &Mlp, prompt_hidden: &Tensor) -> Result<Tensor> {
    mlp.forward(prompt_hidden)
}

/// KL(q‖p) of two categoricals given by logits.
///
/// Source: (7). Twin: `spec::latent::kl_divergence`. Shapes: two [B, K] → [B]. Units: nats.
/// Errors: shapes that differ.
/// Numerics: log-domain on both sides; a code that q has given up contributes exactly 0. Logits
/// are finite: −∞ gives NaN.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (q, p) = (Tensor::new(&[[3f64.ln(), 0.0]], &Cpu)?, Tensor::new(&[[0f64, 0.0]], &Cpu)?);
/// let kl = lpc::tensor::latent::kl_divergence(&q, &p)?.to_vec1::<f64>()?;
/// let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln(); // q = (3/4, 1/4), p = (1/2, 1/2)
/// assert!((kl[0] - expected).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn kl_divergence(posterior_logits: &Tensor, prior_logits: &Tensor) -> Result<Tensor> {
    let log_q = log_softmax(posterior_logits)?;
    let log_p = log_softmax(prior_logits)?;
    Ok((log_q.exp()? * (log_q - log_p)?)?.sum(D::Minus1)?)
}

/// α at a step: 0 at the first, 1 at the last, linear between.
///
/// Source: §3.3. Twin: `spec::latent::prior_weight`. `step` counts from 0.
/// Errors: `step` not below `steps`.
/// Numerics: exactly 0 and 1 at the ends; a single step has α = 0.
///
/// ```
/// use lpc::tensor::latent::prior_weight;
/// assert_eq!([prior_weight(0, 5)?, prior_weight(1, 5)?, prior_weight(4, 5)?], [0.0, 0.25, 1.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn prior_weight(step: usize, steps: usize) -> Result<f64> {
    if step >= steps {
        return Err(Error::argument("prior_weight", "step", step, format!("below {steps}")));
    }
    Ok(if steps == 1 { 0.0 } else { step as f64 / (steps - 1) as f64 })
}
