use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::*;
use crate::element::Float;
use crate::isa::Kernel;
use crate::simd::Vector;

#[test]
fn every_task_runs_once_at_any_thread_count() {
    for threads in [1, 2, 3, 8] {
        set_threads(threads);
        for round in 0..200 {
            let counts: Vec<AtomicUsize> = (0..round).map(|_| AtomicUsize::new(0)).collect();
            for_each(round, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }
    set_threads(available());
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_survives() {
    let result = catch_unwind(|| for_each(100, |i| assert!(i != 57, "task 57")));
    assert!(result.is_err());
    let sum = AtomicUsize::new(0);
    for_each(100, |i| {
        sum.fetch_add(i, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 4950);
}

#[test]
fn nested_regions_run_inline() {
    let count = AtomicUsize::new(0);
    for_each(8, |_| {
        for_each(8, |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    });
    assert_eq!(count.into_inner(), 64);
}

#[test]
fn chunks_cover_the_output() {
    let mut out = vec![0i64; 100_003];
    for_each_chunk(&mut out, 1000, |start, chunk| {
        chunk.iter_mut().enumerate().for_each(|(i, x)| *x = (start + i) as i64);
    });
    assert!(out.iter().enumerate().all(|(i, &x)| x == i as i64));
}

/// Runs `f` so that the checkpoints of this thread ask at once, and unwind with a `Stop` when told to.
fn stopping<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
    set_interrupt_check(|| STOP.with(Cell::take).then(|| Box::new(Stop) as Box<dyn Any + Send>));
    catch_unwind(AssertUnwindSafe(|| interruptible(f)))
}

struct Stop;

thread_local! {
    static STOP: Cell<bool> = const { Cell::new(false) };
}

fn busy(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn an_interrupt_ends_a_region_and_the_pool_survives() {
    for threads in [1, 2, 8] {
        set_threads(threads);
        let (started, running) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let result = stopping(|| {
            STOP.set(true);
            for_each(10_000, |_| {
                started.fetch_add(1, Ordering::Relaxed);
                running.fetch_add(1, Ordering::Relaxed);
                busy(Duration::from_millis(1));
                running.fetch_sub(1, Ordering::Relaxed);
            });
        });
        assert!(result.unwrap_err().is::<Stop>());
        assert_eq!(running.into_inner(), 0, "a thread is still inside");
        assert!(started.into_inner() < 5_000);
        let sum = AtomicUsize::new(0);
        for_each(100, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
    set_threads(available());
}

#[test]
fn an_interrupt_ends_a_long_task_and_those_of_the_other_threads() {
    set_threads(2);
    let result = stopping(|| {
        STOP.set(true);
        // Neither task ends by itself, so both threads must leave at a checkpoint.
        for_each(2, |_| {
            let mut pace = Pace::default();
            loop {
                busy(Duration::from_micros(100));
                pace.step(1 << 16);
            }
        });
    });
    assert!(result.unwrap_err().is::<Stop>());
    set_threads(available());
}

#[test]
fn what_runs_whole_is_not_interrupted() {
    let count = AtomicUsize::new(0);
    let result = stopping(|| {
        STOP.set(true);
        whole(|| {
            for_each(30, |_| {
                busy(Duration::from_millis(2));
                count.fetch_add(1, Ordering::Relaxed);
            })
        });
    });
    assert!(result.is_ok() && STOP.take());
    assert_eq!(count.into_inner(), 30);
}

#[test]
fn only_threads_that_ask_are_interrupted() {
    STOP.set(true);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        checkpoint();
    }
    assert!(STOP.take());
}

#[test]
fn a_panic_ends_the_long_tasks_of_other_threads() {
    set_threads(2);
    let failed = AtomicUsize::new(0);
    let result = catch_unwind(|| {
        for_each(2, |i| {
            // Whoever comes second, if it comes at all, waits for the failure of the first.
            if failed.fetch_add(1, Ordering::Relaxed) == 1 {
                panic!("task {i}");
            }
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(5) && failed.load(Ordering::Relaxed) == 1 {
                std::hint::spin_loop();
            }
            if failed.load(Ordering::Relaxed) == 2 {
                loop {
                    checkpoint();
                }
            }
        });
    });
    let payload = result.unwrap_err();
    assert!(payload.downcast_ref::<String>().is_some_and(|text| text.starts_with("task")));
    set_threads(available());
}

#[test]
fn an_interrupted_kernel_restores_the_floating_point_mode() {
    struct Endless;
    impl Kernel<f32> for Endless {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector<Scalar = f32>>(self) {
            loop {
                checkpoint();
            }
        }
    }
    let result = stopping(|| {
        STOP.set(true);
        f32::dispatch(Endless);
    });
    assert!(result.unwrap_err().is::<Stop>());
    assert!(std::hint::black_box(f32::MIN_POSITIVE) * 0.5 > 0.0);
}
