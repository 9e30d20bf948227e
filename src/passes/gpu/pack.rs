//! Rows of tokens as a device reads them.

use crate::Result;
use crate::machine::device::kernels::{ByToken, HeadShape, Sight};
use crate::machine::device::{Device, Memory, View};
use crate::model::config::DecoderConfig;
use crate::model::rotary::Rotary;
use crate::model::rows::TokenRows;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows by the row of a table that they are read from, so that its gradient is summed in order.
pub(super) struct Grouped {
    ids: Memory<u32>,
    starts: Memory<u32>,
    order: Memory<u32>,
}

impl Grouped {
    pub fn new(device: &Arc<Device>, ids: &[u32]) -> Result<Self> {
        let mut places: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        ids.iter().zip(0u32..).for_each(|(id, row)| places.entry(*id).or_default().push(row));
        let mut starts = vec![0u32];
        places.values().for_each(|rows| starts.push(starts[starts.len() - 1] + rows.len() as u32));
        let order: Vec<u32> = places.values().flatten().copied().collect();
        let distinct: Vec<u32> = places.into_keys().collect();
        Ok(Self {
            ids: Memory::of(device, PACKS, &distinct)?,
            starts: Memory::of(device, PACKS, &starts)?,
            order: Memory::of(device, PACKS, &order)?,
        })
    }

    pub fn by_token(&self) -> ByToken<'_> {
        ByToken { ids: self.ids.all(), starts: self.starts.all(), order: self.order.all() }
    }
}

/// What a pack, and what is asked of it, takes; allocated for each.
pub(super) const PACKS: &str = "packs";

/// Rows end to end, without padding.
pub(super) struct Pack {
    pub shape: HeadShape,
    /// Each row's tokens.
    pub rows: Vec<Range<usize>>,
    pub ids: Memory<u32>,
    sights: Memory<Sight>,
    cos: Memory<f32>,
    sin: Memory<f32>,
    grouped: Grouped,
}

impl Pack {
    /// Errors: a position outside the context; no room.
    pub fn new(
        device: &Arc<Device>,
        config: &DecoderConfig,
        rotary: &Rotary,
        rows: &TokenRows,
    ) -> Result<Self> {
        let positions = Tensor::from_iter(rows.positions(), &candle_core::Device::Cpu)?.unsqueeze(0)?;
        let (cos, sin) = rotary.at(&positions)?.values()?;
        let ids: Vec<u32> = rows.ids().collect();
        let all = rows.sights(config.sliding_window);
        let sight = |[shared, own]: &[Range<usize>; 2]| Sight {
            shared: shared.start as u32,
            shared_end: shared.end as u32,
            own: own.start as u32,
            own_end: own.end as u32,
        };
        let sights: Vec<Sight> = all.iter().flat_map(|row| row.tokens.iter().map(sight)).collect();
        Ok(Self {
            shape: HeadShape {
                tokens: ids.len() as u32,
                kv_heads: config.num_key_value_heads as u32,
                group: (config.num_attention_heads / config.num_key_value_heads) as u32,
                head_dim: config.head_dim as u32,
            },
            rows: all.iter().map(|row| row.start..row.start + row.tokens.len()).collect(),
            ids: Memory::of(device, PACKS, &ids)?,
            sights: Memory::of(device, PACKS, &sights)?,
            cos: Memory::of(device, PACKS, &cos)?,
            sin: Memory::of(device, PACKS, &sin)?,
            grouped: Grouped::new(device, &ids)?,
        })
    }

    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    pub fn turns(&self) -> [View<'_, f32>; 2] {
        [self.cos.all(), self.sin.all()]
    }

    pub fn sights(&self, row: &Range<usize>) -> View<'_, Sight> {
        self.sights.at(row.clone())
    }

    pub fn by_token(&self) -> ByToken<'_> {
        self.grouped.by_token()
    }
}
