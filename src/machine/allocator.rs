//! The programs' allocator, told what training needs of it.

use libmimalloc_sys::{mi_option_set, mi_option_t, mi_option_use_numa_nodes};
pub use mimalloc::MiMalloc;

/// As a program's allocator, it holds strangers' programs to their limits as well.
pub type Allocator = crate::machine::bounded::Counting<MiMalloc>;

/// The one that a program declares.
pub const ALLOCATOR: Allocator = crate::machine::bounded::Counting(MiMalloc);

/// mimalloc's `mi_option_purge_delay`. The bindings do not name it, only the option after it in `mimalloc.h`.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;

/// Keeps freed memory for the next allocation instead of giving it back to the system. Every training step
/// allocates as much as the last one freed, and the system would clear each page of it again. The process stays
/// as large as it was at its largest.
pub fn keep_freed_memory() {
    // SAFETY: sets a number inside the allocator; -1 means never.
    unsafe { mi_option_set(PURGE_DELAY, -1) }
}

#[cfg(test)]
mod tests {
    use super::PURGE_DELAY;
    use std::process::Command;

    /// mimalloc reads its options from the environment by their names.
    #[test]
    fn the_option_has_the_name_purge_delay() {
        const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";
        if std::env::var(VARIABLE).is_ok_and(|value| value == "4321") {
            // SAFETY: reads a number inside the allocator.
            assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 4321);
            return;
        }
        let name = "machine::allocator::tests::the_option_has_the_name_purge_delay";
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", name]).env(VARIABLE, "4321").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }
}
