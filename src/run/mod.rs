//! What a run leaves behind: its manifest and records, the store that keeps them, the evidence of a table.

pub mod codes;
pub mod evidence;
pub mod manifest;
pub mod map;
pub mod model_card;
pub mod numerics;
pub mod records;
pub mod store;
