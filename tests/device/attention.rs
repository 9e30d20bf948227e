//! Heads apart and together, softmax over what a token sees, and its gradient, against f64.

use crate::tools::{Draws, ROUNDING, assert_close, f64s, read};
use half::bf16;
use lpc::machine::device::kernels::{
    HeadShape, Sight, attention_scores, attention_weights, join_heads, regroup, split_heads,
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

    /// A token sees what [`Row::sees`] says.
    #[test]
    fn weights_of_what_is_seen(
        seed: u64,
        lengths in prop::collection::vec(1usize..9, 1..4),
        window in prop::option::of(1usize..12),
        (kv_heads, group) in (1u32..3, 1u32..4),
        scale in 0.05..2.0f32,
        spread in 0.1..20.0f64,
    ) {
        let (mut draws, row) = (Draws::new(seed), row(&lengths));
        let n = row.ids.len();
        let s = HeadShape { tokens: n as u32, kv_heads, group, head_dim: 2 };
        let rows = kv_heads as usize * n * group as usize;
        let (scores, d_out) = (draws.normal(rows * n, spread), draws.normal(rows * n, 1.0));
        let (weights, d_scores) = (draws.room::<bf16>(rows * n), draws.room::<bf16>(rows * n));
        let seen = draws.held(&sights(&row, window));
        attention_weights(draws.held(&scores).all(), weights.all(), seen.all(), s, scale).unwrap();
        attention_scores(weights.all(), draws.held(&d_out).all(), d_scores.all(), n, scale).unwrap();
        let got = read(&weights);
        let (mut expected, mut gradient) = (vec![], vec![]);
        for r in 0..rows {
            let i = r / group as usize % n;
            let e = |j: usize| match row.sees(i, j, window) {
                true => (f64::from(scores[r * n + j]) * f64::from(scale)).exp(),
                false => 0.0,
            };
            let sum: f64 = (0..n).map(e).sum();
            expected.extend((0..n).map(|j| e(j) / sum));
            // From the weights that there are, which are rounded.
            let d = |j: usize| f64::from(d_out[r * n + j]);
            let inner: f64 = (0..n).map(|j| got[r * n + j] * d(j)).sum();
            gradient.extend((0..n).map(|j| got[r * n + j] * (d(j) - inner) * f64::from(scale)));
        }
        assert_close(&got, &expected, ROUNDING + 1e-5 * spread, 1e-7);
        // A weight near 1 cancels all but f32's rounding.
        let rounding = 1e-6 * f64::from(scale) * d_out.iter().fold(0f64, |a, b| a.max(f64::from(b.abs())));
        for (got, expected) in read(&d_scores).iter().zip(gradient) {
            prop_assert!((got - expected).abs() <= ROUNDING * expected.abs() + rounding, "{} {}", got, expected);
        }
    }

    /// Sums over the inner dimension, of factors as they lie or transposed, each of several.
    #[test]
    fn products(
        seed: u64, (m, k, n, batch) in (1usize..9, 1usize..20, 1usize..9, 1usize..4),
        gaps in (0usize..5, 0usize..5, 0usize..5), flips: (bool, bool), exact: bool, accumulate: bool,
    ) {
        let mut draws = Draws::new(seed);
        let (a_step, b_step, out_step) = (m * k + gaps.0, k * n + gaps.1, m * n + gaps.2);
        let (a, b) = (draws.rounded(batch * a_step, 1.0), draws.rounded(batch * b_step, 1.0));
        let before = draws.rounded(batch * out_step, 1.0);
        let (a_held, b_held) = (draws.held(&a), draws.held(&b));
        let operand = |view, rows, columns, step, flip: bool| match flip {
            true => Operand::each(view, columns, rows, step).t(),
            false => Operand::each(view, rows, columns, step),
        };
        let left = operand(a_held.all(), m, k, a_step, flips.0);
        let right = operand(b_held.all(), k, n, b_step, flips.1);
        let wide = draws.held(&before.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
        let half = draws.held(&before);
        let out = if exact { Numbers::F32(wide.all()) } else { Numbers::Bf16(half.all()) };
        draws.device.multiply_each(batch, left, right, Out::each(out, out_step), accumulate).unwrap();
        let mut expected = f64s(&before);
        for i in 0..batch {
            for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let term = |t: usize| {
                    let a_at = if flips.0 { t * m + row } else { row * k + t };
                    let b_at = if flips.1 { column * k + t } else { t * n + column };
                    f64::from(a[i * a_step + a_at]) * f64::from(b[i * b_step + b_at])
                };
                let out = &mut expected[i * out_step + row * n + column];
                *out = if accumulate { *out } else { 0.0 } + (0..k).map(term).sum::<f64>();
            }
        }
        if exact {
            assert_close(&read(&wide), &expected, 1e-6, 1e-6);
        } else {
            assert_close(&read(&half), &expected, ROUNDING, 1e-6);
        }
    }
}
