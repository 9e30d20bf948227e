//! Heads apart and together, softmax over what a token sees, and its gradient, against f64.

use crate::tools::{Draws, ROUNDING, assert_close, f64s, read};
use half::bf16;
use lpc::machine::device::kernels::{
    HeadShape, Sight, attention_scores, attention_weights, join_heads, regroup, score_stride, split_heads,
};
use lpc::machine::device::{Numbers, Operand, Out};
use lpc::model::rows::{Row, TokenRows};
use proptest::prelude::*;

fn shape() -> impl Strategy<Value = HeadShape> {
    (1u32..9, 1u32..4, 1u32..5, 1u32..40).prop_map(|(tokens, kv_heads, group, half)| HeadShape {
        tokens,
        kv_heads,
        group,
        head_dim: 2 * half,
    })
}

/// A prompt and completions of these lengths.
fn row(lengths: &[usize]) -> Row {
    let mut row = Row::default();
    for (segment, n) in lengths.iter().enumerate() {
        let position = if segment == 0 { 0 } else { lengths[0] };
        row.push(&vec![0; *n], position, segment as u8);
    }
    row
}

fn sights(row: &Row, window: Option<usize>) -> Vec<Sight> {
    let rows = TokenRows::new(vec![row.clone()]);
    let all = rows.sights(window);
    let of = |[shared, own]: &[std::ops::Range<usize>; 2]| Sight {
        shared: shared.start as u32,
        shared_end: shared.end as u32,
        own: own.start as u32,
        own_end: own.end as u32,
    };
    all[0].tokens.iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// x·cos − y·sin and y·cos + x·sin for a coordinate and the one half a head further; back by −angle.
    #[test]
    fn heads_apart(seed: u64, s in shape()) {
        let mut draws = Draws::new(seed);
        let [tokens, kv, group, hd] = [s.tokens, s.kv_heads, s.group, s.head_dim].map(|n| n as usize);
        let all = kv * (group + 2);
        let qkv = draws.rounded(tokens * all * hd, 1.0);
        let angles = draws.normal(tokens * hd / 2, 2.0);
        let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
        let (held, back) = (draws.held(&qkv), draws.room::<bf16>(qkv.len()));
        let [q, k, v] = [s.queries(), s.keys(), s.keys()].map(|n| draws.room::<bf16>(n));
        let (cos_held, sin_held) = (draws.held(&cos), draws.held(&sin));
        let turns = [cos_held.all(), sin_held.all()];
        split_heads(held.all(), [q.all(), k.all(), v.all()], turns, s).unwrap();
        join_heads([q.all(), k.all(), v.all()], back.all(), turns, s).unwrap();
        let (queries, keys, values) = (read(&q), read(&k), read(&v));
        let mut expected = [vec![0.0; queries.len()], vec![0.0; keys.len()], vec![0.0; values.len()]];
        for t in 0..tokens {
            for head in 0..all {
                for e in 0..hd {
                    let at = |e: usize| f64::from(qkv[(t * all + head) * hd + e]);
                    let half = hd / 2;
                    let angle = f64::from(angles[t * half + e % half]);
                    let other = if e < half { -at(e + half) } else { at(e - half) };
                    let turned = at(e) * angle.cos() + other * angle.sin();
                    if head < kv * group {
                        let (kv_head, g) = (head / group, head % group);
                        expected[0][((kv_head * tokens + t) * group + g) * hd + e] = turned;
                    } else if head < kv * (group + 1) {
                        expected[1][((head - kv * group) * tokens + t) * hd + e] = turned;
                    } else {
                        expected[2][((head - kv * (group + 1)) * tokens + t) * hd + e] = at(e);
                    }
                }
            }
        }
        assert_close(&queries, &expected[0], ROUNDING, 1e-6);
        assert_close(&keys, &expected[1], ROUNDING, 1e-6);
        assert_close(&values, &expected[2], 0.0, 0.0);
        // Two roundings of a rotation, which mixes two numbers.
        assert_close(&read(&back), &f64s(&qkv), 2.0 * ROUNDING, 2.0 * ROUNDING);

        let (apart, together) = (draws.room::<bf16>(s.queries()), draws.room::<bf16>(s.queries()));
        let mixed = draws.rounded(s.queries(), 1.0);
        regroup(draws.held(&mixed).all(), apart.all(), s, true).unwrap();
        regroup(apart.all(), together.all(), s, false).unwrap();
        prop_assert_eq!(together.all().read().unwrap(), mixed.clone());
        let apart: Vec<bf16> = apart.all().read().unwrap();
        for (i, x) in mixed.iter().enumerate() {
            let (t, head, e) = (i / (kv * group * hd), i / hd % (kv * group), i % hd);
            prop_assert_eq!(apart[((head / group * tokens + t) * group + head % group) * hd + e], *x);
        }
    }

    /// A token sees what [`Row::sees`] says, in rows shorter and longer than a block has threads.
    #[test]
    fn weights_of_what_is_seen(
        seed: u64,
        lengths in prop_oneof![
            5 => prop::collection::vec(1usize..9, 1..4),
            1 => prop::collection::vec(100usize..200, 2..4),
        ],
        window in prop::option::of(1usize..300),
        (kv_heads, group) in (1u32..3, 1u32..4),
        scale in 0.05..2.0f32,
        spread in 0.1..20.0f64,
    ) {
        let (mut draws, row) = (Draws::new(seed), row(&lengths));
        let (n, stride) = (row.ids.len(), score_stride(row.ids.len()));
        let s = HeadShape { tokens: n as u32, kv_heads, group, head_dim: 2 };
        let rows = kv_heads as usize * n * group as usize;
        let (scores, d_out) = (draws.normal(rows * stride, spread), draws.normal(rows * stride, 1.0));
        let (weights, d_scores) = (draws.room::<bf16>(rows * stride), draws.room::<bf16>(rows * stride));
        let seen = draws.held(&sights(&row, window));
        attention_weights(draws.held(&scores).all(), weights.all(), seen.all(), s, scale).unwrap();
        attention_scores(weights.all(), draws.held(&d_out).all(), d_scores.all(), n, scale).unwrap();
        let (all, d_scores) = (read(&weights), read(&d_scores));
        // A weight near 1 cancels all but f32's rounding.
        let rounding = 1e-6 * f64::from(scale) * d_out.iter().fold(0f64, |a, b| a.max(f64::from(b.abs())));
        for r in 0..rows {
            let (i, at) = (r / group as usize % n, r * stride);
            let got = &all[at..at + n];
            let e: Vec<f64> = (0..n)
                .map(|j| match row.sees(i, j, window) {
                    true => (f64::from(scores[at + j]) * f64::from(scale)).exp(),
                    false => 0.0,
                })
                .collect();
            let sum: f64 = e.iter().sum();
            let expected: Vec<f64> = e.iter().map(|e| e / sum).collect();
            assert_close(got, &expected, ROUNDING + 1e-5 * spread, 1e-7);
            // From the weights that there are, which are rounded.
            let d = |j: usize| f64::from(d_out[at + j]);
            let inner: f64 = (0..n).map(|j| got[j] * d(j)).sum();
            for j in 0..n {
                let (got, expected) = (d_scores[at + j], got[j] * (d(j) - inner) * f64::from(scale));
                let allowed = ROUNDING * expected.abs() + rounding;
                prop_assert!((got - expected).abs() <= allowed, "{} {}", got, expected);
            }
            // What lies between rows is not touched.
            prop_assert!(all[at + n..at + stride].iter().all(|x| *x == 0.0));
        }
    }

    /// Sums over the inner dimension, of factors as they lie or transposed, with gaps between rows and between
    /// matrices.
    #[test]
    fn products(
        seed: u64, (m, k, n, batch) in (1usize..9, 1usize..20, 1usize..9, 1usize..4),
        gaps in (0usize..5, 0usize..5, 0usize..5), wider in (0usize..4, 0usize..4, 0usize..4),
        flips: (bool, bool), exact: bool, accumulate: bool,
    ) {
        let mut draws = Draws::new(seed);
        // Rows and columns as they lie.
        let (a_rows, a_columns) = if flips.0 { (k, m) } else { (m, k) };
        let (b_rows, b_columns) = if flips.1 { (n, k) } else { (k, n) };
        let (a_stride, b_stride, out_stride) = (a_columns + wider.0, b_columns + wider.1, n + wider.2);
        let (a_step, b_step) = (a_rows * a_stride + gaps.0, b_rows * b_stride + gaps.1);
        let out_step = m * out_stride + gaps.2;
        let (a, b) = (draws.rounded(batch * a_step, 1.0), draws.rounded(batch * b_step, 1.0));
        let before = draws.rounded(batch * out_step, 1.0);
        let (a_held, b_held) = (draws.held(&a), draws.held(&b));
        let left = Operand::each(a_held.all(), a_rows, a_columns, a_step).strided(a_stride);
        let right = Operand::each(b_held.all(), b_rows, b_columns, b_step).strided(b_stride);
        let left = if flips.0 { left.t() } else { left };
        let right = if flips.1 { right.t() } else { right };
        let wide = draws.held(&before.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
        let half = draws.held(&before);
        let out = if exact { Numbers::F32(wide.all()) } else { Numbers::Bf16(half.all()) };
        let out = Out::each(out, out_step).strided(out_stride);
        draws.device.multiply_each(batch, left, right, out, accumulate).unwrap();
        let got = if exact { read(&wide) } else { read(&half) };
        let mut expected = f64s(&before);
        for i in 0..batch {
            for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let term = |t: usize| {
                    let a_at = if flips.0 { t * a_stride + row } else { row * a_stride + t };
                    let b_at = if flips.1 { column * b_stride + t } else { t * b_stride + column };
                    f64::from(a[i * a_step + a_at]) * f64::from(b[i * b_step + b_at])
                };
                let at = i * out_step + row * out_stride + column;
                let start = if accumulate { expected[at] } else { 0.0 };
                expected[at] = start + (0..k).map(term).sum::<f64>();
                let size = start.abs() + (0..k).map(|t| term(t).abs()).sum::<f64>();
                let allowed = 1e-6 * size + if exact { 0.0 } else { ROUNDING * expected[at].abs() };
                prop_assert!((got[at] - expected[at]).abs() <= allowed, "{} {}", got[at], expected[at]);
            }
        }
        // Gaps stay as they were.
        let touched = |at: usize| {
            let (row, column) = (at % out_step / out_stride, at % out_step % out_stride);
            row < m && column < n
        };
        prop_assert!((0..got.len()).all(|at| touched(at) || got[at] == expected[at]));
    }
}

#[test]
#[should_panic(expected = "of this device")]
fn factors_of_another_device() {
    let (here, there) = (Draws::new(0), lpc::machine::device::Device::plan());
    let other = lpc::machine::device::Memory::<bf16>::zeros(&there, "test", 4).unwrap();
    let (own, out) = (here.room::<bf16>(4), here.room::<f32>(4));
    let (left, right) = (Operand::new(own.all(), 2, 2), Operand::new(other.all(), 2, 2));
    here.device.multiply(left, right, out.all(), false).unwrap();
}

#[test]
#[should_panic(expected = "lies apart")]
fn a_result_over_what_is_read() {
    let draws = Draws::new(0);
    let (scores, d) = (draws.room::<bf16>(8), draws.room::<f32>(8));
    attention_scores(scores.all(), d.all(), scores.all(), 8, 1.0).unwrap();
}
