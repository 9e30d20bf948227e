//! A preference pair as text, and reading it from the files people have.

use serde::{Deserialize, Serialize};

/// One preference pair (x, y_w, y_l).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Stable within its data set; records refer to it.
    pub id: String,
    /// Where the prompt comes from (UltraFeedback has six sources); may be empty.
    pub source: String,
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}
