//! Preference data: pairs, the built-in world, batches.

pub mod binarize;
pub mod columns;
pub mod inspect;
pub mod json;
pub mod layout;
pub mod messages;
pub mod noise;
pub mod overlap;
pub mod pairs;
pub mod parquet;
pub mod rows;
pub mod show;
pub mod tokenize;
pub mod transcript;
pub mod ultrafeedback;
pub mod world;
