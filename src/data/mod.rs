//! Preference data: pairs, the built-in world, batches.

pub mod batch;
pub mod binarize;
pub mod inspect;
pub mod layout;
pub mod noise;
pub mod pairs;
pub mod parquet;
pub mod rows;
pub mod show;
pub mod tokenize;
pub mod transcript;
pub mod ultrafeedback;
pub mod world;
