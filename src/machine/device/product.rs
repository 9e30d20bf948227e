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
    /// From a matrix to the next.
    step: usize,
    transposed: bool,
}

/// Where products go, row by row without gaps in a product.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    numbers: Numbers<'a>,
    /// From a product to the next; none: they lie one behind the other, and nothing else.
    step: Option<usize>,
}

impl<'a> Out<'a> {
    /// Products that each begin `step` numbers behind the last.
    pub fn each(numbers: Numbers<'a>, step: usize) -> Self {
        Self { numbers, step: Some(step) }
    }

    /// Panics: another number of numbers than the products have.
    fn place(self, batch: usize, rows: usize, columns: usize) -> Place {
        let (n, len) = (rows * columns, self.numbers.len());
        match self.step {
            None => assert_eq!(len, batch * n, "room for {batch} products of {rows} x {columns}"),
            Some(step) => assert!(n <= step && (batch - 1) * step + n <= len, "room for products"),
        }
        let (address, is_bf16) = match self.numbers {
            Numbers::F32(view) => (view.address(), false),
            Numbers::Bf16(view) => (view.address(), true),
        };
        Place { address, stride: columns, step: self.step.unwrap_or(n), transposed: false, is_bf16 }
    }
}

impl<'a> From<Numbers<'a>> for Out<'a> {
    fn from(numbers: Numbers<'a>) -> Self {
        Self { numbers, step: None }
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
        assert_eq!(numbers.len(), rows * columns, "matrix of {rows} x {columns}");
        Self { numbers, rows, columns, step: 0, transposed: false }
    }

    /// As many matrices as a product has, each `step` numbers behind the last.
    ///
    /// Panics: fewer numbers than the first has.
    pub fn each(numbers: View<'a, bf16>, rows: usize, columns: usize, step: usize) -> Self {
        assert!(numbers.len() >= rows * columns, "matrices of {rows} x {columns}");
        Self { numbers, rows, columns, step, transposed: false }
    }

    /// Its transpose, of the same numbers.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn shape(&self) -> [usize; 2] {
        if self.transposed { [self.columns, self.rows] } else { [self.rows, self.columns] }
    }

    fn check(&self, batch: usize) {
        let end = (batch - 1) * self.step + self.rows * self.columns;
        assert!(end <= self.numbers.len(), "{batch} factors end at {end} of {}", self.numbers.len());
    }

    fn place(&self) -> Place {
        Place {
            address: self.numbers.address(),
            stride: self.columns,
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
        a.check(batch);
        b.check(batch);
        let out = out.into().place(batch, rows, columns);
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
