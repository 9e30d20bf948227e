//! The kernels, each behind a function that checks every length: `kernels/*.cu` says what they compute.
//!
//! Shapes are those of the sources; tokens are rows of a pack.

mod attention;
mod codes;
mod head;
mod norm;
mod optimiser;
mod pointwise;

pub use attention::{
    HeadShape, Sight, attention_scores, attention_weights, join_heads, regroup, score_stride, split_heads,
};
pub use codes::{Coded, code_biases, code_gradient, code_logps, code_shares, code_terms, exponentials};
pub use head::{head_gradient, head_logps};
pub use norm::{add_columns, rms_norm, rms_norm_backward, rms_norm_weight};
pub use optimiser::{
    Moments, MomentsFormat, Step, adamw, draw, draw_parameter, join_master, split_master, square_blocks,
    square_sum,
};
pub use pointwise::{ByToken, gather, gather_backward, gather_shifted, swiglu, swiglu_backward, to_bf16};

use super::host::HostKernel;
use super::{Device, Element, Numbers, View};
use crate::Result;

/// Threads of a block, in every kernel.
pub const THREADS: usize = 256;

/// The sources, as they stand.
#[cfg(feature = "cuda")]
const SOURCE: &str = concat!(
    include_str!("common.h"),
    include_str!("adamw.cu"),
    include_str!("attention.cu"),
    include_str!("codes.cu"),
    include_str!("head.cu"),
    include_str!("norm.cu"),
    include_str!("pointwise.cu"),
);

/// The sources as one text, for a GPU's compiler, which finds no files.
#[cfg(feature = "cuda")]
pub(super) fn source() -> String {
    SOURCE.replace("#include \"common.h\"", "")
}

macro_rules! kernels {
    ($($variant:ident $host:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kernel { $($variant,)* }

        unsafe extern "C" {
            $(fn $host(arguments: *const std::ffi::c_void, blocks_x: u32, first: u32, end: u32);)*
        }

        impl Kernel {
            #[cfg(feature = "cuda")]
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the sources have it.
            #[cfg(feature = "cuda")]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => &stringify!($host)["lpc_".len()..],)* }
            }

            pub fn on_host(self) -> HostKernel {
                match self { $(Self::$variant => $host,)* }
            }
        }
    };
}

kernels! {
    AddColumns lpc_add_columns,
    AdamW lpc_adamw,
    AttentionScores lpc_attention_scores,
    AttentionWeights lpc_attention_weights,
    CodeBiases lpc_code_biases,
    CodeGradient lpc_code_gradient,
    CodeLogps lpc_code_logps,
    CodeShares lpc_code_shares,
    CodeTerms lpc_code_terms,
    Draw lpc_draw,
    Exponentials lpc_exponentials,
    Gather lpc_gather,
    GatherBackward lpc_gather_backward,
    GatherShifted lpc_gather_shifted,
    HeadGradient lpc_head_gradient,
    HeadLogps lpc_head_logps,
    JoinMaster lpc_join_master,
    Regroup lpc_regroup,
    RmsNorm lpc_rms_norm,
    RmsNormBackward lpc_rms_norm_backward,
    RmsNormWeight lpc_rms_norm_weight,
    SplitOrJoin lpc_split_or_join,
    SplitMaster lpc_split_master,
    SquareSums lpc_square_sums,
    Swiglu lpc_swiglu,
    SwigluBackward lpc_swiglu_backward,
    ToBf16 lpc_to_bf16,
}

/// `struct numbers` of the sources.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawNumbers {
    at: u64,
    is_bf16: u32,
}

/// What a kernel reads and writes, checked as its arguments are made: all of one device, and nothing that is
/// written is anything else that the kernel sees. Blocks run in any order.
struct Launch<'a> {
    device: &'a Device,
    /// Addresses from and to, and whether they are written.
    ranges: Vec<(u64, u64, bool)>,
}

impl<'a> Launch<'a> {
    fn on(device: &'a Device) -> Self {
        Self { device, ranges: vec![] }
    }

    /// The address of a view that must have this many numbers.
    #[track_caller]
    fn read<T: Element>(&mut self, view: View<'_, T>, len: usize) -> u64 {
        self.see(view, len, false)
    }

    #[track_caller]
    fn write<T: Element>(&mut self, view: View<'_, T>, len: usize) -> u64 {
        self.see(view, len, true)
    }

    #[track_caller]
    fn read_numbers(&mut self, numbers: Numbers<'_>, len: usize) -> RawNumbers {
        self.see_numbers(numbers, len, false)
    }

    #[track_caller]
    fn write_numbers(&mut self, numbers: Numbers<'_>, len: usize) -> RawNumbers {
        self.see_numbers(numbers, len, true)
    }

    #[track_caller]
    fn see_numbers(&mut self, numbers: Numbers<'_>, len: usize, written: bool) -> RawNumbers {
        match numbers {
            Numbers::F32(view) => RawNumbers { at: self.see(view, len, written), is_bf16: 0 },
            Numbers::Bf16(view) => RawNumbers { at: self.see(view, len, written), is_bf16: 1 },
        }
    }

    #[track_caller]
    fn see<T: Element>(&mut self, view: View<'_, T>, len: usize, written: bool) -> u64 {
        assert_eq!(view.len(), len, "numbers of an argument");
        assert!(std::ptr::eq(self.device, view.device()), "arguments of one device");
        let (from, to) = (view.address(), view.address() + size_of::<T>() as u64 * len as u64);
        let meets = |&(f, t, w): &(u64, u64, bool)| (written || w) && from < t && f < to;
        assert!(!self.ranges.iter().any(meets), "what is written lies apart");
        self.ranges.push((from, to, written));
        from
    }

    /// # Safety
    /// The arguments are the kernel's, and what it reads and writes was given to `read` and `write`.
    unsafe fn run<A: Sync>(self, kernel: Kernel, grid: [usize; 2], arguments: &A) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.device.launch(kernel, grid, arguments) }
    }
}

#[track_caller]
fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a 32-bit number")
}
