//! (1)–(4) and Appendix A's (14)–(20), on small enumerated spaces of completions.

use crate::support::{Draw, assert_all_close, assert_close, cases};
use lpc::spec::latent::kl_divergence;
use lpc::spec::numerics::log_softmax;
use lpc::spec::objective::reward::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    /// What depends on x alone cannot be learnt from preferences.
    #[test]
    fn a_function_of_the_prompt_changes_no_preference(a in -20.0..20.0, b in -20.0..20.0, shift in -50.0..50.0) {
        assert_close(bradley_terry(a, b).unwrap(), bradley_terry(a + shift, b + shift).unwrap());
    }

    #[test]
    fn it_changes_the_partition_function_and_no_policy(
        seed in any::<u64>(), beta in 0.1..3.0, n in 2usize..7, shift in -20.0..20.0_f64,
    ) {
        let mut draw = Draw::new(seed);
        let (reference, rewards) = (draw.vector(n, 1.5), draw.vector(n, 2.0));
        let shifted = &rewards + shift;
        assert_close(
            log_partition(beta, &reference, &shifted).unwrap(),
            log_partition(beta, &reference, &rewards).unwrap() + shift / beta,
        );
        let policy = optimal_policy_logps(beta, &reference, &rewards).unwrap();
        // The shift's rounding, up to 200 nats, is what remains.
        let moved = optimal_policy_logps(beta, &reference, &shifted).unwrap();
        prop_assert!(policy.iter().zip(&moved).all(|(a, b)| (a - b).abs() <= 1e-12 * 200.0));
    }

    /// (3) into (4): the optimal policy's implicit reward is the reward less β log Z(x).
    #[test]
    fn the_optimal_policy_gives_the_reward_back(seed in any::<u64>(), beta in 0.1..3.0, n in 2usize..7) {
        let mut draw = Draw::new(seed);
        let (reference, rewards) = (draw.vector(n, 1.5), draw.vector(n, 2.0));
        let policy = optimal_policy_logps(beta, &reference, &rewards).unwrap();
        let log_z = log_partition(beta, &reference, &rewards).unwrap();
        let reference = log_softmax(&reference);
        for y in 0..n {
            let reward = implicit_reward(beta, policy[y], reference[y]).unwrap() + beta * log_z;
            assert_close(reward, rewards[y]);
        }
    }

    /// (3) maximises (1); its value there is β log Z, and any other policy loses β KL(π ‖ π*).
    #[test]
    fn the_optimal_policy_is_optimal(seed in any::<u64>(), beta in 0.1..3.0, n in 2usize..7) {
        let mut draw = Draw::new(seed);
        let (reference, rewards, other) = (draw.vector(n, 1.5), draw.vector(n, 2.0), draw.vector(n, 1.5));
        let optimum = optimal_policy_logps(beta, &reference, &rewards).unwrap();
        let best = regularised_reward(beta, &optimum, &reference, &rewards).unwrap();
        assert_close(best, beta * log_partition(beta, &reference, &rewards).unwrap());
        let value = regularised_reward(beta, &other, &reference, &rewards).unwrap();
        assert_close(best - value, beta * kl_divergence(&other, &optimum).unwrap());
    }

    /// (20): at a fixed z, Z(x, z) cancels within the pair. Across two codes it does not: the
    /// comparison is off by exactly β (log Z(x, z') − log Z(x, z)).
    #[test]
    fn the_partition_function_cancels_at_a_fixed_code_only(seed in any::<u64>(), beta in 0.1..3.0, n in 2usize..7) {
        let mut draw = Draw::new(seed);
        let reference = draw.vector(n, 1.5);
        let rewards = [draw.vector(n, 2.0), draw.vector(n, 2.0)];
        let logps = log_softmax(&reference);
        let implicit = |z: usize, y: usize| {
            let policy = optimal_policy_logps(beta, &reference, &rewards[z]).unwrap();
            implicit_reward(beta, policy[y], logps[y]).unwrap()
        };
        let log_z = |z: usize| log_partition(beta, &reference, &rewards[z]).unwrap();
        for (z, reward) in rewards.iter().enumerate() {
            assert_close(implicit(z, 0) - implicit(z, 1), reward[0] - reward[1]);
        }
        let across = implicit(0, 0) - implicit(1, 1);
        let truth = rewards[0][0] - rewards[1][1];
        assert_close(across - truth, beta * (log_z(1) - log_z(0)));
    }

    /// Bradley–Terry on the rewards is Bradley–Terry on the implicit rewards.
    #[test]
    fn preferences_survive_the_change_of_variables(seed in any::<u64>(), beta in 0.1..3.0) {
        let mut draw = Draw::new(seed);
        let (reference, rewards) = (draw.vector(4, 1.5), draw.vector(4, 2.0));
        let policy = optimal_policy_logps(beta, &reference, &rewards).unwrap();
        let logps = log_softmax(&reference);
        let implicit: Vec<f64> =
            (0..4).map(|y| implicit_reward(beta, policy[y], logps[y]).unwrap()).collect();
        let of = |r: &[f64]| -> Vec<f64> {
            (0..16).map(|i| bradley_terry(r[i / 4], r[i % 4]).unwrap()).collect()
        };
        assert_all_close(&of(&implicit), &of(rewards.as_slice().unwrap()));
    }
}

/// The mismatch across codes is not always zero: an example where it reverses the preference.
#[test]
fn comparing_across_codes_can_reverse_a_preference() {
    let reference = ndarray::array![0.0, 0.0];
    // Under z = 0 everything is good, under z = 1 everything is bad; y_0 is better at both.
    let (good, bad) = (ndarray::array![5.0, 4.9], ndarray::array![0.1, -5.0]);
    let (good_policy, bad_policy) = (
        optimal_policy_logps(1.0, &reference, &good).unwrap(),
        optimal_policy_logps(1.0, &reference, &bad).unwrap(),
    );
    let logp = -std::f64::consts::LN_2;
    let chosen = implicit_reward(1.0, good_policy[1], logp).unwrap();
    let rejected = implicit_reward(1.0, bad_policy[0], logp).unwrap();
    // r_0(y_1) = 4.9 exceeds r_1(y_0) = 0.1, yet its implicit reward is smaller.
    assert!(chosen < rejected);
}
