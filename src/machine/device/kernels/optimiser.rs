//! AdamW, and weights as two halves.

use super::{Kernel, RawNumbers, THREADS, at};
use crate::Result;
use crate::machine::device::{Device, HostMemory, Memory, Numbers, View};
use half::bf16;
use std::sync::Arc;

/// Numbers that a thread of `square_sums` adds up.
const SQUARES: usize = 64;

#[repr(C)]
struct Master {
    places: [u64; 3],
    n: u64,
}

/// f32 numbers as bf16 numbers, rounded to the nearest (halfway cases up), and what is left of their bits.
pub fn split_master(x: View<'_, f32>, halves: View<'_, bf16>, rests: View<'_, u16>) -> Result<()> {
    let n = x.len();
    let arguments = Master { places: [x.address(), at(halves, n), at(rests, n)], n: n as u64 };
    // SAFETY: n numbers each, by the checks above.
    unsafe { x.device().launch(Kernel::SplitMaster, [n.div_ceil(THREADS), 1], &arguments) }
}

/// The inverse of [`split_master`].
pub fn join_master(halves: View<'_, bf16>, rests: View<'_, u16>, x: View<'_, f32>) -> Result<()> {
    let n = x.len();
    let arguments = Master { places: [at(halves, n), at(rests, n), x.address()], n: n as u64 };
    // SAFETY: n numbers each, by the checks above.
    unsafe { x.device().launch(Kernel::JoinMaster, [n.div_ceil(THREADS), 1], &arguments) }
}

/// Weights drawn from N(mean, std²), the same on every machine but for the last bits of its functions.
pub fn draw(weights: (View<'_, bf16>, View<'_, u16>), mean: f32, std: f32, seed: u32) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        halves: u64,
        rests: u64,
        n: u64,
        mean: f32,
        std: f32,
        seed: u32,
    }
    let (halves, n) = (weights.0, weights.0.len());
    let rests = at(weights.1, n);
    let arguments = Arguments { halves: halves.address(), rests, n: n as u64, mean, std, seed };
    // SAFETY: n numbers each, by the check above.
    unsafe { halves.device().launch(Kernel::Draw, [n.div_ceil(THREADS), 1], &arguments) }
}

/// Σ g², in f32 over stretches, which are added up in f64. Waits for the device.
pub fn square_sum(gradient: Numbers<'_>, sums: &Memory<f32>) -> Result<f64> {
    #[repr(C)]
    struct Arguments {
        gradient: RawNumbers,
        sums: u64,
        n: u64,
    }
    let n = gradient.len();
    let blocks = square_blocks(n);
    let sums = sums.at(..blocks);
    let arguments =
        Arguments { gradient: RawNumbers::of(gradient, gradient.len()), sums: sums.address(), n: n as u64 };
    // SAFETY: a sum for each block.
    unsafe { sums.device().launch(Kernel::SquareSums, [blocks, 1], &arguments)? };
    Ok(sums.read()?.into_iter().map(f64::from).sum())
}

/// How many sums [`square_sum`] wants for n numbers.
pub fn square_blocks(n: usize) -> usize {
    n.div_ceil(SQUARES * THREADS)
}

/// Moments of the host that are on the device at a time.
const PIECE: usize = 1 << 24;

/// Running means of gradients and of their squares. Formats differ in bytes a number and in what is lost.
pub enum Moments {
    /// 8 bytes, exact.
    F32 { first: Memory<f32>, second: Memory<f32> },
    /// 8 bytes of the host, exact: a piece at a time passes through the device.
    OnHost { first: HostMemory, second: HostMemory, door: [Memory<f32>; 2] },
    /// 4 bytes. The second is rounded up or down at random: to the nearest, it would stand still.
    Bf16 { first: Memory<bf16>, second: Memory<bf16> },
    /// 2 bytes and 8 for each block of [`THREADS`] numbers: roots of the share of a block's largest.
    EightBit {
        first: Memory<u8>,
        second: Memory<u8>,
        first_largest: Memory<f32>,
        second_largest: Memory<f32>,
    },
}

/// How moments are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentsFormat {
    F32,
    F32OnHost,
    Bf16,
    EightBit,
}

/// `struct moments` of the sources.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawMoments {
    first: u64,
    second: u64,
    first_largest: u64,
    second_largest: u64,
    kind: u32,
    seed: u32,
}

impl Moments {
    pub fn zeros(device: &Arc<Device>, format: MomentsFormat, n: usize) -> Result<Self> {
        Ok(match format {
            MomentsFormat::F32 => Self::F32 {
                first: Memory::zeros(device, "moments", n)?,
                second: Memory::zeros(device, "moments", n)?,
            },
            MomentsFormat::F32OnHost => {
                let piece = PIECE.min(n);
                Self::OnHost {
                    first: HostMemory::zeros(device, n)?,
                    second: HostMemory::zeros(device, n)?,
                    door: [
                        Memory::zeros(device, "moments", piece)?,
                        Memory::zeros(device, "moments", piece)?,
                    ],
                }
            }
            MomentsFormat::Bf16 => Self::Bf16 {
                first: Memory::zeros(device, "moments", n)?,
                second: Memory::zeros(device, "moments", n)?,
            },
            MomentsFormat::EightBit => Self::EightBit {
                first: Memory::zeros(device, "moments", n)?,
                second: Memory::zeros(device, "moments", n)?,
                first_largest: Memory::zeros(device, "moments", n.div_ceil(THREADS))?,
                second_largest: Memory::zeros(device, "moments", n.div_ceil(THREADS))?,
            },
        })
    }

    /// Numbers from `first`, a multiple of [`THREADS`], on; `n` of them.
    fn raw(&self, first: usize, n: usize, seed: u32) -> RawMoments {
        assert_eq!(first % THREADS, 0, "moments begin with a block");
        let (range, blocks) = (first..first + n, first / THREADS..(first + n).div_ceil(THREADS));
        let none = RawMoments { first: 0, second: 0, first_largest: 0, second_largest: 0, kind: 0, seed };
        match self {
            Self::F32 { first, second } => RawMoments {
                first: first.at(range.clone()).address(),
                second: second.at(range).address(),
                ..none
            },
            // A piece is at the door.
            Self::OnHost { door: [first, second], .. } => {
                RawMoments { first: first.at(..n).address(), second: second.at(..n).address(), ..none }
            }
            Self::Bf16 { first, second } => RawMoments {
                first: first.at(range.clone()).address(),
                second: second.at(range).address(),
                kind: 1,
                ..none
            },
            Self::EightBit { first, second, first_largest, second_largest } => RawMoments {
                first: first.at(range.clone()).address(),
                second: second.at(range).address(),
                first_largest: first_largest.at(blocks.clone()).address(),
                second_largest: second_largest.at(blocks).address(),
                kind: 2,
                ..none
            },
        }
    }
}

/// One step's numbers: those of the update of `passes::adamw`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Step {
    pub clip: f32,
    pub beta1: f32,
    pub beta2: f32,
    /// Learning rate over 1 − β₁ᵗ.
    pub step_size: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub second_scale: f32,
    pub epsilon: f32,
    /// 1 less the weight decay.
    pub keep: f32,
}

/// w ← keep·w − step_size·m / (second_scale·√v + ε), as f32 numbers, for weights as [`split_master`] leaves them
/// whose moments begin at `first`, a multiple of [`THREADS`]. `seed` is that of random roundings.
pub fn adamw(
    weights: (View<'_, bf16>, View<'_, u16>),
    gradient: Numbers<'_>,
    moments: &mut Moments,
    first: usize,
    step: &Step,
    seed: u32,
) -> Result<()> {
    let n = weights.0.len();
    if !matches!(moments, Moments::OnHost { .. }) {
        return update(weights, gradient, moments.raw(first, n, seed), step);
    }
    for start in (0..n).step_by(PIECE) {
        let piece = start..(start + PIECE).min(n);
        let kept = first + piece.start..first + piece.end;
        if let Moments::OnHost { first, second, door } = moments {
            first.send(kept.clone(), door[0].at(..piece.len()))?;
            second.send(kept.clone(), door[1].at(..piece.len()))?;
        }
        let raw = moments.raw(kept.start, piece.len(), seed);
        let weights = (weights.0.at(piece.clone()), weights.1.at(piece.clone()));
        update(weights, gradient.at(piece.clone()), raw, step)?;
        if let Moments::OnHost { first, second, door } = moments {
            first.receive(kept.clone(), door[0].at(..piece.len()))?;
            second.receive(kept, door[1].at(..piece.len()))?;
        }
    }
    Ok(())
}

fn update(
    (halves, rests): (View<'_, bf16>, View<'_, u16>),
    gradient: Numbers<'_>,
    moments: RawMoments,
    step: &Step,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        halves: u64,
        rests: u64,
        gradient: RawNumbers,
        moments: RawMoments,
        n: u64,
        step: Step,
    }
    let n = halves.len();
    let arguments = Arguments {
        halves: halves.address(),
        rests: at(rests, n),
        gradient: RawNumbers::of(gradient, n),
        moments,
        n: n as u64,
        step: *step,
    };
    // SAFETY: n numbers each, by the checks above and those of `raw`, which was asked for n.
    unsafe { halves.device().launch(Kernel::AdamW, [n.div_ceil(THREADS), 1], &arguments) }
}
