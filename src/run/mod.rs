//! What a run leaves behind.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | the folder of runs: which are finished, and who trains which |
//! | [`manifest`] | what a run was made from, by which code, and what came out |
//! | [`records`] | a line for every test pair |
//! | [`evidence`] | manifests and records of all runs of a table, in one file beside it |
//! | [`codes`], [`map`] | what was read of a run's codes; the map of its latents |
//! | [`model_card`] | the `README.md` of a saved model |
//! | [`numerics`] | the version of the program's arithmetic |

pub mod codes;
pub mod evidence;
pub mod manifest;
pub mod map;
pub mod model_card;
pub mod numerics;
pub mod records;
pub mod store;
