//! Making slices.

use std::mem::MaybeUninit;

/// `len` numbers from `write`, not zeroed first: that would take a good part of a small operation's time.
///
/// # Safety
/// `write` writes every one of them.
pub(super) unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the caller's.
    unsafe { values.set_len(len) };
    values
}
