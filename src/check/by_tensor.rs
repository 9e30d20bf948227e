//! The numbers of `tensor`, in f64: the functions that train, under reverse mode.

use super::input::{Completion, Latent, Pair, Problem};
use super::{Gradients, PairNumbers};
use crate::error::{Error, Result};
use crate::tensor::codebook::linear_latent;
use crate::tensor::elbo::{SampleNoise, draw_latent, negative_elbo_exact, negative_elbo_sampled};
use crate::tensor::gaussian::draw_gaussian;
use crate::tensor::latent::{Mlp, control_latent, kl_divergence};
use crate::tensor::logprob::{add_latent, code_logps, completion_logps_sum, token_logps};
use crate::tensor::marginal::{bound_gap, marginal_loss, true_posterior_logps};
use crate::tensor::objective::{PairLengths, PairLogps, PairLoss, code_losses, objective_loss};
use candle_core::{Device, Tensor, Var};
use ndarray::{Array1, Array2};

pub fn numbers(problem: &Problem) -> Result<(Vec<PairNumbers>, Gradients)> {
    let variable = |values: Tensor| Ok::<_, Error>(Var::from_tensor(&values)?);
    let lm_head = variable(matrix(&problem.lm_head)?)?;
    let vectors = variable(matrix(&problem.vectors)?)?;
    let network = match &problem.network {
        None => None,
        Some(n) => Some(Network {
            inner_weight: variable(matrix(&n.inner_weight)?)?,
            inner_bias: variable(vector(&n.inner_bias)?)?,
            outer_weight: variable(matrix(&n.outer_weight)?)?,
            outer_bias: variable(vector(&n.outer_bias)?)?,
        }),
    };
    let mut variables = vec![("lm_head", &lm_head)];
    match (problem.latent, &network) {
        (Latent::Gaussian { .. }, _) => variables.push(("projection", &vectors)),
        (Latent::Factors {}, _) => variables.push(("vectors", &vectors)),
        (Latent::Control {}, Some(n)) => variables.extend([
            ("inner_weight", &n.inner_weight),
            ("inner_bias", &n.inner_bias),
            ("outer_weight", &n.outer_weight),
            ("outer_bias", &n.outer_bias),
        ]),
        (Latent::Gumbel { .. } | Latent::ExactElbo { .. } | Latent::Marginal {}, _) => {
            variables.push(("codebook", &vectors));
        }
        (Latent::None {} | Latent::Control {}, _) => {}
    }
    let mut sums = variables.iter().map(|(_, v)| v.zeros_like()).collect::<candle_core::Result<Vec<_>>>()?;
    let mut numbers = Vec::with_capacity(problem.pairs.len());
    let share = 1.0 / problem.pairs.len() as f64;
    for pair in &problem.pairs {
        let row = Row { problem, pair, vectors: &vectors, network: network.as_ref(), lm_head: &lm_head };
        let (loss, found) = row.numbers()?;
        let store = (loss.sum_all()? * share)?.backward()?;
        for (sum, (_, variable)) in sums.iter_mut().zip(&variables) {
            // What the loss does not reach has no gradient: a hinge that is flat.
            if let Some(gradient) = store.get(variable) {
                *sum = (&*sum + gradient)?;
            }
        }
        numbers.push(found);
    }
    let named = variables.iter().zip(sums).map(|((name, _), sum)| Ok((*name, sum.to_vec2()?)));
    Ok((numbers, Gradients(named.collect::<Result<_>>()?)))
}

/// The control's; a bias is one row.
struct Network {
    inner_weight: Var,
    inner_bias: Var,
    outer_weight: Var,
    outer_bias: Var,
}

/// A batch of one pair.
struct Row<'a> {
    problem: &'a Problem,
    pair: &'a Pair,
    vectors: &'a Tensor,
    network: Option<&'a Network>,
    lm_head: &'a Tensor,
}

impl Row<'_> {
    fn numbers(&self) -> Result<(Tensor, PairNumbers)> {
        let (problem, pair) = (self.problem, self.pair);
        let (prior, posterior) = (vector(&pair.prior)?, vector(&pair.posterior)?);
        match problem.latent {
            Latent::None {} => {
                let policy = self.policy(None)?;
                let outcome =
                    objective_loss(problem.objective, &policy, self.reference()?.as_ref(), &self.lengths()?)?;
                let mut found = PairNumbers::of(&outcome.loss)?;
                found.at_one_h_z(&outcome, &policy)?;
                Ok((outcome.loss, found))
            }
            Latent::Gumbel { gumbel_tau, prior_weight, kl_weight } => {
                let noise = SampleNoise {
                    prior: vector(&pair.prior_noise)?,
                    posterior: vector(&pair.posterior_noise)?,
                };
                let draw = draw_latent(&prior, &posterior, &noise, self.vectors, gumbel_tau, prior_weight)?;
                let policy = self.policy(Some(&draw.latent))?;
                let outcome = negative_elbo_sampled(
                    problem.objective,
                    &policy,
                    self.reference()?.as_ref(),
                    &self.lengths()?,
                    &draw.kl,
                    kl_weight,
                )?;
                let mut found = PairNumbers::of(&outcome.loss)?;
                found.at_one_h_z(&outcome, &policy)?;
                found.code_weights = Some(draw.code_weights.squeeze(0)?.to_vec1()?);
                self.every_code(&mut found, &self.codes()?, &prior, &posterior)?;
                Ok((outcome.loss, found))
            }
            Latent::ExactElbo { kl_weight } => {
                let codes = self.codes()?;
                let loss = negative_elbo_exact(&codes.loss, &posterior, &prior, kl_weight)?;
                let mut found = PairNumbers::of(&loss)?;
                self.every_code(&mut found, &codes, &prior, &posterior)?;
                Ok((loss, found))
            }
            Latent::Marginal {} => {
                let codes = self.codes()?;
                let loss = marginal_loss(&prior, &codes.loss)?;
                let mut found = PairNumbers::of(&loss)?;
                self.every_code(&mut found, &codes, &prior, &posterior)?;
                Ok((loss, found))
            }
            Latent::Gaussian { prior_weight, kl_weight } => {
                let noise = SampleNoise {
                    prior: vector(&pair.prior_noise)?,
                    posterior: vector(&pair.posterior_noise)?,
                };
                let draw = draw_gaussian(&prior, &posterior, &noise, self.vectors, prior_weight)?;
                let policy = self.policy(Some(&draw.latent))?;
                let outcome = negative_elbo_sampled(
                    problem.objective,
                    &policy,
                    self.reference()?.as_ref(),
                    &self.lengths()?,
                    &draw.kl,
                    kl_weight,
                )?;
                let mut found = PairNumbers::of(&outcome.loss)?;
                found.at_one_h_z(&outcome, &policy)?;
                found.kl = Some(number(&draw.kl)?);
                found.latent = Some(draw.latent.squeeze(0)?.to_vec1()?);
                Ok((outcome.loss, found))
            }
            Latent::Control {} => {
                let Some(n) = self.network else {
                    return Err(Error::argument("check", "network", "none", "the control's"));
                };
                let mlp = Mlp {
                    w1: n.inner_weight.as_tensor().clone(),
                    b1: n.inner_bias.squeeze(0)?,
                    w2: n.outer_weight.as_tensor().clone(),
                    b2: n.outer_bias.squeeze(0)?,
                };
                self.at_latent(&control_latent(&mlp, &vector(&pair.prompt_hidden)?)?)
            }
            Latent::Factors {} => {
                self.at_latent(&linear_latent(&vector(&pair.factor_weights)?, self.vectors)?)
            }
        }
    }

    /// The plain objective at h_z [1, d].
    fn at_latent(&self, h_z: &Tensor) -> Result<(Tensor, PairNumbers)> {
        let policy = self.policy(Some(h_z))?;
        let objective = self.problem.objective;
        let outcome = objective_loss(objective, &policy, self.reference()?.as_ref(), &self.lengths()?)?;
        let mut found = PairNumbers::of(&outcome.loss)?;
        found.at_one_h_z(&outcome, &policy)?;
        found.latent = Some(h_z.squeeze(0)?.to_vec1()?);
        Ok((outcome.loss, found))
    }

    /// The policy's summed log-probabilities, [1] each, at one h_z [1, d] or at none.
    fn policy(&self, latent: Option<&Tensor>) -> Result<PairLogps> {
        self.each(|completion| {
            let (hidden, tokens) = states(completion)?;
            let hidden = match latent {
                Some(latent) => add_latent(&hidden, latent, &tokens.zeros_like()?)?,
                None => hidden,
            };
            token_logps(&hidden, self.lm_head, &tokens)
        })
    }

    /// Loss and margin of every code, [1, K] each.
    fn codes(&self) -> Result<PairLoss> {
        let policy = self.each(|completion| {
            let (hidden, tokens) = states(completion)?;
            code_logps(&hidden, self.lm_head, self.vectors, &tokens)
        })?;
        code_losses(self.problem.objective, &policy, self.reference()?.as_ref(), &self.lengths()?)
    }

    /// Sums of both completions' `logps` over their tokens.
    fn each(&self, logps: impl Fn(&Completion) -> Result<Tensor>) -> Result<PairLogps> {
        let sum = |c: &Completion| completion_logps_sum(&logps(c)?, &vec![0; c.tokens.len()], 1);
        Ok(PairLogps { chosen: sum(&self.pair.chosen)?, rejected: sum(&self.pair.rejected)? })
    }

    /// None for SimPO, so that it can read none.
    fn reference(&self) -> Result<Option<PairLogps>> {
        if !self.problem.objective.needs_reference() {
            return Ok(None);
        }
        let (chosen, rejected) = (self.pair.reference_chosen_logps, self.pair.reference_rejected_logps);
        Ok(Some(PairLogps { chosen: one(chosen)?, rejected: one(rejected)? }))
    }

    fn lengths(&self) -> Result<PairLengths> {
        let length = |c: &Completion| one(c.tokens.len() as f64);
        Ok(PairLengths { chosen: length(&self.pair.chosen)?, rejected: length(&self.pair.rejected)? })
    }

    fn every_code(
        &self,
        found: &mut PairNumbers,
        codes: &PairLoss,
        prior: &Tensor,
        posterior: &Tensor,
    ) -> Result<()> {
        found.code_margins = Some(codes.margin.squeeze(0)?.to_vec1()?);
        found.exact_posterior = Some(true_posterior_logps(prior, &codes.loss)?.exp()?.squeeze(0)?.to_vec1()?);
        if self.pair.has_posterior {
            found.kl = Some(number(&kl_divergence(posterior, prior)?)?);
            found.bound_gap = Some(number(&bound_gap(posterior, prior, &codes.loss)?)?);
        }
        Ok(())
    }
}

impl PairNumbers {
    fn of(loss: &Tensor) -> Result<Self> {
        Ok(Self {
            loss: number(loss)?,
            margin: None,
            kl: None,
            policy_chosen_logps: None,
            policy_rejected_logps: None,
            latent: None,
            code_weights: None,
            code_margins: None,
            exact_posterior: None,
            bound_gap: None,
        })
    }

    fn at_one_h_z(&mut self, outcome: &PairLoss, policy: &PairLogps) -> Result<()> {
        self.margin = Some(number(&outcome.margin)?);
        self.policy_chosen_logps = Some(number(&policy.chosen)?);
        self.policy_rejected_logps = Some(number(&policy.rejected)?);
        Ok(())
    }
}

fn matrix(values: &Array2<f64>) -> Result<Tensor> {
    Ok(Tensor::from_iter(values.iter().copied(), &Device::Cpu)?.reshape(values.dim())?)
}

/// [1, K]
fn vector(values: &Array1<f64>) -> Result<Tensor> {
    Ok(Tensor::from_iter(values.iter().copied(), &Device::Cpu)?.unsqueeze(0)?)
}

fn states(completion: &Completion) -> Result<(Tensor, Tensor)> {
    Ok((matrix(&completion.hidden)?, Tensor::new(completion.tokens.as_slice(), &Device::Cpu)?))
}

/// [1]
fn one(value: f64) -> Result<Tensor> {
    Ok(Tensor::new(&[value], &Device::Cpu)?)
}

fn number(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.squeeze(0)?.to_scalar()?)
}
