//! Prior and posterior over the codes, the divergence between them, and α's schedule.

use super::{check, numerics};
use crate::error::{Error, Result};
use ndarray::{Array1, Array2, ArrayRef1, Axis, concatenate, s};

/// A two-layer network: outer_weight · silu(inner_weight · x + inner_bias) + outer_bias.
/// Also the shape of its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// [width, input]
    pub inner_weight: Array2<f64>,
    /// [width]
    pub inner_bias: Array1<f64>,
    /// [outputs, width]: K logits, or the control's d numbers
    pub outer_weight: Array2<f64>,
    /// [outputs]
    pub outer_bias: Array1<f64>,
}

/// Logits of p(z | x) from the last layer's state at the prompt's last token.
///
/// Source: (9). Twin: `tensor::latent::prior_logits`.
///
/// Shapes: prompt_hidden [d], `mlp` with input d → [K].
///
/// Errors: mismatched shapes; a value that is not finite.
pub fn prior_logits(mlp: &Mlp, prompt_hidden: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    mlp_logits("prior_logits", mlp, prompt_hidden)
}

/// Logits of q(z | x, y_w ≻ y_l) from [h_{x,y_w}; h_{x,y_l}], in this order: the posterior knows
/// which completion won.
///
/// Source: (8). Twin: `tensor::latent::posterior_logits`.
///
/// Shapes: chosen_hidden [d], rejected_hidden [d], `mlp` with input 2d → [K].
///
/// Errors: mismatched shapes; a value that is not finite.
pub fn posterior_logits(
    mlp: &Mlp,
    chosen_hidden: &ArrayRef1<f64>,
    rejected_hidden: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    mlp_logits("posterior_logits", mlp, &pair_input("posterior_logits", chosen_hidden, rejected_hidden)?)
}

/// h_z of the parameter-matched control: a network of the prompt's state alone. No code, no sample,
/// no divergence.
///
/// Source: ours. Twin: `tensor::latent::control_latent`.
///
/// Shapes: prompt_hidden [d], `mlp` with input d and d outputs → [d].
///
/// Errors: mismatched shapes; a value that is not finite.
pub fn control_latent(mlp: &Mlp, prompt_hidden: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    check::shape("control_latent", "outer_bias", &mlp.outer_bias, prompt_hidden.shape())?;
    mlp_logits("control_latent", mlp, prompt_hidden)
}

/// ∂ [`control_latent`] / ∂ (mlp, prompt_hidden).
///
/// Twin: `tensor::latent::control_latent` under autograd.
///
/// Shapes: upstream [d] → (as `mlp`, [d]). Errors: as [`control_latent`].
pub fn control_latent_gradient(
    mlp: &Mlp,
    prompt_hidden: &ArrayRef1<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<(Mlp, Array1<f64>)> {
    mlp_gradient("control_latent_gradient", mlp, prompt_hidden, upstream)
}

/// ∂ [`prior_logits`] / ∂ (mlp, prompt_hidden).
///
/// Twin: `tensor::latent::prior_logits` under autograd.
///
/// Shapes: upstream [K] → (as `mlp`, [d]). Errors: as [`prior_logits`].
pub fn prior_logits_gradient(
    mlp: &Mlp,
    prompt_hidden: &ArrayRef1<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<(Mlp, Array1<f64>)> {
    mlp_gradient("prior_logits_gradient", mlp, prompt_hidden, upstream)
}

/// ∂ [`posterior_logits`] / ∂ (mlp, chosen_hidden, rejected_hidden).
///
/// Twin: `tensor::latent::posterior_logits` under autograd.
///
/// Shapes: upstream [K] → (as `mlp`, [d], [d]). Errors: as [`posterior_logits`].
pub fn posterior_logits_gradient(
    mlp: &Mlp,
    chosen_hidden: &ArrayRef1<f64>,
    rejected_hidden: &ArrayRef1<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<(Mlp, Array1<f64>, Array1<f64>)> {
    let op = "posterior_logits_gradient";
    let input = pair_input(op, chosen_hidden, rejected_hidden)?;
    let (parameters, input) = mlp_gradient(op, mlp, &input, upstream)?;
    let d = chosen_hidden.len();
    Ok((parameters, input.slice(s![..d]).to_owned(), input.slice(s![d..]).to_owned()))
}

/// KL(q ‖ p) = Σ_k q_k (log q_k − log p_k): the posterior first.
///
/// Source: (7). Twin: `tensor::latent::kl_divergence`.
///
/// Shapes: posterior_logits [K], prior_logits [K] → scalar. Units: nats.
///
/// Errors: empty or mismatched vectors; a value that is not finite.
///
/// Numerics: both sides stay log-probabilities, so a code that one side all but excludes costs
/// its finite log-ratio and never log(0).
///
/// ```
/// use lpc::spec::latent::kl_divergence;
/// use ndarray::array;
/// // q = (1, 0) to rounding, p = (1/2, 1/2).
/// assert_eq!(kl_divergence(&array![0.0, -800.0], &array![0.0, 0.0])?, std::f64::consts::LN_2);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn kl_divergence(posterior_logits: &ArrayRef1<f64>, prior_logits: &ArrayRef1<f64>) -> Result<f64> {
    let (log_q, log_p) = log_distributions("kl_divergence", posterior_logits, prior_logits)?;
    Ok((log_q.exp() * (&log_q - &log_p)).sum())
}

/// ∂ [`kl_divergence`] / ∂ (posterior_logits, prior_logits):
/// q ⊙ (log q − log p − KL) and p − q.
///
/// Twin: `tensor::latent::kl_divergence` under autograd.
///
/// Shapes: → ([K], [K]). Errors: as [`kl_divergence`].
pub fn kl_divergence_gradient(
    posterior_logits: &ArrayRef1<f64>,
    prior_logits: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    let (log_q, log_p) = log_distributions("kl_divergence_gradient", posterior_logits, prior_logits)?;
    let (q, p) = (log_q.exp(), log_p.exp());
    let log_ratio = log_q - log_p;
    let kl = q.dot(&log_ratio);
    let prior = p - &q;
    Ok((q * (log_ratio - kl), prior))
}

/// KL(q ‖ uniform) = log K − H(q): how much of the codebook the posterior leaves unused.
///
/// Source: diagnostic of (7). Twin: none; the audit's.
///
/// Shapes: posterior_logits [K] → scalar. Units: nats. Errors: as [`kl_divergence`].
pub fn kl_from_uniform(posterior_logits: &ArrayRef1<f64>) -> Result<f64> {
    check::vector("kl_from_uniform", "posterior_logits", posterior_logits)?;
    let log_q = numerics::log_softmax(posterior_logits);
    Ok((posterior_logits.len() as f64).ln() + log_q.exp().dot(&log_q))
}

/// α of (11): 0 at the first step, 1 at the last, linear between. A run of one step is its first.
///
/// Source: (11). Twin: `tensor::latent::prior_weight`.
///
/// Errors: `step` is not below `steps`.
pub fn prior_weight(step: usize, steps: usize) -> Result<f64> {
    if step >= steps {
        return Err(Error::argument("prior_weight", "step", step, format!("below steps = {steps}")));
    }
    Ok(step as f64 / (steps - 1).max(1) as f64)
}

fn log_distributions(
    op: &'static str,
    posterior_logits: &ArrayRef1<f64>,
    prior_logits: &ArrayRef1<f64>,
) -> Result<(Array1<f64>, Array1<f64>)> {
    check::vector(op, "posterior_logits", posterior_logits)?;
    check::shape(op, "prior_logits", prior_logits, posterior_logits.shape())?;
    check::all_finite(op, "prior_logits", prior_logits)?;
    Ok((numerics::log_softmax(posterior_logits), numerics::log_softmax(prior_logits)))
}

fn pair_input(
    op: &'static str,
    chosen_hidden: &ArrayRef1<f64>,
    rejected_hidden: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    check::shape(op, "rejected_hidden", rejected_hidden, chosen_hidden.shape())?;
    Ok(concatenate![Axis(0), chosen_hidden.view(), rejected_hidden.view()])
}

fn mlp_logits(op: &'static str, mlp: &Mlp, input: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    let inner = inner_layer(op, mlp, input)?;
    Ok(mlp.outer_weight.dot(&inner.mapv(silu)) + &mlp.outer_bias)
}

fn mlp_gradient(
    op: &'static str,
    mlp: &Mlp,
    input: &ArrayRef1<f64>,
    upstream: &ArrayRef1<f64>,
) -> Result<(Mlp, Array1<f64>)> {
    check::shape(op, "upstream", upstream, &[mlp.outer_bias.len()])?;
    let inner = inner_layer(op, mlp, input)?;
    let inner_gradient = mlp.outer_weight.t().dot(upstream) * inner.mapv(silu_gradient);
    let parameters = Mlp {
        inner_weight: numerics::outer(&inner_gradient, input),
        outer_weight: numerics::outer(upstream, &inner.mapv(silu)),
        outer_bias: upstream.to_owned(),
        inner_bias: inner_gradient.clone(),
    };
    Ok((parameters, mlp.inner_weight.t().dot(&inner_gradient)))
}

/// inner_weight · x + inner_bias, once every shape is known to fit.
fn inner_layer(op: &'static str, mlp: &Mlp, input: &ArrayRef1<f64>) -> Result<Array1<f64>> {
    check::vector(op, "input", input)?;
    let (width, codes) = (mlp.inner_bias.len(), mlp.outer_bias.len());
    check::shape(op, "inner_weight", &mlp.inner_weight, &[width, input.len()])?;
    check::shape(op, "outer_weight", &mlp.outer_weight, &[codes, width])?;
    Ok(mlp.inner_weight.dot(input) + &mlp.inner_bias)
}

fn silu(x: f64) -> f64 {
    x * numerics::sigmoid(x)
}

/// σ(x) (1 + x σ(−x))
fn silu_gradient(x: f64) -> f64 {
    numerics::sigmoid(x) * (1.0 + x * numerics::sigmoid(-x))
}
