//! How many threads the libraries use.

/// candle, gemm and rayon use this many threads, when they are first asked. To be called before anything
/// else runs.
///
/// Panics: on Linux, if the process has a second thread already: changing the environment then is unsound.
pub fn set(count: usize) {
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        assert_eq!(threads.count(), 1, "threads are set before any other is started");
    }
    // SAFETY: the process has a single thread.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", count.to_string()) };
}
