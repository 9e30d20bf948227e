//! What is written for the machine: loops by its widest vectors, matrix products, memory, threads. Unsafe
//! code is here and nowhere else; what the other rooms call is safe.
//!
//! | file | what it offers |
//! |---|---|
//! | [`gemm`] | matrix products in f32 and bf16 |
//! | `exp`, `pointwise`, `dots` | loops over slices: exponentials and sums, a block's row-wise pieces, products with few rows |
//! | [`device`] | a GPU's kernels, and the host as their device |
//! | [`allocator`], [`bounded`] | the programs' allocator, and strangers' programs under limits |
//! | [`threads`] | how many threads the libraries use |

pub mod allocator;
pub mod bounded;
pub mod device;
pub(crate) mod dots;
pub(crate) mod exp;
pub mod gemm;
pub(crate) mod pointwise;
mod slices;
pub mod threads;
