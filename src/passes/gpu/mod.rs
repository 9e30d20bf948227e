//! The decoder in bf16 on a device of our own kernels: rows packed without padding, weights and gradients in
//! flat memory, states, norms, softmax and sums in f32. Blocks are computed again in the backward pass, from
//! their inputs.
//!
//! [`super::fused`] with bf16 factors is its oracle: both round the same factors.

mod backward;
mod codes;
mod export;
mod forward;
mod head;
mod pack;
mod policy;
mod state;
mod weights;
mod workspace;

pub use codes::CodesScored;
pub use export::Export;
pub use head::{Asked, Scored, Shifts};
pub use policy::{Flat, FlatPolicy};
pub use weights::{Formats, Weights};
pub use workspace::Room;

use crate::machine::device::kernels::{gather, gather_backward};
use crate::machine::device::{Device, Memory, Numbers};
use crate::model::config::DecoderConfig;
use crate::model::rotary::Rotary;
use crate::model::rows::TokenRows;
use crate::{Error, Result};
use candle_core::DType;
use codes::CodeWork;
use head::HeadWork;
use pack::{Grouped, PACKS, Pack};
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
    codes: Option<CodeWork>,
    /// Of the last forward pass, until it goes back.
    pack: Option<Pack>,
    /// Forward passes so far, and the head's: what lies in the workspace is the last one's.
    runs: u64,
    scored: u64,
}

/// The number of a forward pass. Its activations lie in the decoder's workspace until the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run(u64);

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
            codes: None,
            pack: None,
            runs: 0,
            scored: 0,
        })
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    pub fn room(&self) -> Room {
        self.room
    }

    /// Last hidden states after the final norm, which [`Self::states`] reads.
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
        self.pack = None;
        let pack = Pack::new(&self.device, &self.config, &self.rotary, rows)?;
        forward::run(self, &pack)?;
        self.work.d_hidden.at(..pack.tokens() * self.config.hidden_size).clear()?;
        self.pack = Some(pack);
        self.runs += 1;
        Ok(Run(self.runs))
    }

    fn pack(&self, run: Run) -> Result<&Pack> {
        let last = self.pack.as_ref().filter(|_| run.0 == self.runs);
        let earlier = "one of an earlier forward pass, or that went back";
        last.ok_or_else(|| Error::argument("gpu pass", "pack", earlier, "that of the last forward pass"))
    }

    /// States of the last forward pass. Shapes: rows [n] → [n, d]. Waits for the device.
    ///
    /// Errors: the run of an earlier one; a row that it does not have.
    pub fn states(&self, run: Run, rows: &[u32]) -> Result<Vec<f32>> {
        let (d, pack) = (self.config.hidden_size, self.pack(run)?.tokens());
        check_rows(rows, pack)?;
        let (ids, out) = (Memory::of(&self.device, PACKS, rows)?, rows.len() * d);
        let out = Memory::zeros(&self.device, PACKS, out)?;
        gather(Numbers::F32(self.work.hidden.at(..pack * d)), ids.all(), Numbers::F32(out.all()))?;
        out.all().read()
    }

    /// Adds the gradients of everything below the head: from those of these rows' states [n, d], and from what
    /// the head gave to the pack's.
    ///
    /// Errors: the run of an earlier forward pass than the last; a row that it does not have.
    pub fn backward(&mut self, run: Run, rows: &[u32], d_states: &[f32]) -> Result<()> {
        let (d, tokens) = (self.config.hidden_size, self.pack(run)?.tokens());
        check_rows(rows, tokens)?;
        if d_states.len() != rows.len() * d {
            let expected = format!("{} numbers", rows.len() * d);
            return Err(Error::argument("gpu pass", "gradients of states", d_states.len(), expected));
        }
        let d_states = Memory::of(&self.device, PACKS, d_states)?;
        let grouped = Grouped::new(&self.device, rows)?;
        let d_hidden = Numbers::F32(self.work.d_hidden.at(..tokens * d));
        gather_backward(d_states.all(), grouped.by_token(), d_hidden, d)?;
        match self.pack.take() {
            Some(pack) => backward::run(self, &pack),
            None => Ok(()),
        }
    }
}

fn check_rows(rows: &[u32], pack: usize) -> Result<()> {
    match rows.iter().find(|row| **row as usize >= pack) {
        Some(row) => Err(Error::argument("gpu pass", "row", row, format!("below the pack's {pack} tokens"))),
        None => Ok(()),
    }
}
