//! Memory of a device: typed, of a fixed size, reached by the device's own operations alone.

use super::Device;
use super::kernels::Sight;
use crate::{Error, Result};
use half::bf16;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

/// What memory may hold: any pattern of its bits is a value.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($element:ty),*) => {$(
        impl Element for $element {}
        impl sealed::Sealed for $element {}
    )*};
}
elements!(bf16, f32, u8, u16, u32, Sight);

/// Numbers that a device holds, 0 at first. They are given back when it is dropped.
pub struct Memory<T> {
    device: Arc<Device>,
    address: u64,
    len: usize,
    /// Written through shared views: of one thread.
    element: PhantomData<Cell<T>>,
}

/// A stretch of a [`Memory`]. Like a `Cell` it may be written while others see it: a device does one operation
/// after the other, and nothing else looks into its memory.
pub struct View<'a, T> {
    device: &'a Device,
    address: u64,
    len: usize,
    element: PhantomData<&'a Cell<T>>,
}

/// Numbers in one of two precisions.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, bf16>),
}

impl Numbers<'_> {
    /// Panics: a range that is not inside.
    pub fn at(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(view) => Self::F32(view.at(range)),
            Self::Bf16(view) => Self::Bf16(view.at(range)),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::F32(view) => view.len(),
            Self::Bf16(view) => view.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn device(&self) -> &Device {
        match self {
            Self::F32(view) => view.device,
            Self::Bf16(view) => view.device,
        }
    }
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T: Element> Memory<T> {
    /// `what` names it in a plan.
    ///
    /// Errors: the device has no room.
    pub fn zeros(device: &Arc<Device>, what: &'static str, len: usize) -> Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| device.full(what, usize::MAX))?;
        let address = device.allocate(what, bytes)?;
        Ok(Self { device: device.clone(), address, len, element: PhantomData })
    }

    pub fn of(device: &Arc<Device>, what: &'static str, numbers: &[T]) -> Result<Self> {
        let memory = Self::zeros(device, what, numbers.len())?;
        memory.all().write(numbers)?;
        Ok(memory)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn all(&self) -> View<'_, T> {
        View { device: &self.device, address: self.address, len: self.len, element: PhantomData }
    }

    /// Panics: a range that is not inside.
    pub fn at(&self, range: impl RangeBounds<usize>) -> View<'_, T> {
        self.all().at(range)
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        self.device.give_back(self.address, self.len * size_of::<T>());
    }
}

impl<'a, T: Element> View<'a, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Panics: a range that is not inside.
    pub fn at(self, range: impl RangeBounds<usize>) -> Self {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Excluded(end) => *end,
            Bound::Included(last) => last + 1,
            Bound::Unbounded => self.len,
        };
        assert!(first <= end && end <= self.len, "{first}..{end} of {}", self.len);
        let address = self.address + (first * size_of::<T>()) as u64;
        Self { address, len: end - first, ..self }
    }

    /// Replaces all numbers. Panics: another number of them.
    pub fn write(self, numbers: &[T]) -> Result<()> {
        assert_eq!(numbers.len(), self.len, "numbers to write");
        self.device.upload(self.address, numbers)
    }

    /// What it holds, after everything that was asked for before.
    pub fn read(self) -> Result<Vec<T>> {
        let mut numbers = super::host::zeros(self.len);
        self.read_into(&mut numbers)?;
        Ok(numbers)
    }

    /// [`Self::read`] into numbers that are there. Panics: another number of them.
    pub fn read_into(self, numbers: &mut [T]) -> Result<()> {
        assert_eq!(numbers.len(), self.len, "numbers to read");
        self.device.download(self.address, numbers)
    }

    /// Sets every number to that whose bits are 0.
    pub fn clear(self) -> Result<()> {
        self.device.clear(self.address, self.len * size_of::<T>())
    }

    /// Panics: another length, or memory of another device or that both share.
    pub fn copy_to(self, to: View<'_, T>) -> Result<()> {
        let bytes = (self.len * size_of::<T>()) as u64;
        assert_eq!(self.len, to.len, "numbers to copy");
        assert!(std::ptr::eq(self.device, to.device), "a copy within a device");
        assert!(self.address.abs_diff(to.address) >= bytes, "a copy to memory apart");
        self.device.copy(self.address, to.address, self.len * size_of::<T>())
    }

    /// The same memory as bytes.
    pub fn bytes(self) -> View<'a, u8> {
        let View { device, address, len, .. } = self;
        View { device, address, len: len * size_of::<T>(), element: PhantomData }
    }

    pub fn device(self) -> &'a Device {
        self.device
    }

    pub(super) fn address(self) -> u64 {
        self.address
    }
}

/// f32 numbers that the host keeps for a device, 0 at first, and that pass through it a piece at a time.
pub struct HostMemory {
    device: Arc<Device>,
    /// None where a plan's device counts them alone.
    numbers: Vec<f32>,
    len: usize,
}

impl HostMemory {
    /// Errors: the host has no room.
    pub fn zeros(device: &Arc<Device>, len: usize) -> Result<Self> {
        let held = if device.is_plan() { 0 } else { len };
        let mut numbers = vec![];
        let room = numbers.try_reserve_exact(held);
        room.map_err(|_| device.full("host memory", held * size_of::<f32>()))?;
        numbers.resize(held, 0.0);
        device.host_holds(len * size_of::<f32>(), true);
        Ok(Self { device: device.clone(), numbers, len })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Little-endian bytes of a range of bytes; zeros where a plan holds nothing.
    pub fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        let (first, end) = (range.start / size_of::<f32>(), range.end / size_of::<f32>());
        match self.device.is_plan() {
            true => vec![0; range.len()],
            false => self.numbers[first..end].iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// Replaces a range of bytes by little-endian numbers.
    pub fn replace(&mut self, range: Range<usize>, bytes: &[u8]) {
        let (first, end) = (range.start / size_of::<f32>(), range.end / size_of::<f32>());
        if !self.device.is_plan() {
            let (bytes, _) = bytes.as_chunks::<4>();
            let numbers = self.numbers[first..end].iter_mut();
            numbers.zip(bytes).for_each(|(x, bytes)| *x = f32::from_le_bytes(*bytes));
        }
    }

    /// Writes a range to the device's memory. Panics: another length.
    pub fn send(&self, range: Range<usize>, to: View<'_, f32>) -> Result<()> {
        assert_eq!(range.len(), to.len(), "numbers to send");
        if self.device.is_plan() { Ok(()) } else { to.write(&self.numbers[range]) }
    }

    /// Replaces a range by what the device's memory holds. Panics: another length.
    pub fn receive(&mut self, range: Range<usize>, from: View<'_, f32>) -> Result<()> {
        assert_eq!(range.len(), from.len(), "numbers to receive");
        if self.device.is_plan() { Ok(()) } else { from.read_into(&mut self.numbers[range]) }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        self.device.host_holds(self.len * size_of::<f32>(), false);
    }
}

impl Device {
    pub(super) fn full(&self, what: &str, bytes: usize) -> Error {
        let got = format!("{bytes} bytes more than {}", self.held());
        Error::argument("device memory", what, got, "no more than the device has")
    }
}
