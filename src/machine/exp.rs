//! exp and sums over slices in loops that the compiler turns into vector instructions: those named
//! `each` inside a caller's [`wide`], the others by themselves.

/// Runs loops compiled for the widest vectors of this CPU. Without reassociation or fused operations
/// the numbers are the same with any. What is called in it has to be inlined, or is compiled for the
/// narrowest vectors: chained iterators may not be, so loops are `for`s or one `for_each`.
macro_rules! wide {
    ($loops:expr) => {
        // A closure that may become a function of its own would lose the vectors.
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || $loops,
        )
    };
}
pub(crate) use wide;

/// e^x to 2 units in the last place; 0 below −87.3 (the smallest normal number), +∞ never:
/// above 88.3 it saturates, which no shifted exponential reaches.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Adding and subtracting it rounds to an integer, kept in the low bits meanwhile.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    // Taylor's series to r⁷ on |r| ≤ ln 2 / 2: the remainder is below 6e-9.
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let p = series.into_iter().fold(0f32, |p, c| p * r + c);
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23;
    let value = p * f32::from_bits(exponent);
    if x < -87.3 { 0.0 } else { value }
}

/// Numbers worked on side by side. Reductions fold their lanes in halves: the order is fixed.
pub(crate) const LANES: usize = 16;

#[inline(always)]
pub(crate) fn folded<T: Copy>(mut lanes: [T; LANES], add: impl Fn(T, T) -> T) -> T {
    // Loops of known lengths: one over the halves stays scalar.
    (0..8).for_each(|i| lanes[i] = add(lanes[i], lanes[i + 8]));
    (0..4).for_each(|i| lanes[i] = add(lanes[i], lanes[i + 4]));
    (0..2).for_each(|i| lanes[i] = add(lanes[i], lanes[i + 2]));
    add(lanes[0], lanes[1])
}

/// The numbers after the last whole chunk, `fill` behind them: one by one, each would take as long as all.
#[inline(always)]
fn padded(rest: &[f32], fill: f32) -> [f32; LANES] {
    let mut lanes = [fill; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

/// Every x becomes e^(scale·x − shift).
#[inline(always)]
fn exp_each(values: &mut [f32], scale: f32, shift: f32) {
    let each = |lanes: &mut [f32; LANES]| lanes.iter_mut().for_each(|x| *x = exp(*x * scale - shift));
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    chunks.iter_mut().for_each(each);
    if !rest.is_empty() {
        let mut last = padded(rest, 0.0);
        each(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// [`exp_each`] by the widest vectors.
pub(crate) fn exp_in_place(values: &mut [f32], scale: f32, shift: f32) {
    wide!(exp_each(values, scale, shift));
}

/// Σ x: lanes in f32 over short stretches, stretches in f64.
#[inline(always)]
fn sum_each(values: &[f32]) -> f64 {
    let mut total = 0.0;
    for stretch in values.chunks(1024) {
        let (chunks, rest) = stretch.as_chunks::<LANES>();
        let mut lanes = padded(rest, 0.0);
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
        }
        total += folded(lanes.map(f64::from), |a, b| a + b);
    }
    total
}

/// [`sum_each`] by the widest vectors.
pub(crate) fn sum(values: &[f32]) -> f64 {
    wide!(sum_each(values))
}

/// Σ a·b·c in f32 lanes, for rows of a few thousand.
#[inline(always)]
pub(crate) fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest), (c, c_rest)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let mut lanes = [0f32; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for (lane, ((a, b), c)) in lanes.iter_mut().zip(a.iter().zip(b).zip(c)) {
            *lane += a * b * c;
        }
    }
    for (lane, ((a, b), c)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest).zip(c_rest)) {
        *lane += a * b * c;
    }
    folded(lanes, |a, b| a + b)
}

/// Σ a·b in f32 lanes, for rows of a few thousand.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    lanes.iter_mut().zip(a_rest.iter().zip(b_rest)).for_each(|(lane, (a, b))| *lane += a * b);
    folded(lanes, |a, b| a + b)
}

/// Σ x² in f64 lanes.
pub(crate) fn square_sum(values: &[f32]) -> f64 {
    wide!({
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut lanes = [0f64; LANES];
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
        }
        lanes.into_iter().chain(rest.iter().map(|&x| f64::from(x) * f64::from(x))).sum()
    })
}

/// The largest value, −∞ of none.
#[inline(always)]
fn max_each(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks.iter().chain([&padded(rest, f32::NEG_INFINITY)]) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = larger(*lane, x));
    }
    folded(lanes, larger)
}

/// [`max_each`] by the widest vectors.
pub(crate) fn max(values: &[f32]) -> f32 {
    wide!(max_each(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        let worst = (-8730..8830)
            .map(|i| i as f32 * 0.01 + 0.0037)
            .map(|x| {
                let exact = f64::from(x).exp();
                (f64::from(exp(x)) - exact).abs() / (exact * f64::from(f32::EPSILON))
            })
            .fold(0f64, f64::max);
        assert!(worst < 2.0, "{worst} units in the last place");
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(-100.0)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn a_nan_stays_visible() {
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_of_awkward_lengths() {
        for n in [0, 1, 15, 16, 17, 1023, 1024, 1025, 5000] {
            let values: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 - 50.5).collect();
            let exact: f64 = values.iter().map(|&x| f64::from(x)).sum();
            assert!((sum(&values) - exact).abs() <= 1e-6 * n as f64);
            assert_eq!(max(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
            let cubes: f64 = values.iter().map(|&x| f64::from(x).powi(3)).sum();
            assert!((f64::from(dot(&values, &values)) - squares).abs() <= 1e-6 * squares);
            assert!((f64::from(dot3(&values, &values, &values)) - cubes).abs() <= 1e-4 * squares);
        }
    }

    #[test]
    fn every_number_of_a_slice_is_replaced_by_its_exponential() {
        for n in 0..50 {
            let values: Vec<f32> = (0..n).map(|i| i as f32 * 0.7 - 9.0).collect();
            let mut replaced = values.clone();
            exp_in_place(&mut replaced, 0.5, 1.25);
            let each: Vec<f32> = values.iter().map(|&x| exp(x * 0.5 - 1.25)).collect();
            assert_eq!(replaced, each);
        }
    }
}
