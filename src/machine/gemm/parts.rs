//! f32 products on a CPU that multiplies bf16 by tiles: every number is the sum of three bf16 parts,
//! and six products of parts make the product, at up to 2.6 times the rate of f32's own.
//!
//! x = x₁ + x₂ + x₃ with x₁ = x, x₂ = x − x₁, x₃ = x − x₁ − x₂, each rounded to the nearest bf16. A
//! rounding to 8 bits leaves 16 of f32's 24, the next one at most 7, so x₃ is exact: |x₂| ≤ 2⁻⁸|x|,
//! |x₃| ≤ 2⁻¹⁷|x|. Summed in f32 are, block by block, a₃b₁, a₂b₁, a₂b₂, a₁b₂, a₁b₃ and a₁b₁; left out
//! is what lies below f32's own rounding, |a₂b₃ + a₃b₂ + a₃b₃| ≤ 2⁻²⁴(1 + 2⁻¹⁰)|a||b|.
//!
//! Where a sum is as exact as f32 and where it is not:
//! - |error| ≤ (21 + 6⌈k/32⌉) · 2⁻²⁴ · 1.01 Σ|a||b|. A block of 32 terms adds up its 16 even and its 16
//!   odd products, the two sums, and the result so far, six times: a term passes at most
//!   17 + 6⌈k/32⌉ roundings; add what is left out. The k roundings of f32's own sum bound it by
//!   k · 2⁻²⁴ Σ|a||b|.
//! - Tiles take numbers below 2⁻¹²⁶ for 0, parts and products: up to 2⁻¹²⁵ Σ(|a| + |b| + 8) is lost,
//!   which only matters beside factors below 2⁻¹⁰².
//! - Infinity and NaN make every sum they are in non-finite, but not always the infinity that f32
//!   has: ∞ − ∞ is among the parts. So do finite numbers above 3.39e38, bf16's largest.

use super::avx512::InParts;
use super::bf16::{Layout, Side};
use super::panels::{self, Kernel, Panels};
use super::{Matrix, Threads, amx};
use std::sync::OnceLock;

/// A factor's parts, made when the first product wants them. They lie in another order on each side.
#[derive(Default)]
pub struct Parts {
    left: OnceLock<Panels>,
    right: OnceLock<Panels>,
}

/// The smallest dimension of a product that gains: below it, packing costs what tiles save. The
/// built-in world's decoders are 64 wide, and each of their products has that dimension.
const LEAST: usize = 128;

/// Does such a product gain? What decides is its shape and the CPU, never the number of threads.
pub fn pays(m: usize, k: usize, n: usize) -> bool {
    m.min(k).min(n) >= LEAST && amx::available()
}

/// out = a·b or, with `accumulate`, out += a·b, on all threads.
///
/// # Safety
/// `out` has room for the product and, with `accumulate`, holds numbers; it [`pays`].
pub unsafe fn multiply_at(
    (a, a_parts): (Matrix<'_>, &Parts),
    (b, b_parts): (Matrix<'_>, &Parts),
    out: *mut f32,
    accumulate: bool,
) {
    let panels = |side, matrix: Matrix<'_>, layout| {
        Panels::new(Kernel::AmxParts, side, InParts::of(matrix.data), layout, Threads::All)
    };
    let ((m, k, ..), (_, n, ..)) = (a.view(), b.view());
    let left = Layout { outer: m, summed: k, along: !a.transposed };
    let right = Layout { outer: n, summed: k, along: b.transposed };
    let left = a_parts.left.get_or_init(|| panels(Side::Left, a, left));
    let right = b_parts.right.get_or_init(|| panels(Side::Right, b, right));
    // SAFETY: the caller's.
    unsafe { panels::multiply_at(left, right, out, accumulate, Threads::All) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Precision::F32, Shape};
    use crate::experiment::base::world_config;
    use crate::machine::gemm::{multiply, product};
    use crate::seed;

    const ULP: f64 = 1.0 / 16_777_216.0;

    fn draw(seed: u64, name: &str, len: usize) -> Vec<f32> {
        seed::normal(&mut seed::stream(seed, name), len).iter().map(|&x| x as f32).collect()
    }

    fn transposed(x: &[f32], rows: usize) -> Vec<f32> {
        let columns = x.len() / rows;
        (0..x.len()).map(|at| x[at % rows * columns + at / rows]).collect()
    }

    /// `before` + a·b with a [m, k], b [k, n], laid out in either way.
    fn by_parts(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), turns: [bool; 2]) -> Vec<f32> {
        assert!(pays(m, k, n));
        let mut out = vec![f32::NAN; m * n];
        let (a_turned, b_turned) = (transposed(a, m), transposed(b, k));
        let a = if turns[0] { Matrix::new(&a_turned, k, m).t() } else { Matrix::new(a, m, k) };
        let b = if turns[1] { Matrix::new(&b_turned, n, k).t() } else { Matrix::new(b, k, n) };
        multiply(&F32.left(a), &F32.right(b), &mut out, false);
        out
    }

    fn by_f32(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
        let mut out = vec![0f32; m * n];
        product(Matrix::new(a, m, k), Matrix::new(b, k, n), &mut out, false, Threads::All);
        out
    }

    /// a·b and |a|·|b| in f64.
    fn exact(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<(f64, f64)> {
        let cell = |i: usize, j: usize| {
            let term = |p: usize| f64::from(a[i * k + p]) * f64::from(b[p * n + j]);
            ((0..k).map(term).sum(), (0..k).map(|p| term(p).abs()).sum())
        };
        (0..m * n).map(|at| cell(at / n, at % n)).collect()
    }

    fn bound(k: usize) -> f64 {
        (21 + 6 * k.div_ceil(32)) as f64 * ULP * 1.01
    }

    /// The largest error of Σ|a||b|.
    fn worst(out: &[f32], exact: &[(f64, f64)]) -> f64 {
        let error = |(out, (sum, size)): (&f32, &(f64, f64))| (f64::from(*out) - sum).abs() / size;
        out.iter().zip(exact).map(error).fold(0.0, f64::max)
    }

    #[test]
    fn a_factor_may_stand_on_both_sides() {
        if !amx::available() {
            return;
        }
        let (x, y) = (draw(1, "x", 160 * 288), draw(2, "y", 160 * 160));
        let factor = F32.left(Matrix::new(&x, 160, 288));
        let mut out = vec![f32::NAN; 160 * 288];
        // As the right factor first: its panels have 288 lines, as the left one's 160.
        multiply(&F32.left(Matrix::new(&y, 160, 160)), &factor, &mut out, false);
        assert_eq!(out, by_parts(&y, &x, (160, 160, 288), [false; 2]));
        let z = draw(3, "z", 288 * 130);
        let mut out = vec![f32::NAN; 160 * 130];
        multiply(&factor, &F32.right(Matrix::new(&z, 288, 130)), &mut out, false);
        assert_eq!(out, by_parts(&x, &z, (160, 288, 130), [false; 2]));
    }

    /// Sizes around a tile, a block and a task. Summed dimensions scaled by 2^±40, against each other
    /// and with each other; sums that cancel to what the last bits of their terms leave.
    #[test]
    fn a_product_is_as_exact_as_that_of_f32() {
        if !amx::available() {
            return;
        }
        for (case, size @ (m, k, n)) in
            [(128, 128, 128), (130, 577, 161), (300, 1100, 129), (128, 161, 600)].into_iter().enumerate()
        {
            let seed = case as u64;
            let (a, b) = (draw(seed, "a", m * k), draw(seed, "b", k * n));
            let scale = |p: usize| 2f32.powi((p * 37 % 81) as i32 - 40);
            let scaled = |x: &[f32], by: &dyn Fn(usize) -> f32| -> Vec<f32> {
                x.iter().enumerate().map(|(at, x)| x * by(at)).collect()
            };
            let wide_a = scaled(&a, &|at| scale(at % k));
            let narrow_b = scaled(&b, &|at| scale(at / n).recip());
            let wide_b = scaled(&b, &|at| scale(at / n));
            // Every second number of a row nearly undoes the one before it.
            let undone: Vec<f32> = (0..m * k)
                .map(|at| if at % k % 2 == 1 { -a[at - 1] * (1.0 + 1e-6) } else { a[at] })
                .collect();
            let twice: Vec<f32> = (0..k * n).map(|at| b[at / n / 2 * 2 * n + at % n]).collect();
            for (what, a, b) in [
                ("normal", &a, &b),
                ("scaled against each other", &wide_a, &narrow_b),
                ("scaled with each other", &wide_a, &wide_b),
                ("cancelling", &undone, &twice),
            ] {
                let exact = exact(a, b, size);
                let f32s = worst(&by_f32(a, b, size), &exact);
                for turns in [[false, false], [false, true], [true, false], [true, true]] {
                    let parts = worst(&by_parts(a, b, size, turns), &exact);
                    assert!(parts <= bound(k), "{what} {size:?} {turns:?}: {parts:e}");
                    assert!(parts <= 2.0 * f32s + ULP, "{what} {size:?} {turns:?}: {parts:e}, f32 {f32s:e}");
                }
            }
        }
    }

    /// A diagonal matrix adds nothing up, so that no rounding hides what a product of parts is
    /// missing: 2⁻²⁴ for what is left out, as much for the last sum, less than a tenth for the rest.
    #[test]
    fn single_products_have_all_their_bits() {
        if !amx::available() {
            return;
        }
        let d = 160;
        let (x, b) = (draw(1, "diagonal", d), draw(1, "b", d * d));
        let diagonal: Vec<f32> =
            (0..d * d).map(|at| if at / d == at % d { x[at / d] } else { 0.0 }).collect();
        for (left, right) in [(&diagonal, &b), (&b, &diagonal)] {
            let off = worst(&by_parts(left, right, (d, d, d), [false, true]), &exact(left, right, (d, d, d)));
            assert!(off <= 2.1 * ULP, "{} units", off / ULP);
        }
    }

    /// On top of what is there, from parts made once; with any number of threads the same bits.
    #[test]
    fn parts_serve_several_products_on_any_number_of_threads() {
        if !amx::available() {
            return;
        }
        let (m, k, n) = (600, 200, 700);
        let (a, b, before) = (draw(2, "a", m * k), draw(2, "b", k * n), draw(2, "out", m * n));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (left, right) = (F32.left(Matrix::new(&a, m, k)), F32.right(Matrix::new(&b, k, n)));
                let mut out = before.clone();
                multiply(&left, &right, &mut out, true);
                multiply(&left, &right, &mut out, true);
                out
            })
        };
        let one = run(1);
        assert!((2..4).all(|threads| run(threads) == one));
        for ((out, before), (sum, size)) in one.iter().zip(&before).zip(exact(&a, &b, (m, k, n))) {
            let off = (f64::from(*out) - f64::from(*before) - 2.0 * sum).abs();
            assert!(off <= 2.0 * (bound(k) * (size + f64::from(before.abs()))), "{off:e} of {size}");
        }
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        if !amx::available() {
            return;
        }
        let d = 128;
        let b = draw(3, "b", d * d);
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX] {
            for at in [0, 37 * d + 91, d * d - 1] {
                let mut a = draw(3, "a", d * d);
                a[at] = bad;
                let right = by_parts(&b, &a, (d, d, d), [false, false]);
                let left = by_parts(&a, &b, (d, d, d), [false, false]);
                for i in 0..d * d {
                    assert_eq!(left[i].is_finite(), i / d != at / d, "{bad} in row {}: {i}", at / d);
                    assert_eq!(right[i].is_finite(), i % d != at % d, "{bad} in column {}: {i}", at % d);
                }
            }
        }
    }

    /// Parts below the smallest normal number, and products below it, are lost, and no more.
    #[test]
    fn nearly_vanishing_numbers_lose_what_is_stated() {
        if !amx::available() {
            return;
        }
        let d = 128;
        for (a_scale, b_scale) in [(1e-37, 1e3), (1e-30, 1e-9), (1e-40, 1.0), (1e-20, 1e-19)] {
            let scaled =
                |name, by: f32| -> Vec<f32> { draw(4, name, d * d).iter().map(|x| x * by).collect() };
            let (a, b) = (scaled("a", a_scale), scaled("b", b_scale));
            let out = by_parts(&a, &b, (d, d, d), [false, false]);
            for (at, (out, (sum, size))) in out.iter().zip(exact(&a, &b, (d, d, d))).enumerate() {
                let sizes =
                    |p: usize| f64::from(a[at / d * d + p].abs()) + f64::from(b[p * d + at % d].abs());
                let lost = 2f64.powi(-125) * (0..d).map(|p| sizes(p) + 8.0).sum::<f64>();
                let off = (f64::from(*out) - sum).abs();
                assert!(off <= bound(d) * size + lost, "{a_scale} · {b_scale}: {off:e} of {size:e}");
            }
        }
    }

    /// A product with a weight has both of its dimensions, whatever the batch.
    #[test]
    fn no_product_of_the_toy_scale_is_made_of_parts() {
        for shape in [Shape::Llama, Shape::LlamaInstruct, Shape::Mistral] {
            for (name, shape) in world_config(shape, 1 << 16).parameter_shapes() {
                let matrix = shape.len() == 2;
                assert!(!matrix || shape.iter().any(|&n| n < LEAST), "{name}: {shape:?}");
                assert!(!matrix || !pays(1 << 20, shape[0], shape[1]), "{name}: {shape:?}");
            }
        }
    }
}
