//! The thread pool: tasks by index, claimed by whoever is free.
//!
//! A region is the caller plus `threads() - 1` workers running `f(0), f(1), ..., f(tasks - 1)`. The
//! number of tasks and what each does are functions of the problem's shape, so results have the same
//! bits at any thread count. Workers spin for a moment after a region, because the next one is
//! usually microseconds away (a spinning hand-off costs under 1 us, waking a sleeper 5 to 50), then
//! sleep.
//!
//! Regions never wait for a sleeper: a worker *enters* the open region, and the caller, when no
//! tasks are left, closes it and waits only for those inside. So a region makes progress with no
//! workers at all, and one that is nested, or started while another thread's region runs, simply
//! runs on the calling thread.
//!
//! A region ends early when a task panics or when the thread that called it is interrupted (see
//! [`checkpoint`]): no further task starts, those that run finish or stop at a checkpoint of their own,
//! and when all threads have left, the caller unwinds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::buffer::AllocError;
use crate::element::Element;
use crate::out::Out;

mod interrupt;
mod pool;
#[cfg(test)]
mod tests;

pub use interrupt::{Check, Forked, Pace, checkpoint, interruptible, set_interrupt_check, whole};
pub(crate) use pool::abandon;

/// Elements per task of an elementwise pass: large against the cost of a hand-off, small enough to
/// balance, and a multiple of every vector length.
pub const GRAIN: usize = 16 * 1024;

/// The number of threads asked for; 0 means the default.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The cores that this process may use: affinity and the control group's quota, rounded up.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The number of threads that a region uses, the caller included.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let threads = std::env::var("AUTODAN_NUM_THREADS")
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .filter(|&n| (1..=MAX_THREADS).contains(&n))
                .unwrap_or_else(|| available().min(MAX_THREADS));
            // A concurrent `set_threads` wins.
            let _ = THREADS.compare_exchange(0, threads, Ordering::Relaxed, Ordering::Relaxed);
            THREADS.load(Ordering::Relaxed)
        }
        n => n,
    }
}

/// The most threads that a region can use.
pub const MAX_THREADS: usize = 1024;

/// Sets the number of threads of later regions (1 to [`MAX_THREADS`], clamped).
pub fn set_threads(n: usize) {
    THREADS.store(n.clamp(1, MAX_THREADS), Ordering::Relaxed);
    pool::retire();
}

/// Runs `f(0), ..., f(tasks - 1)`, each once, on all threads, and returns when all are done.
///
/// # Panics
/// With the first panic of a task, after all threads have left the region.
pub fn for_each<F: Fn(usize) + Sync>(tasks: usize, f: F) {
    if tasks <= 1 {
        return (0..tasks).for_each(f);
    }
    let pool = if threads() == 1 || pool::is_inside() { None } else { pool::take() };
    match pool {
        Some(pool) => pool.region(tasks, &f),
        None => (0..tasks).for_each(|task| {
            checkpoint();
            f(task);
        }),
    }
}

/// Runs `f(start, chunk)` over `out` cut into chunks of `grain` elements (the last may be shorter);
/// `start` is the chunk's first index.
pub fn for_each_chunk<T: Element, F: Fn(usize, &mut [T]) + Sync>(out: &mut [T], grain: usize, f: F) {
    let len = out.len();
    let grain = grain.max(1);
    if len <= grain {
        if len > 0 {
            f(0, out);
        }
        return;
    }
    let out = Out::new(out);
    for_each(len.div_ceil(grain), |task| {
        let start = task * grain;
        // SAFETY: chunks of different tasks do not overlap, and each task runs once.
        let chunk = unsafe { out.slice(start..(start + grain).min(len)) };
        f(start, chunk);
    });
}

/// [`for_each`] for tasks that need scratch memory: the first error that a task met, if any. All
/// tasks run, so an output is only meaningful when the answer is `Ok`.
///
/// # Errors
/// With the error of a task that failed.
pub fn try_for_each<F>(tasks: usize, f: F) -> Result<(), AllocError>
where
    F: Fn(usize) -> Result<(), AllocError> + Sync,
{
    let failed = Mutex::new(None);
    for_each(tasks, |task| {
        if let Err(error) = f(task) {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
