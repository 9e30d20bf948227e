//! PyTorch's own modules, losses and reverse mode, in float64.

use crate::cases::{self, Network};
use crate::fixture::{Tolerance, matrix, vector};
use lpc::config::Objective;
use lpc::spec::gradient::{LatentRule, LpcSettings, lpc_loss};
use lpc::spec::latent::*;

/// 1e-10: sums in another order on both sides, a few dozen roundings through the chain rule.
const TORCH: Tolerance = Tolerance { relative: 1e-10, floor: 1e-14 };

impl Network {
    pub fn mlp(&self) -> Mlp {
        Mlp {
            inner_weight: matrix(&self.inner_weight),
            inner_bias: vector(&self.inner_bias),
            outer_weight: matrix(&self.outer_weight),
            outer_bias: vector(&self.outer_bias),
        }
    }

    pub fn check(&self, got: &Mlp) {
        TORCH.check("∂inner_weight", &got.inner_weight, self.inner_weight.iter().flatten());
        TORCH.check("∂inner_bias", &got.inner_bias, &self.inner_bias);
        TORCH.check("∂outer_weight", &got.outer_weight, self.outer_weight.iter().flatten());
        TORCH.check("∂outer_bias", &got.outer_bias, &self.outer_bias);
    }
}

#[test]
fn the_whole_loss_and_its_gradient() {
    cases::TORCH.lpc.iter().for_each(|case| case.check(TORCH));
}

/// (6) end to end: hidden states to the loss by enumeration, and back through every code.
#[test]
fn the_marginal_from_hidden_states() {
    for c in &cases::TORCH.marginal {
        let settings =
            LpcSettings { objective: Objective::Dpo { beta: c.beta }, latent: LatentRule::Marginal };
        let got = c.pair.with(|pair| lpc_loss(pair, &settings).unwrap());
        TORCH.check("margins", &got.codes.unwrap().margins, &c.margins);
        TORCH.check_one("loss", got.loss, c.loss);
        let (g, e) = (&got.gradients, &c.gradients);
        TORCH.check("∂prior_logits", &g.prior_logits, &e.prior_logits);
        TORCH.check("∂chosen_hidden", &g.chosen_hidden, e.chosen_hidden.iter().flatten());
        TORCH.check("∂rejected_hidden", &g.rejected_hidden, e.rejected_hidden.iter().flatten());
        TORCH.check("∂lm_head", &g.lm_head, e.lm_head.iter().flatten());
        TORCH.check("∂codebook", &g.codebook, e.codebook.iter().flatten());
    }
}

#[test]
fn prior_and_posterior_networks() {
    for c in &cases::TORCH.heads {
        let (prior, posterior) = (c.prior.mlp(), c.posterior.mlp());
        let (prompt, chosen, rejected) =
            (vector(&c.prompt_hidden), vector(&c.chosen_hidden), vector(&c.rejected_hidden));
        TORCH.check("prior", &prior_logits(&prior, &prompt).unwrap(), &c.prior_logits);
        let logits = posterior_logits(&posterior, &chosen, &rejected).unwrap();
        TORCH.check("posterior", &logits, &c.posterior_logits);

        let (parameters, to_prompt) =
            prior_logits_gradient(&prior, &prompt, &vector(&c.prior_upstream)).unwrap();
        c.prior_gradient.check(&parameters);
        TORCH.check("∂prompt_hidden", &to_prompt, &c.prompt_gradient);
        let (parameters, to_chosen, to_rejected) =
            posterior_logits_gradient(&posterior, &chosen, &rejected, &vector(&c.posterior_upstream))
                .unwrap();
        c.posterior_gradient.check(&parameters);
        TORCH.check("∂chosen_hidden", &to_chosen, &c.chosen_gradient);
        TORCH.check("∂rejected_hidden", &to_rejected, &c.rejected_gradient);
    }
}
