//! Argument checks shared by the formulas; each names the operation and the argument.

use crate::error::{Error, Result};
use ndarray::{ArrayRef, Dimension};

fn ensure(ok: bool, op: &'static str, argument: &str, got: f64, expected: &str) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::argument(op, argument, got, expected)) }
}

pub(super) fn finite(op: &'static str, argument: &str, got: f64) -> Result<()> {
    ensure(got.is_finite(), op, argument, got, "finite")
}

pub(super) fn positive(op: &'static str, argument: &str, got: f64) -> Result<()> {
    ensure(got.is_finite() && got > 0.0, op, argument, got, "finite and > 0")
}

pub(super) fn at_least_0(op: &'static str, argument: &str, got: f64) -> Result<()> {
    ensure(got.is_finite() && got >= 0.0, op, argument, got, "finite and >= 0")
}

pub(super) fn fraction(op: &'static str, argument: &str, got: f64) -> Result<()> {
    ensure((0.0..=1.0).contains(&got), op, argument, got, "in [0, 1]")
}

pub(super) fn not_empty(op: &'static str, argument: &str, len: usize) -> Result<()> {
    if len > 0 { Ok(()) } else { Err(Error::argument(op, argument, "empty", "at least one element")) }
}

/// Every axis has the expected length.
pub(super) fn shape<D: Dimension>(
    op: &'static str,
    argument: &str,
    array: &ArrayRef<f64, D>,
    expected: &[usize],
) -> Result<()> {
    if array.shape() == expected {
        return Ok(());
    }
    Err(Error::argument(op, argument, format!("shape {:?}", array.shape()), format!("shape {expected:?}")))
}

/// Every element is finite.
pub(super) fn all_finite<D: Dimension>(
    op: &'static str,
    argument: &str,
    array: &ArrayRef<f64, D>,
) -> Result<()> {
    match array.iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(v) => Err(Error::argument(op, argument, v, "finite elements")),
    }
}

/// A non-empty vector of finite elements: logits, margins, noise.
pub(super) fn vector(op: &'static str, argument: &str, v: &ndarray::ArrayRef1<f64>) -> Result<()> {
    not_empty(op, argument, v.len())?;
    all_finite(op, argument, v)
}

/// Non-negative, sums to one up to rounding.
pub(super) fn distribution(op: &'static str, argument: &str, p: &ndarray::ArrayRef1<f64>) -> Result<()> {
    vector(op, argument, p)?;
    // Rounding of a normalised sum grows with its length, never near this.
    let ok = p.iter().all(|&v| v >= 0.0) && (p.sum() - 1.0).abs() <= 1e-9;
    if ok { Ok(()) } else { Err(Error::argument(op, argument, p, "non-negative and summing to 1")) }
}
