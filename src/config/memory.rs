//! How training keeps a decoder's numbers.

use super::validate::count;
use super::{Precision, Training};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Where a decoder's weights, gradients and moments lie while it is trained, and in what formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Memory {
    /// f32 numbers in candle's tensors, 16 bytes a weight: for models that a CPU trains.
    Tensors {},
    /// Flat memory of the pass with our own kernels, for models of billions of weights: each weight as its
    /// nearest bf16 number, which products read, and what that lacks of f32. Updates are those of f32 weights.
    Flat {
        moments: MomentsKept,
        /// What gradients are summed in.
        gradients: Precision,
        /// Tokens that are computed at a time. It changes speed and memory, not the mathematics.
        pack: usize,
    },
    /// [`Self::Flat`] in the most exact formats for which the device has room. The run's own recipe has them.
    Auto { pack: usize },
}

/// Formats of AdamW's moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MomentsKept {
    /// 8 bytes a weight.
    #[serde(rename = "f32")]
    F32,
    /// The same, in the host's memory; each update brings them to the device and back.
    #[serde(rename = "f32-on-host")]
    F32OnHost,
    /// 4 bytes a weight.
    #[serde(rename = "bf16")]
    Bf16,
    /// 2 bytes a weight.
    #[serde(rename = "8-bit")]
    EightBit,
}

/// Most tokens of a pack.
const MOST_TOKENS: usize = 1 << 16;

impl Default for Memory {
    fn default() -> Self {
        Self::Tensors {}
    }
}

impl Memory {
    pub fn is_tensors(&self) -> bool {
        *self == Self::Tensors {}
    }

    /// Tokens that are computed at a time; none where only pairs are counted.
    pub fn pack(&self) -> Option<usize> {
        match self {
            Self::Tensors {} => None,
            Self::Flat { pack, .. } | Self::Auto { pack } => Some(*pack),
        }
    }
}

impl Training {
    /// The pass over flat memory computes in bf16 and keeps no activations.
    pub(super) fn validate_memory(&self) -> Result<()> {
        let Some(pack) = self.memory.pack() else { return Ok(()) };
        count("training.memory.pack", pack, MOST_TOKENS)?;
        if self.dtype != Precision::Bf16 {
            let expected = "bf16, as training.memory wants it";
            return Err(Error::argument("recipe", "training.dtype", "f32", expected));
        }
        match self.recompute {
            true => Ok(()),
            false => {
                let expected = "true, as training.memory wants it";
                Err(Error::argument("recipe", "training.recompute", "false", expected))
            }
        }
    }
}
