//! The loss of a pair under every latent rule: what it reads, what it reports, where rules meet.

use crate::support::{
    Draw, Example, ROUNDING, assert_all_close, assert_close, cases, example, latent_rule, objective, settings,
};
use lpc::config::Objective;
use lpc::spec::gradient::{LatentRule, LpcLoss, LpcSettings, lpc_loss};
use lpc::spec::gumbel::hard_sample;
use lpc::spec::latent::{kl_divergence, kl_divergence_gradient};
use lpc::spec::logprob::{add_latent, code_logps};
use lpc::spec::numerics::softmax;
use ndarray::{Array1, Array2, Axis, array, concatenate};
use proptest::prelude::*;

fn loss(example: &Example, objective: Objective, latent: LatentRule) -> LpcLoss {
    lpc_loss(&example.pair(), &LpcSettings { objective, latent }).unwrap()
}

/// The pair without a latent, its states moved by `h_z` beforehand.
fn plain_at(example: &Example, objective: Objective, h_z: &Array1<f64>) -> LpcLoss {
    let mut moved = example.clone();
    moved.chosen_hidden = add_latent(&example.chosen_hidden, h_z).unwrap();
    moved.rejected_hidden = add_latent(&example.rejected_hidden, h_z).unwrap();
    loss(&moved, objective, LatentRule::None)
}

fn is_zero<'a>(values: impl IntoIterator<Item = &'a f64>) -> bool {
    values.into_iter().all(|&v| v == 0.0)
}

fn spoil<D: ndarray::Dimension>(array: &mut ndarray::Array<f64, D>) {
    array.fill(f64::NAN);
}

proptest! {
    #![proptest_config(cases())]

    /// Renaming the codes renames what belongs to them and changes nothing else.
    #[test]
    fn codes_have_no_order(example in example(), settings in settings(), seed in any::<u64>()) {
        let order = Draw::new(seed).permutation(example.prior_logits.len());
        let rows = |m: &Array2<f64>| m.select(Axis(0), &order);
        let entries = |v: &Array1<f64>| v.select(Axis(0), &order);
        let mut renamed = example.clone();
        renamed.codebook = rows(&example.codebook);
        renamed.prior_logits = entries(&example.prior_logits);
        renamed.posterior_logits = entries(&example.posterior_logits);
        renamed.prior_noise = entries(&example.prior_noise);
        renamed.posterior_noise = entries(&example.posterior_noise);

        let a = lpc_loss(&example.pair(), &settings).unwrap();
        let b = lpc_loss(&renamed.pair(), &settings).unwrap();
        assert_all_close(&[a.loss, a.kl, a.margin], &[b.loss, b.kl, b.margin]);
        assert_all_close(&[a.policy.chosen, a.policy.rejected], &[b.policy.chosen, b.policy.rejected]);
        assert_all_close(&rows(&a.gradients.codebook), &b.gradients.codebook);
        assert_all_close(&entries(&a.gradients.prior_logits), &b.gradients.prior_logits);
        assert_all_close(&entries(&a.gradients.posterior_logits), &b.gradients.posterior_logits);
        assert_all_close(&a.gradients.chosen_hidden, &b.gradients.chosen_hidden);
        assert_all_close(&a.gradients.rejected_hidden, &b.gradients.rejected_hidden);
        assert_all_close(&a.gradients.lm_head, &b.gradients.lm_head);
        if let (Some(x), Some(y)) = (a.codes, b.codes) {
            assert_all_close(&entries(&a.code_weights), &b.code_weights);
            assert_all_close(&entries(&x.margins), &y.margins);
            assert_all_close(&entries(&x.losses), &y.losses);
            assert_all_close(&entries(&x.exact_posterior), &y.exact_posterior);
            assert_close(x.bound_gap, y.bound_gap);
        }
    }

    /// With K = 1 the code is a fixed offset, and at e_1 = 0 none: every rule trains the plain
    /// objective, and no logit learns.
    #[test]
    fn one_zero_code_trains_the_plain_objective(
        example in example(), objective in objective(), rule in latent_rule(),
    ) {
        let mut example = example;
        for v in [
            &mut example.prior_logits, &mut example.posterior_logits,
            &mut example.prior_noise, &mut example.posterior_noise,
        ] {
            *v = array![v[0]];
        }
        example.codebook = Array2::zeros((1, example.lm_head.ncols()));
        let (coded, plain) = (loss(&example, objective, rule), loss(&example, objective, LatentRule::None));
        prop_assert_eq!(coded.kl, 0.0);
        assert_close(coded.loss, plain.loss);
        assert_close(coded.margin, plain.margin);
        assert_close(coded.policy.chosen, plain.policy.chosen);
        assert_close(coded.policy.rejected, plain.policy.rejected);
        let (a, b) = (&coded.gradients, &plain.gradients);
        assert_all_close(&a.chosen_hidden, &b.chosen_hidden);
        assert_all_close(&a.rejected_hidden, &b.rejected_hidden);
        assert_all_close(&a.lm_head, &b.lm_head);
        prop_assert!(is_zero(&a.prior_logits) && is_zero(&a.posterior_logits));
        if let Some(codes) = coded.codes {
            assert_close(codes.losses[0], plain.loss);
            assert_close(codes.margins[0], plain.margin);
            prop_assert_eq!(codes.exact_posterior, array![1.0]);
            prop_assert_eq!(codes.bound_gap, 0.0);
        }
    }

    /// Jensen's remainder, from hidden states: (7) at λ = 1 less (6) is the reported gap.
    #[test]
    fn the_exact_elbo_exceeds_the_marginal_by_the_gap(example in example(), objective in objective()) {
        let elbo = loss(&example, objective, LatentRule::ExactElbo { kl_weight: 1.0 });
        let marginal = loss(&example, objective, LatentRule::Marginal);
        let gap = elbo.codes.unwrap().bound_gap;
        prop_assert!(gap >= -ROUNDING);
        // The difference carries the rounding of its terms.
        prop_assert!((elbo.loss - marginal.loss - gap).abs() <= ROUNDING * elbo.loss.abs().max(1.0));
    }

    /// The exact rules are sums over codes of the plain objective at h_z = e_k, value and gradient.
    #[test]
    fn exact_rules_average_the_plain_objective(
        example in example(), objective in objective(), kl_weight in 0.0..2.0_f64, marginal in any::<bool>(),
    ) {
        let rule = if marginal { LatentRule::Marginal } else { LatentRule::ExactElbo { kl_weight } };
        let got = loss(&example, objective, rule);
        let codes = got.codes.unwrap();
        let by_code: Vec<LpcLoss> =
            example.codebook.outer_iter().map(|code| plain_at(&example, objective, &code.to_owned())).collect();
        let (q, p) = (softmax(&example.posterior_logits), softmax(&example.prior_logits));
        let losses: Array1<f64> = by_code.iter().map(|l| l.loss).collect();
        let kl: f64 = q.iter().zip(&p).map(|(q, p)| q * (q / p).ln()).sum();
        // From the least loss up, where e^−ℓ of them all could vanish.
        let least = losses.iter().fold(f64::MAX, |m, &l| m.min(l));
        let joint = &p * &losses.mapv(|l| (least - l).exp());
        let weights = if marginal { &joint / joint.sum() } else { q.clone() };

        assert_close(got.loss, if marginal { least - joint.sum().ln() } else { q.dot(&losses) + kl_weight * kl });
        assert_close(got.kl, kl);
        assert_all_close(&got.code_weights, &weights);
        assert_all_close(&codes.losses, &losses);
        assert_all_close(&codes.margins, &by_code.iter().map(|l| l.margin).collect::<Vec<_>>());
        assert_all_close(&codes.exact_posterior, &(&joint / joint.sum()));
        let mean = |of: &dyn Fn(&LpcLoss) -> f64| -> f64 {
            by_code.iter().zip(&weights).map(|(l, w)| w * of(l)).sum()
        };
        assert_close(got.margin, mean(&|l| l.margin));
        assert_close(got.policy.chosen, mean(&|l| l.policy.chosen));
        assert_close(got.policy.rejected, mean(&|l| l.policy.rejected));
        let mean = |of: &dyn Fn(&LpcLoss) -> Array2<f64>| -> Array2<f64> {
            by_code.iter().zip(&weights).map(|(l, &w)| w * of(l)).reduce(|a, b| a + b).unwrap()
        };
        assert_all_close(&got.gradients.chosen_hidden, &mean(&|l| l.gradients.chosen_hidden.clone()));
        assert_all_close(&got.gradients.rejected_hidden, &mean(&|l| l.gradients.rejected_hidden.clone()));
        assert_all_close(&got.gradients.lm_head, &mean(&|l| l.gradients.lm_head.clone()));
        // A code moves every state as the states themselves would move.
        for ((l, &w), row) in by_code.iter().zip(&weights).zip(got.gradients.codebook.outer_iter()) {
            let moved = l.gradients.chosen_hidden.sum_axis(Axis(0)) + l.gradients.rejected_hidden.sum_axis(Axis(0));
            assert_all_close(row, &(moved * w));
        }
    }

    /// Every rule enumerates the same codes.
    #[test]
    fn what_codes_say_does_not_depend_on_the_rule(example in example(), objective in objective(), rule in latent_rule()) {
        let (here, there) = (loss(&example, objective, rule), loss(&example, objective, LatentRule::Marginal));
        match rule {
            LatentRule::None => prop_assert!(here.codes.is_none() && here.code_weights.is_empty() && here.kl == 0.0),
            _ => prop_assert!(here.codes == there.codes && here.kl == there.kl),
        }
    }

    /// The plain objective knows no latent; the exact rules draw nothing; (6) has no posterior network.
    #[test]
    fn rules_read_what_they_say(example in example(), objective in objective(), lambda in 0.0..2.0_f64) {
        let mut spoiled = example.clone();
        for noise in [&mut spoiled.prior_noise, &mut spoiled.posterior_noise] {
            spoil(noise);
        }
        for rule in [LatentRule::ExactElbo { kl_weight: lambda }, LatentRule::Marginal] {
            prop_assert_eq!(loss(&example, objective, rule), loss(&spoiled, objective, rule));
        }

        spoiled.posterior_logits = &example.posterior_logits * -2.0 + 1.0;
        let (a, b) = (loss(&example, objective, LatentRule::Marginal), loss(&spoiled, objective, LatentRule::Marginal));
        prop_assert_eq!(a.loss, b.loss);
        prop_assert_eq!(&a.gradients, &b.gradients);
        prop_assert!(is_zero(&a.gradients.posterior_logits));

        spoil(&mut spoiled.codebook);
        spoil(&mut spoiled.prior_logits);
        spoil(&mut spoiled.posterior_logits);
        let plain = loss(&example, objective, LatentRule::None);
        prop_assert_eq!(&plain, &loss(&spoiled, objective, LatentRule::None));
        let g = plain.gradients;
        prop_assert!(is_zero(&g.codebook) && is_zero(&g.prior_logits) && is_zero(&g.posterior_logits));
        prop_assert_eq!(g.codebook.dim(), example.codebook.dim());
    }

    /// α = 1 moves the posterior by its divergence alone: the data term no longer reaches q.
    #[test]
    fn at_alpha_1_the_posterior_feels_the_divergence_alone(
        example in example(), objective in objective(), gumbel_tau in 0.1..3.0, kl_weight in 0.0..2.0_f64,
    ) {
        let rule = LatentRule::Gumbel { gumbel_tau, prior_weight: 1.0, kl_weight };
        let (kl, _) = kl_divergence_gradient(&example.posterior_logits, &example.prior_logits).unwrap();
        assert_all_close(&loss(&example, objective, rule).gradients.posterior_logits, &(kl * kl_weight));
    }

    /// As τ → 0 at α = 0 the relaxation meets (7): the loss is the objective at one code.
    #[test]
    fn a_cold_loss_is_the_loss_at_one_code(example in example(), objective in objective(), kl_weight in 0.0..2.0) {
        let cold = loss(&example, objective, LatentRule::Gumbel { gumbel_tau: 1e-9, prior_weight: 0.0, kl_weight });
        let code = hard_sample(&example.posterior_logits, &example.posterior_noise).unwrap();
        let kl = kl_divergence(&example.posterior_logits, &example.prior_logits).unwrap();
        assert_close(cold.loss, cold.codes.unwrap().losses.dot(&code) + kl_weight * kl);
    }

    /// The relaxed rule is the plain objective at its h_z: one for the pair, at every position.
    #[test]
    fn the_loss_reports_the_policy_at_its_latent(
        example in example(), objective in objective(), gumbel_tau in 0.4..3.0, prior_weight in 0.0..=1.0, kl_weight in 0.0..2.0,
    ) {
        let got = loss(&example, objective, LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight });
        let plain = plain_at(&example, objective, &got.code_weights.dot(&example.codebook));
        assert_close(got.margin, plain.margin);
        assert_close(got.policy.chosen, plain.policy.chosen);
        assert_close(got.policy.rejected, plain.policy.rejected);
        assert_close(got.loss, plain.loss + kl_weight * got.kl);
        assert_all_close(&got.gradients.lm_head, &plain.gradients.lm_head);
    }

    /// With the labels exchanged every code's margin changes sign (γ apart), and under DPO its loss
    /// grows by β·Δ_k: −log σ(−x) + log σ(x) = x.
    #[test]
    fn exchanging_the_labels_negates_every_codes_margin(example in example(), objective in objective()) {
        let mut exchanged = example.clone();
        std::mem::swap(&mut exchanged.chosen_hidden, &mut exchanged.rejected_hidden);
        std::mem::swap(&mut exchanged.chosen_tokens, &mut exchanged.rejected_tokens);
        std::mem::swap(&mut exchanged.reference.chosen, &mut exchanged.reference.rejected);
        let there = loss(&example, objective, LatentRule::Marginal).codes.unwrap();
        let back = loss(&exchanged, objective, LatentRule::Marginal).codes.unwrap();
        let gamma = if let Objective::Simpo { gamma, .. } = objective { gamma } else { 0.0 };
        assert_all_close(&(&there.margins + gamma), &-(&back.margins + gamma));
        if let Objective::Dpo { beta } = objective {
            assert_all_close(&(&back.losses - &there.losses), &(&there.margins * beta));
        }
    }

    /// Saying everything n times leaves SimPO where it was, under any rule and any code.
    #[test]
    fn simpo_is_blind_to_repeated_tokens(
        example in example(), beta in 0.02..4.0, gamma in -2.0..2.0, rule in latent_rule(), n in 2usize..5,
    ) {
        let mut repeated = example.clone();
        repeated.chosen_tokens = example.chosen_tokens.repeat(n);
        let states = vec![example.chosen_hidden.view(); n];
        repeated.chosen_hidden = concatenate(Axis(0), &states).unwrap();
        let objective = Objective::Simpo { beta, gamma };
        assert_close(loss(&repeated, objective, rule).loss, loss(&example, objective, rule).loss);
    }

    /// The margin of (5) is the codes' log-probabilities against the reference's, which no code touches.
    #[test]
    fn the_reference_sees_no_code(example in example(), beta in 0.02..4.0) {
        let codes = loss(&example, Objective::Dpo { beta }, LatentRule::Marginal).codes.unwrap();
        let at = |hidden, tokens| code_logps(hidden, &example.lm_head, &example.codebook, tokens).unwrap();
        let difference = at(&example.chosen_hidden, &example.chosen_tokens)
            - at(&example.rejected_hidden, &example.rejected_tokens);
        assert_all_close(&codes.margins, &(difference - (example.reference.chosen - example.reference.rejected)));
    }
}
