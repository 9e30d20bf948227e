//! Every code at once, from scores and biases, against f64: also where their peaks lie far apart.

use crate::tools::{Draws, ROUNDING, assert_close, f64s, read};
use half::bf16;
use lpc::machine::device::kernels::{
    Coded, code_biases, code_gradient, code_logps, code_shares, code_terms, exponentials,
};
use lpc::machine::device::{Numbers, Operand, Out};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn log_probabilities_and_gradients(
        seed: u64, n in 1usize..6, vocab in 1usize..600, codes in 1usize..6,
        scale in prop_oneof![0.1..5.0f64, 50.0..200.0f64], spread in prop_oneof![0.1..5.0f64, 50.0..200.0f64],
    ) {
        let mut draws = Draws::new(seed);
        let (scores, biases) = (draws.normal(n * vocab, scale), draws.normal(codes * vocab, spread));
        let (tokens, upstream) = (draws.below(n, vocab), draws.normal(n * codes, 1.0));
        let (held, of_codes) = (draws.held(&scores), draws.held(&biases));
        let (ids, d_logps) = (draws.held(&tokens), draws.held(&upstream));
        let [high, low, other] = [(); 3].map(|()| draws.room::<bf16>(n * vocab));
        let both = draws.room::<bf16>(2 * codes * vocab);
        let (largest, bias_largest) = (draws.room(n), draws.room(codes));
        exponentials(held.all(), high.all(), low.all(), largest.all()).unwrap();
        let halves = [both.at(..codes * vocab), both.at(codes * vocab..)];
        exponentials(of_codes.all(), halves[0], halves[1], bias_largest.all()).unwrap();
        let (products, sums) = (draws.room::<f32>(2 * n * codes), draws.room(n * codes));
        let (normalisers, logps) = (draws.room(n * codes), draws.room::<f32>(n * codes));
        let of_rows = |numbers| Operand::new(numbers, n, vocab);
        let device = &draws.device;
        let biases_of = |numbers, rows| Operand::new(numbers, rows, vocab);
        device.multiply(of_rows(high.all()), biases_of(both.all(), 2 * codes).t(), products.all(), false).unwrap();
        let first = Out::each(Numbers::F32(products.all()), 0).strided(2 * codes);
        device.multiply(of_rows(low.all()), biases_of(halves[0], codes).t(), first, true).unwrap();
        let coded = Coded {
            scores: held.all(),
            largest: largest.all(),
            biases: of_codes.all(),
            bias_largest: bias_largest.all(),
            tokens: ids.all(),
            sums: sums.all(),
            normalisers: normalisers.all(),
        };
        code_logps(coded, products.all(), logps.all()).unwrap();
        let shares = draws.room::<bf16>(n * codes);
        code_shares(d_logps.all(), sums.all(), shares.all()).unwrap();
        let of_shares = Operand::new(shares.all(), n, codes);
        device.multiply(of_shares, biases_of(halves[0], codes), other.all(), false).unwrap();
        code_gradient(coded, d_logps.all(), other.all(), high.all()).unwrap();
        let (summed, d_biases) = (draws.room::<f32>(vocab * codes), draws.room::<f32>(vocab * codes));
        device.multiply(of_rows(other.all()).t(), of_shares, summed.all(), false).unwrap();
        code_terms(coded, d_logps.all(), d_biases.all()).unwrap();
        code_biases(halves, summed.all(), d_biases.all(), codes).unwrap();

        // By the definition.
        let (s, b, g) = (f64s(&scores), f64s(&biases), f64s(&upstream));
        let (mut expected, mut d_scores, mut d_b) = (vec![], vec![0.0; n * vocab], vec![0.0; vocab * codes]);
        for i in 0..n {
            for k in 0..codes {
                let at = |v: usize| s[i * vocab + v] + b[k * vocab + v];
                let most = (0..vocab).map(at).fold(f64::NEG_INFINITY, f64::max);
                let normaliser = most + (0..vocab).map(|v| (at(v) - most).exp()).sum::<f64>().ln();
                let token = tokens[i] as usize;
                expected.push(at(token) - normaliser);
                let g = g[i * codes + k];
                d_scores[i * vocab + token] += g;
                for v in 0..vocab {
                    let p = g * (at(v) - normaliser).exp();
                    d_scores[i * vocab + v] -= p;
                    // The token's own part is added elsewhere.
                    d_b[v * codes + k] -= p;
                }
            }
        }
        let far = |(got, expected): (&f64, &f64)| (got - expected).abs() / (1.0 + expected.abs() + scale + spread);
        let far = read(&logps).iter().zip(&expected).map(far).fold(0.0, f64::max);
        prop_assert!(far < 4e-6, "{far}");
        // Exponents of some hundred are rounded, and shares to bf16; at the token 1 less a probability near 1 is left.
        let of_f32 = 4e-6 * (scale + spread);
        let most = g.iter().fold(0f64, |a, b| a.max(b.abs())) * codes as f64;
        let largest = d_scores.iter().fold(0f64, |a, b| a.max(b.abs()));
        assert_close(&read(&high), &d_scores, 2.0 * ROUNDING + of_f32, (ROUNDING + of_f32) * most / largest.max(1e-30));
        assert_close(&read(&d_biases), &d_b, 2.0 * ROUNDING + of_f32, (ROUNDING + of_f32) * n as f64);
    }
}
