//! The programs' allocator, told what training needs of it.

pub use mimalloc::MiMalloc;

/// As a program's allocator, it holds strangers' programs to their limits as well.
pub type Allocator = crate::bounded::Counting<MiMalloc>;

/// The one that a program declares.
pub const ALLOCATOR: Allocator = crate::bounded::Counting(MiMalloc);

/// mimalloc's `mi_option_purge_delay`, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed memory for the next allocation instead of giving it back to the system, which
/// would hand it out again page by page, each cleared: every training step allocates what the last
/// one freed. The process stays as large as it once was.
pub fn keep_freed_memory() {
    // SAFETY: sets a number inside the allocator; -1 means never.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
