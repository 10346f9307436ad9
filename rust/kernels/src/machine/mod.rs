//! What this machine can do at most: the figures that kernels are held to.
//!
//! [`peak`] is the rate of multiply-adds on registers, [`read`], [`triad`] and [`update`] those of
//! moving memory of a given size, [`region`] and [`handoff`] what the pool asks for. All use the active instruction set and
//! all [`crate::par::threads`]. Rates are the best of several runs, since whatever disturbs a run makes it
//! slower; times are medians.

mod bandwidth;
mod peak;
mod regions;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use bandwidth::{read, triad, update};
pub use peak::peak;
pub use regions::{handoff, meet, region};

/// Runs that a figure is the best of, at least.
const RUNS: usize = 3;

/// The best rate, per second, of runs of `work` over `time`.
fn best(time: Duration, work: f64, mut run: impl FnMut()) -> f64 {
    let (begin, mut runs, mut shortest) = (Instant::now(), 0, f64::INFINITY);
    while runs < RUNS || begin.elapsed() < time {
        let start = Instant::now();
        run();
        // A clock may be too coarse to see a run.
        shortest = start.elapsed().as_secs_f64().max(1e-9).min(shortest);
        runs += 1;
    }
    work / shortest
}
