//! Trains and measures what [`crate::plan`] lists, and hands the evidence to [`crate::report`].
//!
//! | module | what it does |
//! |---|---|
//! | [`table1`], [`table2`], [`table3`] | one table each, in `reproduce`: train what is missing, measure, publish |
//! | [`study`] | the same for figure 2 and for the reviewers' questions |
//! | [`settings`] | what these share: settings, header of the evidence, names of cells |
//! | [`cells`], [`pool`] | the loop over a table's cells, and several of them at a time |
//! | [`cell`] | one run: trains a recipe and scores the test pairs |
//! | [`trainable`] | the base model as training wants it, in candle's tensors or in flat memory |
//! | [`prepared`] | what the runs of one base model share: the next four |
//! | [`base`], [`dataset`] | base models; pairs as tokens |
//! | [`reference`](mod@reference), [`template_date`] | the reference's log-probabilities on disk; the date that chat templates write |
//! | [`saved`], [`subject`] | a finished run read back; a model or run that a command names |
//! | [`latents`], [`codes`] | what a trained policy's latents are on test pairs; what its codes are used for |
//! | [`second_data`] | the second data set of a study |

pub mod base;
pub mod cell;
pub mod cells;
pub mod codes;
pub mod dataset;
pub mod latents;
pub mod pool;
pub mod prepared;
pub mod reference;
pub mod saved;
pub mod second_data;
pub mod settings;
pub mod study;
pub mod subject;
pub mod table1;
pub mod table2;
pub mod table3;
pub mod template_date;
pub mod trainable;
