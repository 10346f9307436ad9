//! What it costs to hand work to the pool.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::par;

/// Regions that are timed together, since to read the clock costs as much as some.
const BATCH: u32 = 64;

/// How often a task looks for the other one before it goes on alone: less than a millisecond.
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

/// Seconds of a region of two tasks that wait for each other, while the workers are awake: to hand a task to
/// another thread and to know that it is done. `None` where there is one thread, or where the other never
/// came in time.
///
/// ```
/// use std::time::Duration;
/// assert!(autodan_kernels::machine::handoff(Duration::from_millis(1)).is_none_or(|time| time > 0.0));
/// ```
pub fn handoff(time: Duration) -> Option<f64> {
    if par::threads() == 1 {
        return None;
    }
    let (meetings, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let typical = median(time, || {
        let arrived = AtomicUsize::new(0);
        par::for_each(2, |_| {
            arrived.fetch_add(1, Ordering::Relaxed);
            let met = (0..PATIENCE).any(|_| {
                spin_loop();
                arrived.load(Ordering::Relaxed) == 2
            });
            if met { &meetings } else { &missed }.fetch_add(1, Ordering::Relaxed);
        });
    });
    // Where most fail, the median is that of failures.
    (meetings.into_inner() > 4 * missed.into_inner()).then_some(typical)
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
