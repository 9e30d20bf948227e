//! A vector by the rows of a matrix, where reading the matrix is all the work.

const LANES: usize = 8;

/// out_i = w·x_i for every row of x.
pub(crate) fn dots(w: &[f32], x: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has it.
        return unsafe { dots_avx512(w, x, out) };
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both.
        return unsafe { dots_fma(w, x, out) };
    }
    by_rows(w, x, out, |a, b, c| a * b + c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dots_avx512(w: &[f32], x: &[f32], out: &mut [f32]) {
    by_rows(w, x, out, f32::mul_add);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dots_fma(w: &[f32], x: &[f32], out: &mut [f32]) {
    by_rows(w, x, out, f32::mul_add);
}

#[inline(always)]
fn by_rows(w: &[f32], x: &[f32], out: &mut [f32], fma: impl Fn(f32, f32, f32) -> f32 + Copy) {
    let mut rows = x.chunks_exact(w.len()).zip(out);
    loop {
        // Four rows at a time share a reading of w.
        let four: [_; 4] = std::array::from_fn(|_| rows.next());
        match four {
            [Some(a), Some(b), Some(c), Some(d)] => {
                let sums = dot([a.0, b.0, c.0, d.0], w, fma);
                [a.1, b.1, c.1, d.1].into_iter().zip(sums).for_each(|(out, sum)| *out = sum);
            }
            rest => {
                for (x, out) in rest.into_iter().flatten() {
                    [*out] = dot([x], w, fma);
                }
                return;
            }
        }
    }
}

/// Two accumulators of lanes a row; the order of additions does not depend on R.
#[inline(always)]
fn dot<const R: usize>(x: [&[f32]; R], w: &[f32], fma: impl Fn(f32, f32, f32) -> f32) -> [f32; R] {
    let mut sums = [[[0f32; LANES]; 2]; R];
    let (chunks, rest) = w.as_chunks::<{ 2 * LANES }>();
    let x_chunks = x.map(|x| x.as_chunks::<{ 2 * LANES }>());
    for (i, w) in chunks.iter().enumerate() {
        for (sums, (x, _)) in sums.iter_mut().zip(&x_chunks) {
            for ((sum, w), x) in sums.as_flattened_mut().iter_mut().zip(w).zip(&x[i]) {
                *sum = fma(*w, *x, *sum);
            }
        }
    }
    let mut totals = [0f32; R];
    for ((total, sums), (_, x_rest)) in totals.iter_mut().zip(sums).zip(x_chunks) {
        let lanes: [f32; LANES] = std::array::from_fn(|lane| sums[0][lane] + sums[1][lane]);
        let pairs: [f32; LANES / 2] = std::array::from_fn(|i| lanes[i] + lanes[i + LANES / 2]);
        *total = (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
        rest.iter().zip(x_rest).for_each(|(w, x)| *total = fma(*w, *x, *total));
    }
    totals
}
