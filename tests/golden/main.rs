//! `spec` against numbers it had no part in: mpmath at 50 digits, PyTorch autograd in float64.
//! `fixtures/golden/generate.py` made them; SHA256SUMS says that they are still what it made.

mod fixture;
mod from_mpmath;
mod from_torch;
mod integrity;
