//! Optimiser, step, and the loop that carries a recipe through.

pub mod checkpoint;
pub mod fit;
pub mod loss;
pub mod metrics;
pub mod optim;
pub mod pretrain;
pub mod reference;
pub mod step;
pub mod tensorboard;
