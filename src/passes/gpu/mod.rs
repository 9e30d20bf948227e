//! The decoder in bf16 on a device of our own kernels: rows packed without padding, weights and gradients in
//! flat memory, states, norms, softmax and sums in f32. Blocks are computed again in the backward pass, from
//! their inputs.
//!
//! [`super::fused`] with bf16 factors is its oracle: both round the same factors.

mod backward;
mod forward;
mod head;
mod pack;
mod state;
mod weights;
mod workspace;

pub use head::{Scored, ScoredAt};
pub use weights::{Formats, Weights};
pub use workspace::Room;

use crate::machine::device::Device;
use crate::model::config::DecoderConfig;
use crate::model::rotary::Rotary;
use crate::model::rows::TokenRows;
use crate::{Error, Result};
use candle_core::DType;
use head::HeadWork;
use pack::Pack;
use std::sync::Arc;
use workspace::Workspace;

/// A decoder that a device trains.
pub struct Gpu {
    device: Arc<Device>,
    config: DecoderConfig,
    rotary: Rotary,
    room: Room,
    pub weights: Weights,
    work: Workspace,
    head: HeadWork,
    /// Forward passes so far, and the head's: what lies in the workspace is the last one's.
    runs: u64,
    scored: u64,
}

/// A pack whose forward pass is done; its activations lie in the decoder's workspace until the next.
pub struct Run {
    pack: Pack,
    number: u64,
}

impl Gpu {
    /// Weights are 0 until they are set.
    ///
    /// Errors: no room on the device.
    pub fn new(device: &Arc<Device>, config: &DecoderConfig, formats: Formats, room: Room) -> Result<Self> {
        Ok(Self {
            device: device.clone(),
            config: config.clone(),
            rotary: Rotary::new(config, DType::F32, &candle_core::Device::Cpu)?,
            room,
            weights: Weights::new(device, config, formats)?,
            work: Workspace::new(device, config, room)?,
            head: HeadWork::new(device, config, room)?,
            runs: 0,
            scored: 0,
        })
    }

    /// Last hidden states after the final norm, which [`Self::hidden`] reads.
    ///
    /// Errors: a pack or a row that there is no room for; a token or position that the model does not have.
    pub fn forward(&mut self, rows: &TokenRows) -> Result<Run> {
        let longest = rows.iter().map(|(_, row)| row.ids.len()).max().unwrap_or(0);
        if rows.tokens() > self.room.tokens || longest > self.room.row {
            let got = format!("{} tokens, a row of {longest}", rows.tokens());
            let expected = format!("at most {} tokens, rows of at most {}", self.room.tokens, self.room.row);
            return Err(Error::argument("forward", "pack", got, expected));
        }
        if let Some(id) = rows.ids().find(|id| *id as usize >= self.config.vocab_size) {
            let expected = format!("below the vocabulary of {}", self.config.vocab_size);
            return Err(Error::argument("forward", "token", id, expected));
        }
        let pack = Pack::new(&self.device, &self.config, &self.rotary, rows)?;
        forward::run(self, &pack)?;
        self.runs += 1;
        Ok(Run { pack, number: self.runs })
    }

    fn is_last(&self, run: &Run) -> Result<()> {
        match run.number == self.runs {
            true => Ok(()),
            false => {
                Err(Error::argument("gpu pass", "pack", "an earlier one", "that of the last forward pass"))
            }
        }
    }

    /// The states of the last forward pass. Shapes: → [tokens, d]. Waits for the device.
    ///
    /// Errors: the run of an earlier one.
    pub fn hidden(&self, run: &Run) -> Result<Vec<f32>> {
        self.is_last(run)?;
        self.work.hidden.at(..run.pack.tokens() * self.config.hidden_size).read()
    }

    /// Adds the gradients of everything below the head, from that of the states [tokens, d].
    ///
    /// Errors: the run of an earlier forward pass than the last.
    pub fn backward(&mut self, run: Run, d_hidden: &[f32]) -> Result<()> {
        self.is_last(&run)?;
        self.work.d_hidden.at(..run.pack.tokens() * self.config.hidden_size).write(d_hidden)?;
        backward::run(self, &run.pack)
    }
}
