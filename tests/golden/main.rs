//! `spec` and `tensor` against numbers they had no part in: mpmath at 50 digits, PyTorch autograd
//! in float64, the losses of TRL and OpenRLHF. The scripts beside the fixtures made them;
//! SHA256SUMS says that they are still what was made.

mod baselines;
mod cases;
#[cfg(feature = "train")]
#[path = "../common/composed.rs"]
mod composed;
mod fixture;
mod from_mpmath;
mod from_torch;
mod from_trainers;
mod heads_input;
mod integrity;
#[cfg(feature = "train")]
mod optimizer;
#[cfg(feature = "train")]
mod tensor;
#[cfg(feature = "train")]
#[path = "../common/toy_recipe.rs"]
mod toy_recipe;
