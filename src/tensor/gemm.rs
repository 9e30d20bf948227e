//! Matrix products on slices, for the fused operations: a checked wrapper of the `gemm` crate.

use gemm::Parallelism;

/// A borrowed row-major matrix, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix of {rows} x {cols}");
        Self { data, rows, cols, transposed: false }
    }

    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// (rows, columns, row stride, column stride) as seen after transposition.
    fn view(&self) -> (usize, usize, isize, isize) {
        let stride = self.cols as isize;
        if self.transposed { (self.cols, self.rows, 1, stride) } else { (self.rows, self.cols, stride, 1) }
    }
}

/// How many threads one product may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// As many as candle is set to.
    All,
    /// The caller is one of several threads already.
    One,
}

/// out = a·b, or out += a·b. The result does not depend on the number of threads.
pub(crate) fn product(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], accumulate: bool, threads: Threads) {
    let (m, k, a_rs, a_cs) = a.view();
    let (k_b, n, b_rs, b_cs) = b.view();
    assert_eq!(k, k_b, "inner dimensions");
    assert_eq!(out.len(), m * n, "product of {m} x {n}");
    let available = candle_core::utils::get_num_threads();
    let parallelism = match threads {
        Threads::All if available > 1 => Parallelism::Rayon(available),
        _ => Parallelism::None,
    };
    // SAFETY: the assertions here and in the constructors tie every extent and stride to its
    // slice's length.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a_cs,
            a_rs,
            b.data.as_ptr(),
            b_cs,
            b_rs,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
