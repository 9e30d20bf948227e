//! The inner loop of bf16 products for CPUs with AMX: tiles of sixteen rows of sixteen words, four
//! of them sums.
//!
//! The tile instructions have no stable intrinsics, so they are written as assembly.

use super::panels::Tile;
use std::arch::asm;
use std::sync::OnceLock;

/// Rows of a left panel and columns of a right one: two by two tiles.
pub const PANEL: usize = 32;

/// Words of a tile's row; panels hold a multiple of them.
pub const WORDS: usize = 16;

/// Does the CPU have tiles of bf16, and does the system let this process use them?
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| in_cpu() && super::avx512::available() && permitted())
}

fn in_cpu() -> bool {
    /// Of leaf 7's EDX: AMX-BF16 and AMX-TILE.
    const NEEDED: u32 = 1 << 22 | 1 << 24;
    std::arch::x86_64::__cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// Tiles are kilobytes of state a thread: Linux asks each process to ask for them.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let mut status = ARCH_PRCTL;
    // SAFETY: a system call with two numbers; it writes no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") status,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    status == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// This thread's tiles, as long as it lives.
pub struct Tiles(());

/// What `ldtilecfg` reads: palette 1, eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = Configuration({
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    bytes
});

impl Tiles {
    /// # Safety
    /// The CPU is [`available`].
    pub unsafe fn new() -> Self {
        // SAFETY: a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly)) };
        Self(())
    }

    /// Adds the product of two panels, by one of the loops below, to a tile of the result, or
    /// stores it as one.
    ///
    /// # Safety
    /// The panels hold `blocks` of the loop's blocks; the tile is writable and, to add, readable.
    pub unsafe fn multiply(
        &self,
        whole: Loop,
        blocks: usize,
        left: *const u32,
        right: *const u32,
        ahead: *const u32,
        tile: &Tile,
    ) {
        let Tile { out, stride, rows, columns, accumulate } = *tile;
        if (rows, columns) == (PANEL, PANEL) {
            // SAFETY: the caller's.
            unsafe { whole(blocks, left, right, ahead, out, stride, accumulate) };
            return;
        }
        let mut sums = [0f32; PANEL * PANEL];
        // SAFETY: room for a whole tile.
        unsafe { whole(blocks, left, right, ahead, sums.as_mut_ptr(), PANEL, false) };
        for (row, sums) in sums.chunks(PANEL).take(rows).enumerate() {
            for (column, sum) in sums.iter().take(columns).enumerate() {
                let at = out.wrapping_add(row * stride + column);
                // SAFETY: inside the tile.
                unsafe { *at = if accumulate { *at + sum } else { *sum } };
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: configured in `new`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// [`PANEL`] x [`PANEL`] sums over blocks of two panels, stored `stride` numbers apart. `ahead` is
/// where words lie that are wanted soon; nothing need be there.
pub type Loop = unsafe fn(usize, *const u32, *const u32, *const u32, *mut f32, usize, bool);

macro_rules! sums {
    ($(#[$doc:meta])* $name:ident: $($block:literal)*) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As [`Tiles::multiply`]; tiles are configured.
        pub unsafe fn $name(
            blocks: usize,
            left: *const u32,
            right: *const u32,
            ahead: *const u32,
            out: *mut f32,
            stride: usize,
            accumulate: bool,
        ) {
            // SAFETY: the caller's.
            unsafe {
                asm!(
                    "test {accumulate:e}, {accumulate:e}",
                    "jz 3f",
                    "tileloadd tmm0, [{upper} + {stride}]",
                    "tileloadd tmm1, [{upper} + {stride} + 64]",
                    "tileloadd tmm2, [{lower} + {stride}]",
                    "tileloadd tmm3, [{lower} + {stride} + 64]",
                    "jmp 4f",
                    "3:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "4:",
                    "test {blocks}, {blocks}",
                    "jz 5f",
                    "2:",
                    $($block,)*
                    "dec {blocks}",
                    "jnz 2b",
                    "5:",
                    "tilestored [{upper} + {stride}], tmm0",
                    "tilestored [{upper} + {stride} + 64], tmm1",
                    "tilestored [{lower} + {stride}], tmm2",
                    "tilestored [{lower} + {stride} + 64], tmm3",
                    accumulate = in(reg) u32::from(accumulate),
                    blocks = inout(reg) blocks => _,
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    ahead = inout(reg) ahead => _,
                    upper = in(reg) out,
                    lower = in(reg) out.wrapping_add(PANEL / 2 * stride),
                    stride = in(reg) 4 * stride,
                    row = in(reg) 4 * WORDS,
                    word = in(reg) 4 * PANEL,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

sums! {
    /// Of bf16 numbers: a block is [`WORDS`] words of either panel.
    whole:
    "tileloadd tmm4, [{left} + {row}]"
    "tileloadd tmm6, [{right} + {word}]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "tileloadd tmm7, [{right} + {word} + 64]"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "tileloadd tmm5, [{left} + {row} + 1024]"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "add {left}, 2048"
    "add {right}, 2048"
    "/* nothing {ahead} */"
}

sums! {
    /// Of numbers in three bf16 parts: a block is [`WORDS`] words of each part of either panel, and
    /// six products of parts are summed, from 3·1 over 2·1, 2·2, 1·2 and 1·3 to 1·1, so that one of
    /// the two stays where it is. Asks for an eighth of a right block's words ahead.
    whole_of_parts:
    "tileloadd tmm4, [{left} + {row} + 4096]"
    "tileloadd tmm6, [{right} + {word}]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "prefetcht1 [{ahead}]"
    "tileloadd tmm7, [{right} + {word} + 64]"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "tileloadd tmm5, [{left} + {row} + 5120]"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "prefetcht1 [{ahead} + 64]"

    "tileloadd tmm4, [{left} + {row} + 2048]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "prefetcht1 [{ahead} + 128]"
    "tileloadd tmm5, [{left} + {row} + 3072]"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "prefetcht1 [{ahead} + 192]"

    "tileloadd tmm6, [{right} + {word} + 2048]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "prefetcht1 [{ahead} + 256]"
    "tileloadd tmm7, [{right} + {word} + 2112]"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "prefetcht1 [{ahead} + 320]"

    "tileloadd tmm4, [{left} + {row}]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "prefetcht1 [{ahead} + 384]"
    "tileloadd tmm5, [{left} + {row} + 1024]"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "prefetcht1 [{ahead} + 448]"

    "tileloadd tmm6, [{right} + {word} + 4096]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "prefetcht1 [{ahead} + 512]"
    "tileloadd tmm7, [{right} + {word} + 4160]"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "prefetcht1 [{ahead} + 576]"

    "tileloadd tmm6, [{right} + {word}]"
    "tdpbf16ps tmm0, tmm4, tmm6"
    "tdpbf16ps tmm2, tmm5, tmm6"
    "prefetcht1 [{ahead} + 640]"
    "tileloadd tmm7, [{right} + {word} + 64]"
    "tdpbf16ps tmm1, tmm4, tmm7"
    "tdpbf16ps tmm3, tmm5, tmm7"
    "prefetcht1 [{ahead} + 704]"
    "add {left}, 6144"
    "add {right}, 6144"
    "add {ahead}, 768"
}
