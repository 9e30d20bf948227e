//! Our implementations against each other and against other people's.

mod decoder;
mod gradients;
mod packing;
mod support;
