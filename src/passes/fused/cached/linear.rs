//! x·Wᵀ where x has few rows: reading W is then all the work, so each of its rows is read once.

use crate::machine::dots::dots;
use crate::machine::gemm::{Matrix, Threads, product};
use crate::passes::cached::FEW;
use rayon::prelude::*;

/// Outputs a task computes.
const STRETCH: usize = 64;

/// x [rows, inputs], weight [outputs, inputs] → out [rows, outputs], whose memory is used again.
pub(super) fn linear(x: &[f32], rows: usize, weight: &[f32], outputs: usize, out: &mut Vec<f32>) {
    linears(x, rows, [(weight, outputs)], [out]);
}

/// [`linear`] by several weights at once.
pub(super) fn linears<const N: usize>(
    x: &[f32],
    rows: usize,
    weights: [(&[f32], usize); N],
    mut outs: [&mut Vec<f32>; N],
) {
    let inputs = x.len() / rows.max(1);
    for (out, (_, outputs)) in outs.iter_mut().zip(weights) {
        out.resize(rows * outputs, 0.0);
    }
    if rows > FEW {
        for (out, (weight, outputs)) in outs.into_iter().zip(weights) {
            let weight = Matrix::new(weight, outputs, inputs).t();
            product(Matrix::new(x, rows, inputs), weight, out, false, Threads::All);
        }
        return;
    }
    if rows == 1 {
        return stretches(outs.map(|out| out.as_mut_slice()), weights, x, rows);
    }
    // Transposed first, [outputs, rows], so that every task writes a stretch of its own.
    let mut columns = weights.map(|(_, outputs)| vec![0f32; outputs * rows]);
    stretches(columns.each_mut().map(Vec::as_mut_slice), weights, x, rows);
    for (out, columns) in outs.into_iter().zip(columns) {
        let outputs = columns.len() / rows.max(1);
        for (j, column) in columns.chunks(rows.max(1)).enumerate() {
            column.iter().enumerate().for_each(|(i, value)| out[i * outputs + j] = *value);
        }
    }
}

fn stretches<const N: usize>(outs: [&mut [f32]; N], weights: [(&[f32], usize); N], x: &[f32], rows: usize) {
    if rows == 0 {
        return;
    }
    let inputs = x.len() / rows;
    let tasks = outs
        .into_iter()
        .zip(weights)
        .flat_map(|(out, (weight, _))| out.chunks_mut(STRETCH * rows).zip(weight.chunks(STRETCH * inputs)));
    let tasks: Vec<_> = tasks.collect();
    tasks.into_par_iter().for_each(|(out, weight)| {
        if rows == 1 {
            // Four rows of the weight are read at a time: memory answers several streams faster.
            return dots(x, weight, out);
        }
        for (out, weight) in out.chunks_mut(rows).zip(weight.chunks(inputs)) {
            dots(weight, x, out);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, step: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * step) % 23) as f32 * 0.125 - 1.25).collect()
    }

    #[test]
    fn products_are_exact_on_small_fractions() {
        // Multiples of 1/64 of this size add up without rounding, whatever the order.
        for (inputs, outputs) in [(16, 1), (33, 70), (576, 192), (5, 130)] {
            let (x, weight) = (numbers(12 * inputs, 7), numbers(outputs * inputs, 5));
            for rows in [1, 2, 4, 5, 8, 9, 12] {
                let mut out = vec![7.0; 3];
                linear(&x[..rows * inputs], rows, &weight, outputs, &mut out);
                for (i, j) in (0..rows).flat_map(|i| (0..outputs).map(move |j| (i, j))) {
                    let terms = (0..inputs).map(|t| x[i * inputs + t] * weight[j * inputs + t]);
                    assert_eq!(out[i * outputs + j], terms.sum::<f32>(), "{rows} rows of {inputs}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let x: Vec<f32> = (0..FEW * 100).map(|i| (i as f32).sin()).collect();
        let weight: Vec<f32> = (0..77 * 100).map(|i| (i as f32 * 0.7).cos()).collect();
        let mut all = vec![];
        linear(&x, FEW, &weight, 77, &mut all);
        for (row, x) in x.chunks(100).enumerate() {
            let mut one = vec![];
            linear(x, 1, &weight, 77, &mut one);
            assert_eq!(one, all[row * 77..(row + 1) * 77]);
        }
    }
}
