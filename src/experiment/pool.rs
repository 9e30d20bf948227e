//! Independent work on several threads, each with its own pool: a run never shares a thread,
//! so its numbers do not depend on what runs beside it.

use crate::{Error, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Applies `work` to every item, `workers` at a time, `threads_each` threads a worker. Results
/// are in the items' order. After the first error no new item is begun; the error is returned.
pub(super) fn parallel<I: Sync, T: Send>(
    items: &[I],
    workers: usize,
    threads_each: usize,
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<T>)>> = Mutex::new(vec![]);
    let worker = || {
        while !failed.load(Ordering::SeqCst) {
            let i = next.fetch_add(1, Ordering::SeqCst);
            let Some(item) = items.get(i) else { return };
            let result = work(item);
            failed.fetch_or(result.is_err(), Ordering::SeqCst);
            results.lock().unwrap_or_else(|e| e.into_inner()).push((i, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| match rayon::ThreadPoolBuilder::new().num_threads(threads_each).build() {
                Ok(pool) => pool.install(worker),
                Err(e) => {
                    failed.store(true, Ordering::SeqCst);
                    let error = Error::argument("thread pool", "threads", threads_each, e.to_string());
                    results.lock().unwrap_or_else(|e| e.into_inner()).push((usize::MAX, Err(error)));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}
