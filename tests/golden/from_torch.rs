//! PyTorch's own modules, losses and reverse mode, in float64.

use crate::cases::{self, Network};
use crate::fixture::{Tolerance, matrix, vector};
use lpc::spec::latent::*;
use lpc::spec::logprob::{code_logps, code_logps_gradient};
use lpc::spec::marginal::*;
use lpc::spec::objective::{PairLogps, margin};

/// 1e-10: sums in another order on both sides, a few dozen roundings through the chain rule.
const TORCH: Tolerance = Tolerance { relative: 1e-10, floor: 1e-14 };

impl Network {
    fn mlp(&self) -> Mlp {
        Mlp {
            inner_weight: matrix(&self.inner_weight),
            inner_bias: vector(&self.inner_bias),
            outer_weight: matrix(&self.outer_weight),
            outer_bias: vector(&self.outer_bias),
        }
    }

    fn check(&self, got: &Mlp) {
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
        let p = &c.pair;
        let (chosen, rejected) = (matrix(&p.chosen_hidden), matrix(&p.rejected_hidden));
        let (lm_head, codebook) = (matrix(&p.lm_head), matrix(&p.codebook));
        let prior = vector(&p.prior_logits);
        let reference = PairLogps { chosen: p.reference_chosen, rejected: p.reference_rejected };

        let chosen_logps = code_logps(&chosen, &lm_head, &codebook, &p.chosen_tokens).unwrap();
        let rejected_logps = code_logps(&rejected, &lm_head, &codebook, &p.rejected_tokens).unwrap();
        let margins: ndarray::Array1<f64> = chosen_logps
            .iter()
            .zip(&rejected_logps)
            .map(|(&chosen, &rejected)| margin(PairLogps { chosen, rejected }, reference).unwrap())
            .collect();
        TORCH.check("margins", &margins, &c.margins);
        TORCH.check_one("loss", marginal_loss(c.beta, &prior, &margins).unwrap(), c.loss);

        let (to_prior, to_margins) = marginal_gradient(c.beta, &prior, &margins).unwrap();
        let (to_chosen, lm_head_a, codebook_a) =
            code_logps_gradient(&chosen, &lm_head, &codebook, &p.chosen_tokens, &to_margins).unwrap();
        let (to_rejected, lm_head_b, codebook_b) =
            code_logps_gradient(&rejected, &lm_head, &codebook, &p.rejected_tokens, &-to_margins).unwrap();
        let g = &c.gradients;
        TORCH.check("∂prior_logits", &to_prior, &g.prior_logits);
        TORCH.check("∂chosen_hidden", &to_chosen, g.chosen_hidden.iter().flatten());
        TORCH.check("∂rejected_hidden", &to_rejected, g.rejected_hidden.iter().flatten());
        TORCH.check("∂lm_head", &(lm_head_a + lm_head_b), g.lm_head.iter().flatten());
        TORCH.check("∂codebook", &(codebook_a + codebook_b), g.codebook.iter().flatten());
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
