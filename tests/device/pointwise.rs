//! Norms, SwiGLU, embeddings, roundings and the head against f64.

use crate::tools::{Draws, ROUNDING, assert_close, f64s, read};
use half::bf16;
use lpc::machine::device::Numbers;
use lpc::machine::device::kernels::{
    ByToken, add_columns, gather, gather_backward, gather_shifted, head_gradient, head_logps, rms_norm,
    rms_norm_backward, rms_norm_weight, swiglu, swiglu_backward, to_bf16,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Sums of some hundred f32 numbers.
const F32: f64 = 2e-6;

const EPS: f64 = 1e-5;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 60, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rms_norms(seed: u64, n in 1usize..9, d in 1usize..700, scale in 0.01..30.0f64, wide: bool) {
        let mut draws = Draws::new(seed);
        let (x, weight) = (draws.normal(n * d, scale), draws.rounded(d, 1.0));
        let (held, inverse) = (draws.held(&x), draws.room::<f32>(n));
        let weights = draws.held(&weight);
        let (f32s, halves) = (draws.room::<f32>(n * d), draws.room::<bf16>(n * d));
        let out = if wide { Numbers::F32(f32s.all()) } else { Numbers::Bf16(halves.all()) };
        rms_norm(held.all(), weights.all(), EPS, out, inverse.all()).unwrap();
        let inverses: Vec<f64> = f64s(&x)
            .chunks(d)
            .map(|x| (x.iter().map(|x| x * x).sum::<f64>() / d as f64 + EPS).sqrt().recip())
            .collect();
        let expected: Vec<f64> = (0..n * d)
            .map(|i| f64::from(x[i]) * inverses[i / d] * f64::from(weight[i % d]))
            .collect();
        assert_close(&read(&inverse), &inverses, F32, 0.0);
        if wide {
            assert_close(&read(&f32s), &expected, F32, 0.0);
        } else {
            assert_close(&read(&halves), &expected, ROUNDING, 0.0);
        }
    }

    /// The gradients of Σ d_out · norm(x): of x by the quotient rule, of the weight by its definition.
    #[test]
    fn rms_norms_backward(
        seed: u64, n in 1usize..150, d in 1usize..300, stretches in 1usize..70, scale in 0.1..10.0f64, exact: bool,
    ) {
        let stretches = stretches.min(n);
        let mut draws = Draws::new(seed);
        let (x, d_out, before) = (draws.normal(n * d, scale), draws.normal(n * d, 1.0), draws.normal(n * d, 1.0));
        let (weight, sums) = (draws.rounded(d, 1.0), draws.rounded(d, 1.0));
        let (held, upstream, dx) = (draws.held(&x), draws.held(&d_out), draws.held(&before));
        let (weights, inverse) = (draws.held(&weight), draws.room::<f32>(n));
        let (partial, out) = (draws.room::<f32>(stretches * d), draws.room::<bf16>(n * d));
        let (wide, half) = (draws.held(&sums.iter().map(|x| x.to_f32()).collect::<Vec<_>>()), draws.held(&sums));
        let gradient = if exact { Numbers::F32(wide.all()) } else { Numbers::Bf16(half.all()) };
        rms_norm(held.all(), weights.all(), EPS, Numbers::Bf16(out.all()), inverse.all()).unwrap();
        rms_norm_weight(upstream.all(), held.all(), inverse.all(), partial.all(), d).unwrap();
        add_columns(partial.all(), gradient).unwrap();
        rms_norm_backward(upstream.all(), held.all(), inverse.all(), weights.all(), dx.all()).unwrap();

        let (x, g, w) = (f64s(&x), f64s(&d_out), f64s(&weight));
        let (mut d_x, mut d_weight) = (f64s(&before), f64s(&sums));
        for row in 0..n {
            let (x, g) = (&x[row * d..][..d], &g[row * d..][..d]);
            let square = x.iter().map(|x| x * x).sum::<f64>() / d as f64 + EPS;
            let root = square.sqrt();
            for i in 0..d {
                d_weight[i] += g[i] * x[i] / root;
                let others: f64 = (0..d).map(|j| g[j] * w[j] * x[j]).sum();
                d_x[row * d + i] += g[i] * w[i] / root - x[i] * others / (d as f64 * square * root);
            }
        }
        assert_close(&read(&dx), &d_x, F32, 4.0 * F32);
        if exact {
            assert_close(&read(&wide), &d_weight, F32, 10.0 * F32);
        } else {
            assert_close(&read(&half), &d_weight, ROUNDING, 10.0 * F32);
        }
    }

    #[test]
    fn gates(seed: u64, n in 1usize..5, ff in 1usize..600, scale in 0.1..20.0f64) {
        let mut draws = Draws::new(seed);
        let (gate_up, d_out) = (draws.rounded(n * 2 * ff, scale), draws.rounded(n * ff, 1.0));
        let (held, out, upstream) = (draws.held(&gate_up), draws.room::<bf16>(n * ff), draws.held(&d_out));
        swiglu(held.all(), out.all(), ff).unwrap();
        swiglu_backward(held.all(), upstream.all(), ff).unwrap();
        let (mut value, mut gradients) = (vec![], vec![0.0; n * 2 * ff]);
        for (i, d) in f64s(&d_out).into_iter().enumerate() {
            let at = i / ff * 2 * ff + i % ff;
            let (g, u) = (f64::from(gate_up[at]), f64::from(gate_up[at + ff]));
            let s = 1.0 / (1.0 + (-g).exp());
            value.push(g * s * u);
            // d/dg of g σ(g) is σ + g σ (1 − σ).
            gradients[at] = d * u * (s + g * s * (1.0 - s));
            gradients[at + ff] = d * g * s;
        }
        assert_close(&read(&out), &value, ROUNDING, 1e-7);
        assert_close(&read(&upstream), &value, ROUNDING, 1e-7);
        assert_close(&read(&held), &gradients, ROUNDING, 1e-6);
    }

    #[test]
    fn embeddings(seed: u64, n in 1usize..40, vocab in 1usize..20, d in 1usize..300, exact: bool) {
        let mut draws = Draws::new(seed);
        let (table, ids) = (draws.rounded(vocab * d, 1.0), draws.below(n, vocab));
        let (d_out, sums) = (draws.normal(n * d, 1.0), draws.rounded(vocab * d, 1.0));
        let (held, places, out) = (draws.held(&table), draws.held(&ids), draws.room::<f32>(n * d));
        gather(Numbers::Bf16(held.all()), places.all(), Numbers::F32(out.all())).unwrap();
        let row = |i: usize| f64s(&table[ids[i] as usize * d..][..d]);
        prop_assert_eq!(read(&out), (0..n).flat_map(row).collect::<Vec<_>>());

        let distinct: Vec<u32> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let (mut starts, mut order) = (vec![0], vec![]);
        for id in &distinct {
            order.extend((0..n as u32).filter(|i| ids[*i as usize] == *id));
            starts.push(order.len() as u32);
        }
        let (wide, half) = (draws.held(&sums.iter().map(|x| x.to_f32()).collect::<Vec<_>>()), draws.held(&sums));
        let gradient = if exact { Numbers::F32(wide.all()) } else { Numbers::Bf16(half.all()) };
        let (distinct, starts, order) = (draws.held(&distinct), draws.held(&starts), draws.held(&order));
        let by_token = ByToken { ids: distinct.all(), starts: starts.all(), order: order.all() };
        gather_backward(draws.held(&d_out).all(), by_token, gradient, d).unwrap();
        let mut expected = f64s(&sums);
        for (i, x) in f64s(&d_out).into_iter().enumerate() {
            expected[ids[i / d] as usize * d + i % d] += x;
        }
        if exact {
            assert_close(&read(&wide), &expected, F32, F32);
        } else {
            assert_close(&read(&half), &expected, ROUNDING, F32);
        }
    }

    #[test]
    fn rows_gathered(seed: u64, n in 1usize..20, rows in 1usize..20, d in 1usize..600) {
        let mut draws = Draws::new(seed);
        let (x, ids, out) = (draws.normal(rows * d, 1.0), draws.below(n, rows), draws.room::<bf16>(n * d));
        let table = draws.held(&x);
        let table = Numbers::F32(table.all());
        gather(table, draws.held(&ids).all(), Numbers::Bf16(out.all())).unwrap();
        let row = |id: &u32| x[*id as usize * d..][..d].iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>();
        prop_assert_eq!(out.all().read().unwrap(), ids.iter().flat_map(row).collect::<Vec<_>>());
    }

    #[test]
    fn rows_gathered_and_shifted(seed: u64, n in 1usize..20, rows in 1usize..20, shifts in 1usize..5, d in 1usize..600) {
        let mut draws = Draws::new(seed);
        let (x, more) = (draws.normal(rows * d, 1.0), draws.normal(shifts * d, 1.0));
        let (ids, of, out) = (draws.below(n, rows), draws.below(n, shifts), draws.room::<bf16>(n * d));
        let places = (draws.held(&ids), draws.held(&of));
        gather_shifted(draws.held(&x).all(), places.0.all(), draws.held(&more).all(), places.1.all(), out.all()).unwrap();
        let number = |i: usize| x[ids[i / d] as usize * d + i % d] + more[of[i / d] as usize * d + i % d];
        prop_assert_eq!(out.all().read().unwrap(), (0..n * d).map(|i| bf16::from_f32(number(i))).collect::<Vec<_>>());
    }

    #[test]
    fn heads(seed: u64, n in 1usize..6, vocab in 1usize..900, scale in 0.1..30.0f64) {
        let mut draws = Draws::new(seed);
        let (scores, tokens) = (draws.normal(n * vocab, scale), draws.below(n, vocab));
        let d_logps = draws.normal(n, 1.0);
        let (held, ids, logps) = (draws.held(&scores), draws.held(&tokens), draws.room::<f32>(n));
        let (normalisers, d_scores) = (draws.room::<f32>(n), draws.room::<bf16>(n * vocab));
        head_logps(held.all(), ids.all(), logps.all(), normalisers.all()).unwrap();
        let upstream = draws.held(&d_logps);
        head_gradient(held.all(), ids.all(), normalisers.all(), upstream.all(), d_scores.all()).unwrap();
        let (mut expected, mut gradient) = (vec![], vec![]);
        for (row, scores) in f64s(&scores).chunks(vocab).enumerate() {
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let normaliser = most + scores.iter().map(|s| (s - most).exp()).sum::<f64>().ln();
            expected.push(scores[tokens[row] as usize] - normaliser);
            let d = f64::from(d_logps[row]);
            let one = |v: usize| f64::from(u8::from(v == tokens[row] as usize));
            gradient.extend(scores.iter().enumerate().map(|(v, s)| d * (one(v) - (s - normaliser).exp())));
        }
        for (got, expected) in read(&logps).iter().zip(&expected) {
            prop_assert!((got - expected).abs() < 1e-5 * (1.0 + scale), "{} and {}", got, expected);
        }
        // A probability near 1 is what f32 leaves of 1.
        assert_close(&read(&d_scores), &gradient, ROUNDING, 1e-5 * (1.0 + scale));
    }

    /// By the definition: the nearest number, of two the one whose last bit is 0.
    #[test]
    fn roundings(bits in prop::collection::vec(any::<u32>(), 1..600)) {
        let draws = Draws::new(0);
        let numbers: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).collect();
        let out = draws.room::<bf16>(numbers.len());
        to_bf16(draws.held(&numbers).all(), out.all()).unwrap();
        for (x, got) in numbers.iter().zip(out.all().read().unwrap()) {
            prop_assert!(got.to_bits() == bf16::from_f32(*x).to_bits() || x.is_nan() && got.is_nan(), "{:?}", x);
        }
    }
}

#[test]
fn tokens_outside_have_no_number() {
    let draws = Draws::new(0);
    let (scores, logps, normalisers) = (draws.held(&[0f32, 1.0, 2.0, 3.0]), draws.room(2), draws.room(2));
    head_logps(scores.all(), draws.held(&[1u32, 2]).all(), logps.all(), normalisers.all()).unwrap();
    let logps: Vec<f32> = logps.all().read().unwrap();
    assert!(logps[0].is_finite() && logps[1].is_nan(), "{logps:?}");
    let (table, out) = (draws.held(&[bf16::ONE; 4]), draws.room::<f32>(4));
    let ids = draws.held(&[1u32, 9]);
    gather(Numbers::Bf16(table.all()), ids.all(), Numbers::F32(out.all())).unwrap();
    let out = out.all().read().unwrap();
    assert!(out[..2] == [1.0, 1.0] && out[2..].iter().all(|x| x.is_nan()), "{out:?}");
    let (table, shifts, out) = (draws.held(&[1f32; 4]), draws.held(&[2f32; 2]), draws.room::<bf16>(6));
    let (ids, of) = (draws.held(&[1u32, 2, 0]), draws.held(&[0u32, 0, 1]));
    gather_shifted(table.all(), ids.all(), shifts.all(), of.all(), out.all()).unwrap();
    let out: Vec<f32> = out.all().read().unwrap().into_iter().map(bf16::to_f32).collect();
    assert!(out[..2] == [3.0, 3.0] && out[2..].iter().all(|x| x.is_nan()), "{out:?}");
}
