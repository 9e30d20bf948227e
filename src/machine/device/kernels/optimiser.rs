//! AdamW, and weights as two halves.

use super::{Kernel, Launch, RawNumbers, THREADS};
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
    let mut launch = Launch::on(x.device());
    let places = [launch.read(x, n), launch.write(halves, n), launch.write(rests, n)];
    let arguments = Master { places, n: n as u64 };
    // SAFETY: n numbers each, by the checks above.
    unsafe { launch.run(Kernel::SplitMaster, [n.div_ceil(THREADS), 1], &arguments) }
}

/// The inverse of [`split_master`].
pub fn join_master(halves: View<'_, bf16>, rests: View<'_, u16>, x: View<'_, f32>) -> Result<()> {
    let n = x.len();
    let mut launch = Launch::on(x.device());
    let places = [launch.read(halves, n), launch.read(rests, n), launch.write(x, n)];
    let arguments = Master { places, n: n as u64 };
    // SAFETY: n numbers each, by the checks above.
    unsafe { launch.run(Kernel::JoinMaster, [n.div_ceil(THREADS), 1], &arguments) }
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
    let mut launch = Launch::on(halves.device());
    let (halves, rests) = (launch.write(halves, n), launch.write(weights.1, n));
    let arguments = Arguments { halves, rests, n: n as u64, mean, std, seed };
    // SAFETY: n numbers each, by the check above.
    unsafe { launch.run(Kernel::Draw, [n.div_ceil(THREADS), 1], &arguments) }
}

/// The `number`-th parameter of a random model: a matrix of so many inputs from N(0, 1/inputs), a norm all 1.
pub fn draw_parameter(
    weights: (View<'_, bf16>, View<'_, u16>),
    inputs: usize,
    seed: u32,
    number: u32,
) -> Result<()> {
    let (mean, std) = if inputs == 1 { (1.0, 0.0) } else { (0.0, (inputs as f32).powf(-0.5)) };
    draw(weights, mean, std, seed.wrapping_mul(1_000_003).wrapping_add(number))
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
    let mut launch = Launch::on(sums.device());
    let gradient = launch.read_numbers(gradient, n);
    let arguments = Arguments { gradient, sums: launch.write(sums, blocks), n: n as u64 };
    // SAFETY: a sum for each block.
    unsafe { launch.run(Kernel::SquareSums, [blocks, 1], &arguments)? };
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
    fn raw(&self, launch: &mut Launch<'_>, first: usize, n: usize, seed: u32) -> RawMoments {
        assert_eq!(first % THREADS, 0, "moments begin with a block");
        let (range, blocks) = (first..first + n, first / THREADS..(first + n).div_ceil(THREADS));
        let none = RawMoments { first: 0, second: 0, first_largest: 0, second_largest: 0, kind: 0, seed };
        match self {
            Self::F32 { first, second } => RawMoments {
                first: launch.write(first.at(range.clone()), n),
                second: launch.write(second.at(range), n),
                ..none
            },
            // A piece is at the door.
            Self::OnHost { door: [first, second], .. } => RawMoments {
                first: launch.write(first.at(..n), n),
                second: launch.write(second.at(..n), n),
                ..none
            },
            Self::Bf16 { first, second } => RawMoments {
                first: launch.write(first.at(range.clone()), n),
                second: launch.write(second.at(range), n),
                kind: 1,
                ..none
            },
            Self::EightBit { first, second, first_largest, second_largest } => RawMoments {
                first: launch.write(first.at(range.clone()), n),
                second: launch.write(second.at(range), n),
                first_largest: launch.write(first_largest.at(blocks.clone()), blocks.len()),
                second_largest: launch.write(second_largest.at(blocks.clone()), blocks.len()),
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
        return update(weights, gradient, moments, first, step, seed);
    }
    for start in (0..n).step_by(PIECE) {
        let piece = start..(start + PIECE).min(n);
        let kept = first + piece.start..first + piece.end;
        if let Moments::OnHost { first, second, door } = moments {
            first.send(kept.clone(), door[0].at(..piece.len()))?;
            second.send(kept.clone(), door[1].at(..piece.len()))?;
        }
        let weights = (weights.0.at(piece.clone()), weights.1.at(piece.clone()));
        update(weights, gradient.at(piece.clone()), moments, kept.start, step, seed)?;
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
    moments: &Moments,
    first: usize,
    step: &Step,
    seed: u32,
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
    let (n, mut launch) = (halves.len(), Launch::on(halves.device()));
    assert_eq!(gradient.len(), n, "gradients of the weights");
    let arguments = Arguments {
        halves: launch.write(halves, n),
        rests: launch.write(rests, n),
        gradient: launch.read_numbers(gradient, n),
        moments: moments.raw(&mut launch, first, n, seed),
        n: n as u64,
        step: *step,
    };
    // SAFETY: n numbers each, by the checks above and those of `raw`.
    unsafe { launch.run(Kernel::AdamW, [n.div_ceil(THREADS), 1], &arguments) }
}
