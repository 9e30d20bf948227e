//! What is measured of a trained policy.
//!
//! | module | what it does |
//! |---|---|
//! | [`preference`] | preference accuracy: which completion of a test pair has the higher reward |
//! | [`stats`] | intervals and tests of everything that is measured |
//! | [`clusters`] | how well latents cluster by source, against labels in random order |
//! | [`predictor`] | a policy's next-token distribution when only the context is known |
//! | [`loglikelihood`], [`generation`] | continuations scored and continuations written, both with [`predictor`] |
//! | [`tasks`], [`harness`] | the benchmarks of table 1, and running them on a model |
//! | [`judge`], [`winrate`] | AlpacaEval 2: a judge's preferences, and the win rates from them |
//! | [`journal`] | finished work on disk, so that none is done or paid for twice |

pub mod clusters;
pub mod generation;
pub mod harness;
pub mod journal;
pub mod judge;
pub mod loglikelihood;
pub mod predictor;
pub mod preference;
pub mod stats;
pub mod tasks;
pub mod winrate;
