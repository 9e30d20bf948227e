//! The inner loops of bf16 products for CPUs with AVX-512 BF16: packing factors into panels of
//! words, and a tile of the product from two panels.
//!
//! A word is two bf16 numbers that follow each other along the summed dimension, the earlier one
//! low: what one lane of `vdpbf16ps` multiplies and adds. A panel is [words, width].

use super::panels::Tile;
use std::arch::x86_64::*;

/// Parts of an f32 number.
pub const PARTS: usize = 3;

/// Lines (rows or columns) and words that one transposition handles.
pub const BLOCK: usize = 16;

/// Can this CPU run the functions here?
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Numbers that can be read as bf16, 16 or 32 at a time.
pub trait Element: Copy {
    /// How many bf16 numbers stand for one.
    const PARTS: usize;

    /// The first `n` ≤ 32 numbers at `at` as bf16, or their parts of one kind, zeros behind them.
    ///
    /// # Safety
    /// `at..at + n` is readable; the CPU is [`available`].
    unsafe fn load(at: *const Self, part: usize, n: usize) -> __m512i;
}

impl Element for f32 {
    const PARTS: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn load(at: *const Self, _part: usize, n: usize) -> __m512i {
        // SAFETY: the caller's.
        let [low, high] = unsafe { halves(at, n) };
        rounded(low, high)
    }
}

/// An f32 number as the sum of three bf16 numbers: itself rounded, what that leaves rounded, and
/// what is left then.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct InParts(f32);

impl InParts {
    pub fn of(values: &[f32]) -> &[Self] {
        // SAFETY: the same numbers, transparently.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }
}

impl Element for InParts {
    const PARTS: usize = PARTS;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn load(at: *const Self, part: usize, n: usize) -> __m512i {
        // SAFETY: the caller's.
        let [mut low, mut high] = unsafe { halves(at.cast(), n) };
        for _ in 0..part {
            (low, high) = (left(low), left(high));
        }
        rounded(low, high)
    }
}

/// The first `n` ≤ 32 numbers, zeros behind them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(at: *const f32, n: usize) -> [__m512; 2] {
    // SAFETY: masked lanes are not read.
    unsafe {
        [
            _mm512_maskz_loadu_ps(first(n.min(LANES)), at),
            _mm512_maskz_loadu_ps(first(n.saturating_sub(LANES)), at.wrapping_add(LANES)),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: vectors of the same 64 bytes.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// x − bf16(x), which f32 holds exactly.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn left(x: __m512) -> __m512 {
    // SAFETY: vectors of the same 32 bytes.
    let near: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(x)) };
    _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(near))))
}

impl Element for half::bf16 {
    const PARTS: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn load(at: *const Self, _part: usize, n: usize) -> __m512i {
        let mask = if n >= 32 { u32::MAX } else { (1 << n) - 1 };
        // SAFETY: masked lanes are not read.
        unsafe { _mm512_maskz_loadu_epi16(mask, at.cast()) }
    }
}

fn first(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

/// 16 by 16 words: a vector a line, or a vector a word.
pub type Block = [__m512i; BLOCK];

/// 16 lines of words, each of `n` ≤ 32 numbers from `at + line · stride`. Lines from `lines` on
/// are zeros.
///
/// # Safety
/// Those numbers are readable; the CPU is [`available`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn by_line<T: Element>(at: *const T, part: usize, stride: usize, lines: usize, n: usize) -> Block {
    let mut block = [_mm512_setzero_si512(); BLOCK];
    for (line, words) in block.iter_mut().enumerate().take(lines) {
        // SAFETY: the caller's.
        *words = unsafe { T::load(at.wrapping_add(line * stride), part, n) };
    }
    block
}

/// 16 words of `lines` ≤ 16 lines, each a number at `at + 2 · word · stride + line` and the one
/// `stride` behind it; of the `n` ≤ 32 numbers along the sum those that are not there are zeros.
///
/// # Safety
/// Those numbers are readable; the CPU is [`available`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn by_word<T: Element>(at: *const T, part: usize, stride: usize, lines: usize, n: usize) -> Block {
    // 0 16 1 17 ..: numbers of the first row count from 0, of the second from 32.
    let mut order = [0u16; 32];
    for (i, pair) in order.chunks_exact_mut(2).enumerate() {
        (pair[0], pair[1]) = (i as u16, 32 + i as u16);
    }
    // SAFETY: an array and a vector of the same 64 bytes.
    let order: __m512i = unsafe { std::mem::transmute(order) };
    let mut block = [_mm512_setzero_si512(); BLOCK];
    for (word, both) in block.iter_mut().enumerate().take(n.div_ceil(2)) {
        let row = |i: usize| match i < n {
            // SAFETY: the caller's.
            true => unsafe { T::load(at.wrapping_add(i * stride), part, lines) },
            false => _mm512_setzero_si512(),
        };
        *both = _mm512_permutex2var_epi16(row(2 * word), order, row(2 * word + 1));
    }
    block
}

/// # Safety
/// 16 words are writable; the CPU is [`available`].
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn store(vector: __m512i, at: *mut u32) {
    // SAFETY: the caller's.
    unsafe { _mm512_storeu_si512(at.cast(), vector) }
}

/// Stores the first or the second eight words.
///
/// # Safety
/// They are writable; the CPU is [`available`].
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn store_half(vector: __m512i, half: usize, at: *mut u32) {
    let eight = match half {
        0 => _mm512_extracti64x4_epi64::<0>(vector),
        _ => _mm512_extracti64x4_epi64::<1>(vector),
    };
    // SAFETY: the caller's.
    unsafe { _mm256_storeu_si256(at.cast(), eight) }
}

/// A 16 x 16 block of words, transposed.
///
/// # Safety
/// The CPU is [`available`].
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transposed(rows: Block) -> Block {
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // Now each 128-bit lane holds two words of two rows; then four of four.
    let mut fours = pairs;
    for i in 0..4 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        fours[4 * i] = _mm512_unpacklo_epi64(a, c);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // Lane l of fours[4i + w] holds word 4l + w of rows 4i .. 4i + 4.
    let mut out = rows;
    for w in 0..4 {
        let [a, b, c, d] = [fours[w], fours[4 + w], fours[8 + w], fours[12 + w]];
        let (ab_even, ab_odd) =
            (_mm512_shuffle_i32x4(a, b, 0b10_00_10_00), _mm512_shuffle_i32x4(a, b, 0b11_01_11_01));
        let (cd_even, cd_odd) =
            (_mm512_shuffle_i32x4(c, d, 0b10_00_10_00), _mm512_shuffle_i32x4(c, d, 0b11_01_11_01));
        out[w] = _mm512_shuffle_i32x4(ab_even, cd_even, 0b10_00_10_00);
        out[8 + w] = _mm512_shuffle_i32x4(ab_even, cd_even, 0b11_01_11_01);
        out[4 + w] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0b10_00_10_00);
        out[12 + w] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0b11_01_11_01);
    }
    out
}

/// Rows of a left panel and columns of a right one: 24 vectors of sums, the most that leave room
/// for their factors among 32 registers.
pub const LEFT: usize = 8;
pub const RIGHT: usize = 48;

/// Lanes of a vector of f32.
const LANES: usize = 16;
const VECTORS: usize = RIGHT / LANES;

/// Adds the product of two panels of `words` words to, or stores it as, a tile of the result.
///
/// # Safety
/// The panels hold `words` words; the tile is writable and, to add, readable; the CPU is
/// [`available`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn multiply(words: usize, left: *const u32, right: *const u32, tile: &Tile) {
    let Tile { out, stride, rows, columns, accumulate } = *tile;
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; LEFT];
    for word in 0..words {
        // SAFETY: inside the panels.
        unsafe {
            let right = right.add(word * RIGHT);
            let left = left.add(word * LEFT);
            let b: [__m512bh; VECTORS] =
                std::array::from_fn(|v| std::mem::transmute(_mm512_loadu_si512(right.add(v * LANES).cast())));
            for (row, sums) in sums.iter_mut().enumerate() {
                let a: __m512bh = std::mem::transmute(_mm512_set1_epi32(*left.add(row) as i32));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm512_dpbf16_ps(*sum, a, b);
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(rows) {
        for (v, &sum) in sums.iter().enumerate() {
            let mask = first(columns.saturating_sub(v * LANES));
            let at = out.wrapping_add(row * stride + v * LANES);
            // SAFETY: masked lanes are neither read nor written.
            unsafe {
                let before = if accumulate { _mm512_maskz_loadu_ps(mask, at) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(before, sum));
            }
        }
    }
}
