//! LPC's latent: a codebook of K codes, a prior and a posterior over them. Source: (6) to (11).

use super::input::{self, Input};
use super::layout::Init;
use super::words::{object, of_pair, of_prompt, python_network};
use super::{
    CodeOutputs, Divergence, Drawn, Heads, Kind, LatentInputs, Layout, Noise, PriorLatent, Reader, Seen,
    Words, missing,
};
use crate::Result;
use crate::config::{HeadsInput, LatentAtTest};
use crate::tensor::codebook;
use crate::tensor::elbo::{draw_latent, negative_elbo_exact};
use crate::tensor::gumbel::gumbel_softmax;
use crate::tensor::latent::{Mlp, kl_divergence, posterior_logits, prior_logits};
use crate::tensor::marginal::{marginal_loss, true_posterior_logps};
use crate::tensor::numerics::{log_softmax, softmax};
use candle_core::{DType, Tensor};
use std::sync::Arc;

/// What is trained on the codes.
#[derive(Debug, Clone, Copy)]
pub enum CodeRule {
    /// The paper's: one relaxed sample, and λ·KL.
    Gumbel { gumbel_tau: f64, kl_weight: f64 },
    /// Every code alone: no sample.
    Every(Expectation),
}

/// How the losses under every code become one.
#[derive(Debug, Clone, Copy)]
pub enum Expectation {
    /// (7), its expectation taken over every code.
    Elbo { kl_weight: f64 },
    /// (6) itself.
    Marginal,
}

/// Codebook [K, d] and the networks of (8) and (9).
#[derive(Debug, Clone)]
pub struct CodeHeads {
    pub codebook: Tensor,
    pub prior: Mlp,
    pub posterior: Mlp,
    input: Input,
    rule: CodeRule,
}

struct Codes {
    codes: usize,
    codebook_std: f64,
    rule: CodeRule,
    input: HeadsInput,
}

pub(super) fn kind(codes: usize, codebook_std: f64, rule: CodeRule, input: HeadsInput) -> Box<dyn Kind> {
    Box::new(Codes { codes, codebook_std, rule, input })
}

/// Parameters of K codes.
pub(super) fn layout(hidden_size: usize, codes: usize, codebook_std: f64) -> Layout {
    let (d, mut layout) = (hidden_size, Layout::default());
    layout.push("codebook", [codes, d], Init::Normal { std: codebook_std });
    layout.push_network("prior", [d, d, codes], None);
    layout.push_network("posterior", [2 * d, d, codes], None);
    layout
}

impl Kind for Codes {
    fn layout(&self, hidden_size: usize) -> Layout {
        let mut layout = layout(hidden_size, self.codes, self.codebook_std);
        input::push(&mut layout, self.input, hidden_size, 2);
        layout
    }

    fn heads(&self, parameters: &Reader<'_>) -> Result<Arc<dyn Heads>> {
        Ok(Arc::new(CodeHeads {
            codebook: parameters.get("codebook")?,
            prior: parameters.network("prior")?,
            posterior: parameters.network("posterior")?,
            input: Input::read(parameters, self.input, 2)?,
            rule: self.rule,
        }))
    }

    fn words(&self) -> Words {
        let prior = python_network("prior");
        Words {
            title: format!("Latent Preference Coding with {} codes", self.codes),
            at_test: "the prior's mean over the codes",
            python: format!(
                "{}logits = {prior}\nlatent = logits.softmax(-1) @ lpc[\"codebook\"]\n",
                input::python(self.input)
            ),
            parameters: object([
                ("codes", self.codes.into()),
                ("prior", of_prompt()),
                ("posterior", of_pair()),
                ("networks read", input::words(self.input).into()),
            ]),
        }
    }
}

impl Heads for CodeHeads {
    fn noise(&self) -> Option<Noise> {
        // Where every code is scored nothing is drawn.
        matches!(self.rule, CodeRule::Gumbel { .. }).then(|| Noise::gumbel(self.width()))
    }

    fn draw(&self, seen: &Seen<'_>, inputs: Option<&LatentInputs>) -> Result<Drawn<'_>> {
        let (gumbel_tau, kl_weight) = match self.rule {
            CodeRule::Gumbel { gumbel_tau, kl_weight } => (gumbel_tau, kl_weight),
            CodeRule::Every(expectation) => return Ok(Drawn::EveryCode(self, expectation)),
        };
        let LatentInputs { noise, prior_weight } = inputs.ok_or_else(|| missing("noise and α"))?;
        let prior = self.prior_logits(seen.prompt_hidden)?;
        let posterior = self.posterior_logits(seen)?;
        let draw = draw_latent(&prior, &posterior, noise, &self.codebook, gumbel_tau, *prior_weight)?;
        Ok(Drawn::One {
            h_z: draw.latent,
            divergence: Some(Divergence { kl: draw.kl, weight: kl_weight }),
            codes: Some(CodeOutputs { code_weights: draw.code_weights, prior: softmax(&prior)? }),
        })
    }

    fn at_test(
        &self,
        at_test: LatentAtTest,
        prompt_hidden: &Tensor,
        _factor_weights: Option<&Tensor>,
        noise: &mut dyn FnMut(Noise) -> Result<Tensor>,
    ) -> Result<PriorLatent> {
        let logits = self.prior_logits(prompt_hidden)?;
        let mut noise = || noise(Noise::gumbel(self.width()));
        let code_weights = match (at_test, self.rule) {
            (LatentAtTest::Exact, _) => {
                let logps = log_softmax(&logits.to_dtype(DType::F64)?)?;
                return Ok(PriorLatent::Mixture(logps.to_vec2()?));
            }
            (LatentAtTest::Mean, _) => softmax(&logits)?,
            (LatentAtTest::Sample, CodeRule::Gumbel { gumbel_tau, .. }) => {
                gumbel_softmax(&logits, &noise()?, gumbel_tau)?
            }
            // What was trained on codes, not on mixtures of them, is given one.
            (LatentAtTest::Sample, CodeRule::Every(_)) => one_code(&(&logits + noise()?)?)?,
        };
        Ok(PriorLatent::Latent(codebook::latent(&code_weights, &self.codebook)?))
    }

    fn codes(&self) -> Option<&CodeHeads> {
        Some(self)
    }
}

impl CodeHeads {
    /// K.
    fn width(&self) -> usize {
        self.codebook.dims()[0]
    }

    /// Logits of p(z | x), [B, K].
    ///
    /// Source: (9).
    pub fn prior_logits(&self, prompt_hidden: &Tensor) -> Result<Tensor> {
        prior_logits(&self.prior, &self.input.prompt(prompt_hidden)?)
    }

    /// Logits of q(z | x, y_w, y_l), [B, K].
    ///
    /// Source: (8).
    pub fn posterior_logits(&self, seen: &Seen<'_>) -> Result<Tensor> {
        let [chosen, rejected] = [seen.chosen_hidden, seen.rejected_hidden].map(|h| self.input.completion(h));
        posterior_logits(&self.posterior, &chosen?, &rejected?)
    }
}

/// What becomes of every code's loss.
pub struct Weighed {
    /// [B]
    pub loss: Tensor,
    /// Logits or log-probabilities by which the codes are weighed, [B, K].
    pub weights: Tensor,
    /// KL of these from the prior, [B], nats.
    pub kl: Tensor,
}

impl Expectation {
    /// The loss of a pair from its losses under each code [B, K] and the prior's logits.
    ///
    /// Source: (7), weighed by q; (6), weighed by the true posterior.
    pub fn weigh(
        self,
        heads: &CodeHeads,
        losses: &Tensor,
        prior: &Tensor,
        seen: &Seen<'_>,
    ) -> Result<Weighed> {
        let (loss, weights) = match self {
            Self::Elbo { kl_weight } => {
                let q = heads.posterior_logits(seen)?;
                (negative_elbo_exact(losses, &q, prior, kl_weight)?, q)
            }
            Self::Marginal => (marginal_loss(prior, losses)?, true_posterior_logps(prior, losses)?),
        };
        let kl = kl_divergence(&weights, prior)?;
        Ok(Weighed { loss, weights, kl })
    }
}

/// 1 at each row's largest score, 0 elsewhere.
fn one_code(scores: &Tensor) -> Result<Tensor> {
    let codes = Tensor::arange(0, scores.dim(1)? as u32, scores.device())?;
    let best = scores.argmax_keepdim(1)?;
    Ok(codes.unsqueeze(0)?.broadcast_eq(&best)?.to_dtype(scores.dtype())?)
}
