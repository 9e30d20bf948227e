//! Borrowing a CPU tensor's numbers as a slice.

use candle_core::{CpuStorage, Layout, Storage, StorageRef, Tensor, bail};

/// A read lock on a contiguous f32 CPU tensor.
pub(crate) struct Held<'a> {
    storage: StorageRef<'a>,
    range: (usize, usize),
}

impl<'a> Held<'a> {
    pub fn new(tensor: &'a Tensor) -> candle_core::Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some(range) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor") };
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(Self { storage, range }),
            _ => bail!("expected an f32 tensor on the CPU"),
        }
    }

    pub fn slice(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.0..self.range.1],
            _ => unreachable!("checked in new"),
        }
    }
}

/// The numbers of a contiguous f32 storage, as custom operations receive it.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("expected a contiguous tensor"),
    }
}
