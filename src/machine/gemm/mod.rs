//! Matrix products on slices, for the fused operations: our own in bf16, and in f32 where the CPU
//! multiplies bf16 by tiles and the product is large; the `gemm` crate otherwise.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bf16;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_arch = "x86_64")]
mod parts;

use crate::config::Precision;
use crate::machine::slices::written;
use bf16::{Factor, Numbers};
use gemm::Parallelism;

/// A borrowed row-major matrix, or its transpose.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    /// Numbers from a row to the next.
    stride: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// Panics: another number of numbers than rows · cols.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix of {rows} x {cols}");
        Self { data, rows, cols, stride: cols, transposed: false }
    }

    /// The first columns of rows of `stride` numbers, for [`product`] and its like.
    ///
    /// Panics: another number of numbers than rows · stride, or fewer in a row than columns.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(data.len() == rows * stride && cols <= stride, "matrix of {rows} x {cols} by {stride}");
        Self { data, rows, cols, stride, transposed: false }
    }

    /// Its transpose, of the same numbers.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// (rows, columns, row stride, column stride) as seen after transposition.
    fn view(&self) -> (usize, usize, isize, isize) {
        let stride = self.stride as isize;
        if self.transposed { (self.cols, self.rows, 1, stride) } else { (self.rows, self.cols, stride, 1) }
    }
}

/// A factor as a product wants it: made once, used in as many as need it.
pub enum Prepared<'a> {
    F32(Exact<'a>),
    Bf16(Factor),
}

/// A factor of a product in f32, on one side of one or several.
pub struct Exact<'a> {
    matrix: Matrix<'a>,
    #[cfg(target_arch = "x86_64")]
    parts: parts::Parts,
}

impl<'a> Exact<'a> {
    fn new(matrix: Matrix<'a>) -> Self {
        Self {
            matrix,
            #[cfg(target_arch = "x86_64")]
            parts: parts::Parts::default(),
        }
    }
}

/// Who multiplies bf16 on this CPU, for reports.
pub fn bf16_engine() -> &'static str {
    bf16::Engine::best().name()
}

/// Who multiplies f32 on this CPU, for reports.
pub fn f32_engine() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if amx::available() {
        return "AMX in three bf16 parts a number, below 128 rows, columns or terms by the `gemm` crate";
    }
    "the `gemm` crate"
}

impl Precision {
    /// `a` of a·b.
    pub fn left(self, a: Matrix<'_>) -> Prepared<'_> {
        assert_eq!(a.stride, a.cols, "row stride");
        let (rows, summed, ..) = a.view();
        match self {
            Self::F32 => Prepared::F32(Exact::new(a)),
            Self::Bf16 => {
                let numbers = Numbers::F32(a.data);
                Prepared::Bf16(Factor::left(numbers, rows, summed, a.transposed, Threads::All))
            }
        }
    }

    /// `b` of a·b.
    pub fn right(self, b: Matrix<'_>) -> Prepared<'_> {
        assert_eq!(b.stride, b.cols, "row stride");
        let (summed, columns, ..) = b.view();
        match self {
            Self::F32 => Prepared::F32(Exact::new(b)),
            Self::Bf16 => {
                let numbers = Numbers::F32(b.data);
                Prepared::Bf16(Factor::right(numbers, summed, columns, b.transposed, Threads::All))
            }
        }
    }
}

impl Prepared<'_> {
    /// Rows of a left factor.
    fn rows(&self) -> usize {
        match self {
            Self::F32(factor) => factor.matrix.view().0,
            Self::Bf16(factor) => factor.outer(),
        }
    }

    /// Columns of a right factor.
    fn columns(&self) -> usize {
        match self {
            Self::F32(factor) => factor.matrix.view().1,
            Self::Bf16(factor) => factor.outer(),
        }
    }
}

/// a·b, row-major, on all threads.
pub(crate) fn multiplied(a: &Prepared<'_>, b: &Prepared<'_>) -> Vec<f32> {
    // SAFETY: room for the product, every number of which is written.
    unsafe { written(a.rows() * b.columns(), |out| multiply_at(a, b, out.as_mut_ptr().cast(), false)) }
}

/// out = a·b or, with `accumulate`, out += a·b, on all threads.
///
/// Shapes: left [m, k], right [k, n] → [m, n], row-major.
/// Numerics: sums in f32; the result does not depend on the number of threads.
/// Panics: factors of two precisions, or shapes that do not fit.
///
/// ```
/// use lpc::{config::Precision::Bf16, machine::gemm::{Matrix, multiply}};
/// let (a, b, mut out) = ([1f32, 2.0], [3f32, 4.0], [0f32]);
/// multiply(&Bf16.left(Matrix::new(&a, 1, 2)), &Bf16.right(Matrix::new(&b, 2, 1)), &mut out, false);
/// assert_eq!(out, [11.0]);
/// ```
pub fn multiply(a: &Prepared<'_>, b: &Prepared<'_>, out: &mut [f32], accumulate: bool) {
    assert_eq!(out.len(), a.rows() * b.columns(), "product of {} x {}", a.rows(), b.columns());
    // SAFETY: `out` has room for the product.
    unsafe { multiply_at(a, b, out.as_mut_ptr(), accumulate) }
}

/// [`multiply`] to a place.
///
/// # Safety
/// It has room for the product and, with `accumulate`, holds numbers.
unsafe fn multiply_at(a: &Prepared<'_>, b: &Prepared<'_>, out: *mut f32, accumulate: bool) {
    // SAFETY: the caller's.
    unsafe {
        match (a, b) {
            (Prepared::F32(a), Prepared::F32(b)) => {
                let ((m, k, ..), (k_b, n, ..)) = (a.matrix.view(), b.matrix.view());
                assert_eq!(k, k_b, "inner dimensions");
                #[cfg(target_arch = "x86_64")]
                if parts::pays(m, k, n) {
                    return parts::multiply_at((a.matrix, &a.parts), (b.matrix, &b.parts), out, accumulate);
                }
                product_at(a.matrix, b.matrix, out, n, accumulate, Threads::All);
            }
            (Prepared::Bf16(a), Prepared::Bf16(b)) => bf16::multiply_at(a, b, out, accumulate, Threads::All),
            _ => unreachable!("factors of one precision"),
        }
    }
}

/// How many threads one product may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Those of the pool it runs in.
    All,
    /// The caller is one of several threads already.
    One,
}

/// out = a·b, or out += a·b. The result does not depend on the number of threads.
pub(crate) fn product(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], accumulate: bool, threads: Threads) {
    let (rows, columns) = (a.view().0, b.view().1);
    assert_eq!(out.len(), rows * columns, "product of {rows} x {columns}");
    // SAFETY: `out` has room for the product.
    unsafe { product_at(a, b, out.as_mut_ptr(), columns, accumulate, threads) }
}

/// a·b at the head of rows of `stride` numbers, the rest of which stay as they are.
pub(crate) fn product_strided(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    stride: usize,
    threads: Threads,
) {
    let (rows, columns) = (a.view().0, b.view().1);
    assert!(out.len() == rows * stride && columns <= stride, "product of {rows} x {columns} by {stride}");
    // SAFETY: `out` has room for the product.
    unsafe { product_at(a, b, out.as_mut_ptr(), stride, false, threads) }
}

/// [`product`] to a place, in rows of `stride` numbers.
///
/// # Safety
/// It has room for the product and, with `accumulate`, holds numbers.
unsafe fn product_at(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
    threads: Threads,
) {
    let (m, k, a_rs, a_cs) = a.view();
    let (k_b, n, b_rs, b_cs) = b.view();
    assert_eq!(k, k_b, "inner dimensions");
    let available = rayon::current_num_threads();
    let parallelism = match threads {
        Threads::All if available > 1 => Parallelism::Rayon(available),
        _ => Parallelism::None,
    };
    // SAFETY: the assertion and those of the constructors tie every extent and stride to its
    // slice's length; `out` is the caller's.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride as isize,
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
