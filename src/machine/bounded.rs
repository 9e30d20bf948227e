//! Strangers' programs under limits: a thread of its own with a large stack, and an allocator that
//! counts what that thread holds.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A small allocation counts for this many bytes. Values that hold each other go as deep as there are
/// allocations, and reading or freeing them takes a call for each level: so the bytes bound the stack, too.
const SMALLEST: usize = 512;

/// What a piece of work may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that it may hold at a time, of those that it allocated itself. They are counted where
    /// [`Counting`] is the program's allocator.
    pub bytes: usize,
    /// Bytes of its stack: 2 KiB for each [`SMALLEST`] of `bytes` is enough for values of any depth.
    pub stack: usize,
    pub time: Duration,
}

/// The limit that a piece of work did not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// More than this many bytes at a time.
    Bytes(usize),
    Time(Duration),
    /// The system gives no thread with such a stack.
    NoThread(usize),
}

impl Display for Exceeded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "more than {} MiB of memory", bytes >> 20),
            Self::Time(time) => write!(f, "more than {} s", time.as_secs()),
            Self::NoThread(stack) => {
                write!(f, "a thread with a stack of {} MiB, which the system refuses", stack >> 20)
            }
        }
    }
}

/// Shared by the one who waits and the one who works.
struct Watch {
    over: AtomicBool,
    bytes: usize,
    waiting: Thread,
}

thread_local! {
    /// Of the thread that works under a limit; null elsewhere.
    static WATCH: Cell<*const Watch> = const { Cell::new(std::ptr::null()) };
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, its thread is counted; a panic ends that, too, before the watch is dropped.
struct Counted<'a>(std::marker::PhantomData<&'a Watch>);

impl<'a> Counted<'a> {
    fn under(watch: &'a Arc<Watch>) -> Self {
        WATCH.set(Arc::as_ptr(watch));
        Self(std::marker::PhantomData)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        WATCH.set(std::ptr::null());
    }
}

/// Runs `work` on a thread of its own. Work that goes over a limit is left where it stands, with what it
/// holds: a thread cannot be ended from outside, so a program should not go on for long after it.
///
/// # Errors
/// A limit was exceeded.
///
/// # Panics
/// If `work` does.
///
/// ```
/// use lpc::machine::bounded::{Exceeded, Limits, run};
/// use std::time::Duration;
/// let limits = Limits { bytes: 1 << 20, stack: 4 << 20, time: Duration::from_secs(1) };
/// assert_eq!(run(limits, || 6 * 7), Ok(42));
/// let endless = run(limits, || loop { std::thread::sleep(Duration::MAX) });
/// assert_eq!(endless, Err::<(), _>(Exceeded::Time(limits.time)));
/// ```
pub fn run<T: Send + 'static>(
    limits: Limits,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Exceeded> {
    let watch = Arc::new(Watch { over: false.into(), bytes: limits.bytes, waiting: thread::current() });
    let result = Arc::new(Mutex::new(None));
    let (inside, out) = (watch.clone(), result.clone());
    let body = move || {
        let counted = Counted::under(&inside);
        let value = work();
        drop(counted);
        *out.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        inside.waiting.unpark();
    };
    let thread = thread::Builder::new().stack_size(limits.stack).spawn(body);
    let thread = thread.map_err(|_| Exceeded::NoThread(limits.stack))?;
    let end = Instant::now() + limits.time;
    loop {
        if let Some(value) = result.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(value);
        }
        if watch.over.load(Ordering::Acquire) {
            return Err(Exceeded::Bytes(limits.bytes));
        }
        if thread.is_finished() {
            // The value may have come since the look at it.
            if result.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                unreachable!("a thread without a value panicked");
            }
            continue;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Exceeded::Time(limits.time));
        }
        // A thread that panics wakes nobody.
        thread::park_timeout(left.min(Duration::from_millis(50)));
    }
}

/// An allocator that counts for the threads of [`run`] and otherwise is the one inside.
pub struct Counting<A>(pub A);

impl<A> Counting<A> {
    fn grows(by: usize) {
        let _ = WATCH.try_with(|watch| {
            // SAFETY: set by `Counted`, which borrows it from an `Arc` for as long as it is set.
            let Some(watch) = (unsafe { watch.get().as_ref() }) else { return };
            let held = HELD.get().saturating_add(by.max(SMALLEST));
            HELD.set(held);
            if held > watch.bytes {
                watch.over.store(true, Ordering::Release);
                watch.waiting.unpark();
                // An allocator may not panic, and a null pointer ends the program.
                loop {
                    thread::sleep(Duration::MAX);
                }
            }
        });
    }

    fn shrinks(by: usize) {
        // What others allocated may be freed here: never below nothing.
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(by.max(SMALLEST))));
    }
}

// SAFETY: every call goes to the allocator inside unchanged, or does not return.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grows(layout.size());
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::grows(layout.size());
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while one is copied into the other.
        Self::grows(size);
        let new = unsafe { self.0.realloc(pointer, layout, size) };
        Self::shrinks(if new.is_null() { size } else { layout.size() });
        new
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { self.0.dealloc(pointer, layout) }
        Self::shrinks(layout.size());
    }
}
