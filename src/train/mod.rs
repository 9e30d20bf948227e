//! Training: a recipe, a base model and pairs in, a trained model out.
//!
//! | module | what it does |
//! |---|---|
//! | [`fit`] | the loop over the steps of a recipe |
//! | [`step`] | one micro-batch: the decoder forward, the loss that the caller gives, everything backward |
//! | [`micro_batches`](mod@micro_batches) | which pairs are computed at a time |
//! | [`loss`] | the loss of a batch of pairs, plain or with a latent; `fit` gives it to `step` |
//! | [`optim`] | AdamW, clipping, the schedule of the learning rate |
//! | [`budget`] | bytes and time that training on a GPU takes |
//! | [`checkpoint`] | the state from which an interrupted run goes on |
//! | [`metrics`], [`tensorboard`] | what a run reports of every step: JSON lines, and the same for TensorBoard |
//! | [`reference`](mod@reference) | the reference model's log-probabilities, calculated once |
//! | [`pretrain`] | language-model training of the toy scale's base models |

pub mod budget;
pub mod checkpoint;
pub mod fit;
pub mod loss;
pub mod metrics;
pub mod micro_batches;
pub mod optim;
pub mod pretrain;
pub mod reference;
pub mod step;
pub mod tensorboard;
