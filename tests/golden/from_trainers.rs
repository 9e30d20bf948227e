//! TRL's and OpenRLHF's own loss functions on the same log-probabilities. What they feed them is
//! theirs: TRL's IPO and SimPO take means over tokens, everything else sums.

use crate::cases;
use crate::fixture::Tolerance;
use lpc::config::{Gpo, Objective};
use lpc::spec::objective::*;

/// As for PyTorch, which computes them.
const TRAINERS: Tolerance = Tolerance { relative: 1e-10, floor: 1e-14 };

#[test]
fn losses_and_slopes_of_trl_and_openrlhf() {
    for c in cases::TRAINERS.iter() {
        let policy = PairLogps { chosen: c.policy_chosen, rejected: c.policy_rejected };
        let reference = PairLogps { chosen: c.reference_chosen, rejected: c.reference_rejected };
        // Lengths of one token: SimPO's inputs are means already.
        let lengths = PairLengths { chosen: 1, rejected: 1 };
        let (beta, gamma) = (c.beta, c.gamma);
        let objective = |o| {
            let got = objective_loss(o, policy, reference, lengths).unwrap();
            (got.loss, got.policy_gradient)
        };
        let (loss, slope) = match c.kind.as_str() {
            "trl" | "openrlhf" => objective(Objective::Dpo { beta }),
            "trl-ipo" | "openrlhf-ipo" => objective(Objective::Ipo { ipo_tau: beta }),
            "trl-simpo" => objective(Objective::Simpo { beta, gamma }),
            "trl-hinge" => objective(Objective::Gpo { member: Gpo::Hinge, beta }),
            other => panic!("{other}"),
        };
        TRAINERS.check_one(&c.kind, loss, c.loss);
        TRAINERS.check(&c.kind, &[slope.chosen, slope.rejected], &c.gradient);
    }
}
