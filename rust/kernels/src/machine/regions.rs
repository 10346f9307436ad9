//! What it costs to hand work to the pool.

use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::par;

/// Regions that are timed together, since to read the clock costs as much as some.
const BATCH: u32 = 64;

/// How often a task looks for the other one before it goes on alone: a millisecond at most.
const PATIENCE: usize = 1 << 13;

/// Seconds of a region of two empty tasks, while the workers are awake.
///
/// ```
/// use std::time::Duration;
/// assert!(autodan_kernels::machine::region(Duration::from_millis(1)) > 0.0);
/// ```
pub fn region(time: Duration) -> f64 {
    median(time, || {
        par::for_each(2, |task| {
            black_box(task);
        });
    })
}

/// Runs a region of two tasks that wait for each other, and says whether they met: not where there is one
/// thread, or where no other came in time.
///
/// ```
/// let met = autodan_kernels::machine::meet();
/// assert!(!met || autodan_kernels::par::threads() > 1);
/// ```
pub fn meet() -> bool {
    if par::threads() == 1 {
        return false;
    }
    let (arrived, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
    par::for_each(2, |_| {
        arrived.fetch_add(1, Ordering::Relaxed);
        let is_there = (0..PATIENCE).any(|_| {
            spin_loop();
            arrived.load(Ordering::Relaxed) == 2
        });
        met.fetch_add(usize::from(is_there), Ordering::Relaxed);
    });
    // One that gave up before the other came is alone with it.
    met.into_inner() == 2
}

/// Seconds of a region of two tasks that wait for each other, while the workers are awake: to hand a task to
/// another thread and to know that it is done. `None` where they hardly ever [`meet`].
///
/// ```
/// use std::time::Duration;
/// assert!(autodan_kernels::machine::handoff(Duration::from_millis(1)).is_none_or(|time| time > 0.0));
/// ```
pub fn handoff(time: Duration) -> Option<f64> {
    if par::threads() == 1 {
        return None;
    }
    let (met, missed) = (Cell::new(0), Cell::new(0));
    let typical = median(time, || {
        let count = if meet() { &met } else { &missed };
        count.set(count.get() + 1);
    });
    // Where many fail, the median may be that of failures.
    (met.get() > 4 * missed.get()).then_some(typical)
}

/// The median time of `f`, run in batches for `time`.
fn median(time: Duration, f: impl Fn()) -> f64 {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || begin.elapsed() < time {
        par::checkpoint();
        let start = Instant::now();
        for _ in 0..BATCH {
            f();
        }
        times.push(start.elapsed().as_secs_f64() / f64::from(BATCH));
    }
    times.sort_by(f64::total_cmp);
    // A clock may be too coarse to see a batch.
    times[times.len() / 2].max(1e-12)
}
