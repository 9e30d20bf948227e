//! Preference data: pairs from files and from the built-in world, and their token ids.
//!
//! | module | what it does |
//! |---|---|
//! | [`pairs`] | pairs as text, and reading them |
//! | [`rows`], [`json`], [`parquet`] | rows of JSON Lines, JSON arrays and Parquet files |
//! | [`layout`], [`columns`] | the layouts of pairs that are known, and the columns that hold a prompt |
//! | [`messages`], [`transcript`], [`ultrafeedback`] | messages, HH-RLHF's transcripts and raw UltraFeedback as pairs |
//! | [`tokenize`], [`show`] | a pair as token ids, and the same for people |
//! | [`binarize`], [`inspect`], [`overlap`] | what `lpc data` does with a data set |
//! | [`noise`] | labels flipped on purpose |
//! | [`world`] | the built-in world, whose true preferences are known |

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
