//! The host as a device.

use super::kernels::Kernel;
use super::{Element, Product};
use crate::machine::gemm::{Matrix, Threads, product};
use half::bf16;
use rayon::prelude::*;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::c_void;

/// A kernel as the host has it: its arguments, the width of the grid, and the blocks to run.
pub(super) type HostKernel = unsafe extern "C" fn(*const c_void, u32, u32, u32);

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), 256).ok()
}

/// Zeros; `None` if there is no room.
pub(super) fn allocate(bytes: usize) -> Option<u64> {
    // SAFETY: the layout's size is not 0.
    let pointer = unsafe { alloc_zeroed(layout(bytes)?) };
    (!pointer.is_null()).then_some(pointer as u64)
}

pub(super) fn give_back(address: u64, bytes: usize) {
    let layout = layout(bytes).expect("it was allocated with this layout");
    // SAFETY: called once, by the owner's drop, with what `allocate` gave.
    unsafe { dealloc(address as *mut u8, layout) }
}

pub(super) fn upload<T: Element>(to: u64, numbers: &[T]) {
    // SAFETY: a view's address and length, checked there; the slice is not in the device's memory.
    unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), to as *mut T, numbers.len()) }
}

pub(super) fn download<T: Element>(from: u64, to: &mut [T]) {
    // SAFETY: a view's address and length, checked there; any bits are a value.
    unsafe { std::ptr::copy_nonoverlapping(from as *const T, to.as_mut_ptr(), to.len()) }
}

/// `len` numbers whose bits are 0.
pub(super) fn zeros<T: Element>(len: usize) -> Vec<T> {
    // SAFETY: any bits are a value.
    vec![unsafe { std::mem::zeroed() }; len]
}

pub(super) fn clear(address: u64, bytes: usize) {
    // SAFETY: a view's address and length.
    unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) }
}

pub(super) fn copy(from: u64, to: u64, bytes: usize) {
    // SAFETY: two views of one length that lie apart.
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) }
}

/// # Safety
/// The arguments are the kernel's, and what it reads and writes lies in the host's memory.
pub(super) unsafe fn launch<A: Sync>(kernel: Kernel, grid: [usize; 2], arguments: &A) {
    let [width, height] = grid.map(|blocks| u32::try_from(blocks).expect("a grid of 32-bit numbers"));
    let blocks = width.checked_mul(height).expect("a grid of 32-bit numbers");
    assert!(height <= 65_535, "a grid that a GPU takes");
    // Blocks of this one may add to the same row, where an id stands twice.
    let in_order = kernel == Kernel::GatherBackward;
    let at_once = if in_order { blocks.max(1) } else { (blocks / 64).max(1) };
    (0..blocks.div_ceil(at_once)).into_par_iter().for_each(|task| {
        let first = task * at_once;
        let end = (first + at_once).min(blocks);
        // SAFETY: the caller's; blocks do not depend on each other.
        unsafe { kernel.on_host()(std::ptr::from_ref(arguments).cast(), width, first, end) }
    });
}

/// # Safety
/// Every matrix of the product lies in the host's memory.
pub(super) unsafe fn multiply(p: &Product) {
    let numbers = |at: u64, rows: usize, columns: usize, stride: usize| -> Vec<f32> {
        let row = |row: usize| {
            // SAFETY: the caller's.
            let row = unsafe { std::slice::from_raw_parts((at as *const bf16).add(row * stride), columns) };
            row.iter().map(|x| x.to_f32())
        };
        (0..rows).flat_map(row).collect()
    };
    for i in 0..p.batch {
        let at = |start: u64, step: usize| start + (2 * i * step) as u64;
        let (a, b) = (&p.left, &p.right);
        let [a_rows, a_columns] = if a.transposed { [p.summed, p.rows] } else { [p.rows, p.summed] };
        let [b_rows, b_columns] = if b.transposed { [p.columns, p.summed] } else { [p.summed, p.columns] };
        let left = numbers(at(a.address, a.step), a_rows, a_columns, a.stride);
        let right = numbers(at(b.address, b.step), b_rows, b_columns, b.stride);
        let mut out = vec![0f32; p.rows * p.columns];
        let [left, right] = [Matrix::new(&left, a_rows, a_columns), Matrix::new(&right, b_rows, b_columns)];
        let left = if a.transposed { left.t() } else { left };
        let right = if b.transposed { right.t() } else { right };
        product(left, right, &mut out, false, Threads::All);
        for (row, numbers) in out.chunks(p.columns.max(1)).enumerate() {
            let at = i * p.out.step + row * p.out.stride;
            for (column, &x) in numbers.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    if p.out.is_bf16 {
                        let to = (p.out.address as *mut bf16).add(at + column);
                        *to = bf16::from_f32(if p.accumulate { (*to).to_f32() + x } else { x });
                    } else {
                        let to = (p.out.address as *mut f32).add(at + column);
                        *to = if p.accumulate { *to + x } else { x };
                    }
                }
            }
        }
    }
}
