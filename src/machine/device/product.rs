//! Matrix products of a device: bf16 factors, sums in f32, stored as f32 or bf16.

use super::{Device, Engine, Numbers, View, host};
use crate::Result;
use half::bf16;

/// A row-major factor, one or several of the same shape.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    numbers: View<'a, bf16>,
    rows: usize,
    columns: usize,
    /// From a row to the next.
    stride: usize,
    /// From a matrix to the next.
    step: usize,
    transposed: bool,
}

/// Where products go, row by row.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    numbers: Numbers<'a>,
    /// From a product to the next; none: they lie one behind the other, and nothing else.
    step: Option<usize>,
    /// From a row to the next; none: without gaps.
    stride: Option<usize>,
}

/// Panics: not so many numbers as so many matrices of rows by their steps.
#[track_caller]
fn check(len: usize, [batch, step]: [usize; 2], [rows, stride]: [usize; 2], columns: usize) {
    let last = |n: usize, step: usize| n.checked_sub(1)?.checked_mul(step);
    let end = || last(batch, step)?.checked_add(last(rows, stride)?)?.checked_add(columns);
    let end = end().expect("sizes of matrices");
    assert!(columns <= stride && end <= len, "{batch} matrices end at {end} of {len}");
}

impl<'a> Out<'a> {
    /// Products that each begin `step` numbers behind the last.
    pub fn each(numbers: Numbers<'a>, step: usize) -> Self {
        Self { numbers, step: Some(step), stride: None }
    }

    /// Rows that each begin `stride` numbers behind the last; what is between them stays as it is.
    pub fn strided(self, stride: usize) -> Self {
        Self { stride: Some(stride), ..self }
    }

    /// Panics: another number of numbers than the products have, or memory of another device.
    fn place(self, batch: usize, rows: usize, columns: usize, device: &Device) -> Place {
        let (stride, len) = (self.stride.unwrap_or(columns), self.numbers.len());
        let step = self.step.unwrap_or(rows * stride);
        check(len, [batch, step], [rows, stride], columns);
        // Without a step nothing else is there; with one, products lie apart.
        assert!(
            self.step.is_some() || len == batch * step,
            "room for {batch} products of {rows} x {columns}"
        );
        assert!(batch == 1 || step >= (rows - 1) * stride + columns, "products lie apart");
        assert!(std::ptr::eq(self.numbers.device(), device), "a product on this device");
        let (address, is_bf16) = match self.numbers {
            Numbers::F32(view) => (view.address(), false),
            Numbers::Bf16(view) => (view.address(), true),
        };
        Place { address, stride, step, transposed: false, is_bf16 }
    }
}

impl<'a> From<Numbers<'a>> for Out<'a> {
    fn from(numbers: Numbers<'a>) -> Self {
        Self { numbers, step: None, stride: None }
    }
}

impl<'a> From<View<'a, f32>> for Out<'a> {
    fn from(numbers: View<'a, f32>) -> Self {
        Numbers::F32(numbers).into()
    }
}

impl<'a> From<View<'a, bf16>> for Out<'a> {
    fn from(numbers: View<'a, bf16>) -> Self {
        Numbers::Bf16(numbers).into()
    }
}

/// A product as an engine sees it: checked, by addresses.
pub struct Product {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) summed: usize,
    pub(super) batch: usize,
    pub(super) left: Place,
    pub(super) right: Place,
    pub(super) out: Place,
    pub(super) accumulate: bool,
}

pub(super) struct Place {
    pub address: u64,
    pub stride: usize,
    pub step: usize,
    pub transposed: bool,
    pub is_bf16: bool,
}

impl<'a> Operand<'a> {
    /// Panics: another number of numbers than rows · columns.
    pub fn new(numbers: View<'a, bf16>, rows: usize, columns: usize) -> Self {
        assert_eq!(Some(numbers.len()), rows.checked_mul(columns), "matrix of {rows} x {columns}");
        Self { numbers, rows, columns, stride: columns, step: 0, transposed: false }
    }

    /// As many matrices as a product has, each `step` numbers behind the last.
    pub fn each(numbers: View<'a, bf16>, rows: usize, columns: usize, step: usize) -> Self {
        Self { numbers, rows, columns, stride: columns, step, transposed: false }
    }

    /// Rows that each begin `stride` numbers behind the last.
    pub fn strided(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Its transpose, of the same numbers.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn shape(&self) -> [usize; 2] {
        if self.transposed { [self.columns, self.rows] } else { [self.rows, self.columns] }
    }

    /// Panics: numbers of `batch` matrices that are not there, or of another device.
    fn check(&self, batch: usize, device: &Device) {
        assert!(std::ptr::eq(self.numbers.device(), device), "factors of this device");
        check(self.numbers.len(), [batch, self.step], [self.rows, self.stride], self.columns);
    }

    fn place(&self) -> Place {
        Place {
            address: self.numbers.address(),
            stride: self.stride,
            step: self.step,
            transposed: self.transposed,
            is_bf16: true,
        }
    }
}

impl Device {
    /// out = a·b or, with `accumulate`, out += a·b.
    ///
    /// Shapes: [m, k], [k, n] → [m, n]. Numerics: products of bf16 numbers are summed in f32.
    /// Panics: shapes that do not fit.
    pub fn multiply<'a>(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        out: impl Into<Out<'a>>,
        accumulate: bool,
    ) -> Result<()> {
        self.multiply_each(1, a, b, out, accumulate)
    }

    /// [`Self::multiply`] for `batch` products of one shape.
    pub fn multiply_each<'a>(
        &self,
        batch: usize,
        a: Operand<'_>,
        b: Operand<'_>,
        out: impl Into<Out<'a>>,
        accumulate: bool,
    ) -> Result<()> {
        let ([rows, summed], [summed_b, columns]) = (a.shape(), b.shape());
        assert_eq!(summed, summed_b, "inner dimensions");
        if batch == 0 || rows == 0 || columns == 0 {
            return Ok(());
        }
        a.check(batch, self);
        b.check(batch, self);
        let out = out.into().place(batch, rows, columns, self);
        let (left, right) = (a.place(), b.place());
        self.counted().operations += 2 * (batch * rows * columns) as u128 * summed as u128;
        let product = Product { rows, columns, summed, batch, left, right, out, accumulate };
        match &self.engine {
            // SAFETY: every place was checked against its view.
            Engine::Host => unsafe { host::multiply(&product) },
            #[cfg(feature = "cuda")]
            // SAFETY: as above.
            Engine::Cuda(cuda) => unsafe { cuda.multiply(&product)? },
            Engine::Plan => {}
        }
        Ok(())
    }
}
