//! (2), (5), (12), (13) and the GPO family.

use crate::support::{ROUNDING, assert_close, cases, objective};
use lpc::config::{Gpo, Objective};
use lpc::spec::objective::*;
use proptest::prelude::*;
use std::f64::consts::LN_2;

fn logps() -> impl Strategy<Value = PairLogps> {
    (-60.0..0.0, -60.0..0.0).prop_map(|(chosen, rejected)| PairLogps { chosen, rejected })
}

fn lengths() -> impl Strategy<Value = PairLengths> {
    (1usize..50, 1usize..50).prop_map(|(chosen, rejected)| PairLengths { chosen, rejected })
}

fn swapped(l: PairLogps) -> PairLogps {
    PairLogps { chosen: l.rejected, rejected: l.chosen }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_policy_equal_to_its_reference_pays_ln_2(beta in 1e-3..10.0, logps in logps(), lengths in lengths()) {
        let dpo = objective_loss(Objective::Dpo { beta }, logps, logps, lengths).unwrap();
        prop_assert_eq!(dpo.margin, 0.0);
        prop_assert_eq!(dpo.loss, LN_2);
        prop_assert_eq!(gpo_loss(Gpo::Logistic, beta, 0.0).unwrap(), LN_2);
    }

    #[test]
    fn simpo_pays_ln_2_for_equal_means(beta in 1e-3..10.0, mean in -5.0..0.0, n in 1usize..40, m in 1usize..40) {
        let policy = PairLogps { chosen: mean * n as f64, rejected: mean * m as f64 };
        let margin = simpo_margin(beta, 0.0, policy, PairLengths { chosen: n, rejected: m }).unwrap();
        assert_close(simpo_loss(margin).unwrap(), LN_2);
    }

    /// −log σ(h) + log σ(−h) = −h: what a wrong label costs is linear in the margin.
    #[test]
    fn dpo_losses_of_the_two_labels_differ_by_beta_margin(beta in 1e-3..10.0, margin in -200.0..200.0) {
        let difference = dpo_loss(beta, margin).unwrap() - dpo_loss(beta, -margin).unwrap();
        assert_close(difference, -beta * margin);
    }

    #[test]
    fn dpo_loss_and_gradient_are_the_textbook_formulas(beta in 0.01..3.0, margin in -10.0..10.0) {
        let x: f64 = beta * margin;
        // log1p of e^30 at most: the naive formula is exact enough here.
        assert_close(dpo_loss(beta, margin).unwrap(), (1.0 + (-x).exp()).ln());
        assert_close(dpo_gradient(beta, margin).unwrap(), -beta / (1.0 + x.exp()));
    }

    #[test]
    fn dpo_is_minus_log_bradley_terry_of_implicit_rewards(
        beta in 0.01..3.0, policy in logps(), reference in logps(), lengths in lengths(),
    ) {
        let chosen = implicit_reward(beta, policy.chosen, reference.chosen).unwrap();
        let rejected = implicit_reward(beta, policy.rejected, reference.rejected).unwrap();
        let likelihood = bradley_terry(chosen, rejected).unwrap();
        let dpo = objective_loss(Objective::Dpo { beta }, policy, reference, lengths).unwrap();
        // e^−loss keeps the comparison relative to a probability.
        prop_assert!(((-dpo.loss).exp() - likelihood).abs() <= 1e-12 * likelihood + f64::MIN_POSITIVE);
    }

    #[test]
    fn ipo_is_zero_at_its_target_and_nowhere_else(ipo_tau in 0.01..5.0, offset in prop_oneof![-9.0..-1e-3_f64, 1e-3..9.0]) {
        let target = 1.0 / (2.0 * ipo_tau);
        prop_assert_eq!(ipo_loss(ipo_tau, target).unwrap(), 0.0);
        prop_assert_eq!(ipo_gradient(ipo_tau, target).unwrap(), 0.0);
        let loss = ipo_loss(ipo_tau, target + offset).unwrap();
        // The target's own rounding enters once, relative to an offset of at least 1e-3.
        prop_assert!((loss - offset * offset).abs() <= 1e-10 * offset * offset, "{} {}", loss, offset);
        prop_assert_eq!(ipo_gradient(ipo_tau, target + offset).unwrap() > 0.0, offset > 0.0);
    }

    #[test]
    fn ipo_is_the_squared_member_of_gpo(ipo_tau in 0.05..2.0, margin in -20.0..20.0) {
        let beta = 2.0 * ipo_tau;
        let squared = gpo_loss(Gpo::Squared, beta, margin).unwrap();
        assert_close(squared / beta.powi(2), ipo_loss(ipo_tau, margin).unwrap());
    }

    #[test]
    fn dpo_is_the_logistic_member_of_gpo(beta in 0.01..3.0, margin in -50.0..50.0) {
        prop_assert_eq!(gpo_loss(Gpo::Logistic, beta, margin).unwrap(), dpo_loss(beta, margin).unwrap());
        assert_close(gpo_gradient(Gpo::Logistic, beta, margin).unwrap(), dpo_gradient(beta, margin).unwrap());
    }

    /// Each member against its definition in Tang et al., written naively.
    #[test]
    fn gpo_members_are_their_definitions(beta in 0.05..2.0, margin in -8.0..8.0) {
        let x: f64 = beta * margin;
        let definitions = [
            (1.0 + (-x).exp()).ln(),
            (x - 1.0) * (x - 1.0),
            if x < 1.0 { 1.0 - x } else { 0.0 },
            1.0 / x.exp(),
            if x < 1.0 { (1.0 - x) * (1.0 - x) } else { 0.0 },
            1.0 / ((1.0 + x.exp()) * (1.0 + x.exp())),
        ];
        for (family, expected) in Gpo::ALL.into_iter().zip(definitions) {
            assert_close(gpo_loss(family, beta, margin).unwrap(), expected);
        }
    }

    /// f((a + b)/2) ≤ (f(a) + f(b))/2 for every member but Savage.
    #[test]
    fn gpo_members_but_savage_are_convex(beta in 0.05..2.0, a in -20.0..20.0, b in -20.0..20.0) {
        for family in Gpo::ALL.into_iter().filter(|&f| f != Gpo::Savage) {
            let f = |margin| gpo_loss(family, beta, margin).unwrap();
            let chord = (f(a) + f(b)) / 2.0;
            prop_assert!(f((a + b) / 2.0) <= chord * (1.0 + ROUNDING) + ROUNDING, "{:?}", family);
        }
    }

    /// A larger margin never costs more, except beyond the target of the squared loss.
    #[test]
    fn gpo_losses_fall_with_the_margin(beta in 0.05..2.0, x in -20.0..1.0) {
        for family in Gpo::ALL {
            prop_assert!(gpo_gradient(family, beta, x / beta).unwrap() <= 0.0, "{:?}", family);
        }
    }

    #[test]
    fn simpo_never_reads_the_reference(
        beta in 0.01..3.0, gamma in -2.0..2.0, policy in logps(), a in logps(), lengths in lengths(),
    ) {
        let absent = PairLogps { chosen: f64::NAN, rejected: f64::NAN };
        let simpo = |reference| objective_loss(Objective::Simpo { beta, gamma }, policy, reference, lengths).unwrap();
        prop_assert_eq!(simpo(a), simpo(absent));
    }

    /// Saying everything n times leaves mean log-probabilities, hence SimPO, where they were.
    #[test]
    fn simpo_is_blind_to_repetition(
        beta in 0.01..3.0, gamma in -2.0..2.0, policy in logps(), lengths in lengths(), n in 2usize..6, m in 2usize..6,
    ) {
        let loss = |policy, lengths| simpo_loss(simpo_margin(beta, gamma, policy, lengths).unwrap()).unwrap();
        let repeated = loss(
            PairLogps { chosen: policy.chosen * n as f64, rejected: policy.rejected * m as f64 },
            PairLengths { chosen: lengths.chosen * n, rejected: lengths.rejected * m },
        );
        assert_close(loss(policy, lengths), repeated);
    }

    /// … whereas DPO and IPO, on sums, are not: this is the convention the recipe records.
    #[test]
    fn dpo_and_ipo_see_repetition(policy in logps(), reference in logps(), n in 2usize..6) {
        let scale = |l: PairLogps| PairLogps { chosen: l.chosen * n as f64, rejected: l.rejected * n as f64 };
        let once = margin(policy, reference).unwrap();
        let repeated = margin(scale(policy), scale(reference)).unwrap();
        prop_assert!((repeated - n as f64 * once).abs() <= 1e-12 * 240.0 * n as f64);
    }

    #[test]
    fn swapping_the_pair_negates_the_margin(
        objective in objective(), policy in logps(), reference in logps(), lengths in lengths(),
    ) {
        let reversed = PairLengths { chosen: lengths.rejected, rejected: lengths.chosen };
        let there = objective_loss(objective, policy, reference, lengths).unwrap();
        let back = objective_loss(objective, swapped(policy), swapped(reference), reversed).unwrap();
        // γ is a head start of the rejected completion, whichever that is.
        let gamma = if let Objective::Simpo { gamma, .. } = objective { gamma } else { 0.0 };
        assert_close(there.margin + gamma, -(back.margin + gamma));
        let sum = bradley_terry(policy.chosen, policy.rejected).unwrap()
            + bradley_terry(policy.rejected, policy.chosen).unwrap();
        assert_close(sum, 1.0);
    }

    /// What separates the rewards is the margin: Δ times β or τ_IPO, and (12)'s argument without γ.
    #[test]
    fn implicit_rewards_differ_by_the_scaled_margin(
        objective in objective(), policy in logps(), reference in logps(), lengths in lengths(),
    ) {
        let margin = objective_loss(objective, policy, reference, lengths).unwrap().margin;
        let rewards = implicit_rewards(objective, policy, reference, lengths).unwrap();
        assert_close(rewards.chosen - rewards.rejected, match objective {
            Objective::Dpo { beta } | Objective::Gpo { beta, .. } => beta * margin,
            Objective::Ipo { ipo_tau } => ipo_tau * margin,
            Objective::Simpo { gamma, .. } => margin + gamma,
        });
    }

    /// More probability on the chosen completion raises the margin by as much; on the rejected
    /// one, it lowers it.
    #[test]
    fn the_margin_has_the_papers_signs(policy in logps(), reference in logps(), step in 0.1..9.0) {
        let at = |dc: f64, dr: f64| {
            let moved = PairLogps { chosen: policy.chosen + dc, rejected: policy.rejected + dr };
            margin(moved, reference).unwrap() - margin(policy, reference).unwrap()
        };
        // Rounding of log-probabilities of up to 70 nats.
        prop_assert!((at(step, 0.0) - step).abs() <= 1e-12 * 70.0);
        prop_assert!((at(0.0, step) + step).abs() <= 1e-12 * 70.0);
    }
}

/// At its corner, βΔ = 1, the hinge neither costs nor pulls; just below it pulls with all of β.
#[test]
fn the_hinge_rests_at_its_corner() {
    assert_eq!(gpo_loss(Gpo::Hinge, 0.5, 2.0).unwrap(), 0.0);
    assert_eq!(gpo_gradient(Gpo::Hinge, 0.5, 2.0).unwrap(), 0.0);
    assert_eq!(gpo_gradient(Gpo::Hinge, 0.5, 2.0 - 1e-9).unwrap(), -0.5);
}

/// Tang et al. speak of convex losses; Savage is in the list and is not one.
#[test]
fn savage_is_not_convex() {
    let f = |x| gpo_loss(Gpo::Savage, 1.0, x).unwrap();
    // Bounded by 1 on the far left: the chord from −10 to 0 runs below the curve.
    assert!(f(-5.0) > (f(-10.0) + f(0.0)) / 2.0 + 0.3);
}
