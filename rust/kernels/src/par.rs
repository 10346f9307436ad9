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

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::buffer::AllocError;
use crate::element::Element;
use crate::out::Out;

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(150);

/// Elements per task of an elementwise pass: large against the cost of a hand-off, small enough to
/// balance, and a multiple of every vector length.
pub const GRAIN: usize = 16 * 1024;

/// The work of a region: a borrowed closure, its type erased.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
    tasks: usize,
}

/// `gate` holds the region's number, whether it is open, and how many workers are inside.
const OPEN: u64 = 1 << 15;
const INSIDE: u64 = OPEN - 1;
const EPOCH: u64 = 1 << 16;

struct Pool {
    workers: usize,
    /// One region at a time.
    busy: AtomicBool,
    gate: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

// SAFETY: `job` is written by the owner of `busy` while the gate is closed and nobody is inside, and
// read only by threads that are inside; the gate's acquire/release order makes the write visible.
unsafe impl Sync for Pool {}

thread_local! {
    /// Set on workers, and on a caller inside a region: a nested region runs inline.
    static IN_REGION: Cell<bool> = const { Cell::new(false) };
}

/// The current pool; null before first use and after a fork. A pool that is replaced is leaked (a
/// few hundred bytes): another thread may still be looking at it.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
static BUILD: AtomicBool = AtomicBool::new(false);
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
    let old = POOL.swap(std::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: pools are leaked, so a non-null pointer stays valid for ever.
    if let Some(old) = unsafe { old.as_ref() } {
        old.stop.store(true, Ordering::Release);
        let _guard = old.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        old.wake.notify_all();
    }
}

/// Forgets the pool, whose workers did not survive the fork. Called in the child only.
pub(crate) fn abandon() {
    POOL.store(std::ptr::null_mut(), Ordering::Release);
    BUILD.store(false, Ordering::Release);
    IN_REGION.with(|inside| inside.set(false));
}

fn pool() -> Option<&'static Pool> {
    let current = POOL.load(Ordering::Acquire);
    // SAFETY: pools are leaked, so a non-null pointer stays valid for ever.
    if let Some(pool) = unsafe { current.as_ref() } {
        return Some(pool);
    }
    crate::fork::register();
    // Whoever comes while the pool is being built runs its region alone.
    if BUILD.swap(true, Ordering::AcqRel) {
        return None;
    }
    let workers = threads() - 1;
    let pool: &'static Pool = Box::leak(Box::new(Pool {
        workers,
        busy: AtomicBool::new(false),
        gate: AtomicU64::new(0),
        job: UnsafeCell::new(None),
        next: AtomicUsize::new(0),
        panic: Mutex::new(None),
        sleepers: AtomicUsize::new(0),
        sleep: Mutex::new(()),
        wake: Condvar::new(),
        stop: AtomicBool::new(false),
    }));
    for index in 0..workers {
        // A worker that cannot be started (a thread limit) only costs speed.
        let _ = std::thread::Builder::new()
            .name(format!("autodan-{index}"))
            .stack_size(2 << 20)
            .spawn(move || worker(pool));
    }
    POOL.store(std::ptr::from_ref(pool).cast_mut(), Ordering::Release);
    BUILD.store(false, Ordering::Release);
    Some(pool)
}

/// Runs `f(0), ..., f(tasks - 1)`, each once, on all threads, and returns when all are done.
///
/// # Panics
/// With the first panic of a task, after all threads have left the region.
pub fn for_each<F: Fn(usize) + Sync>(tasks: usize, f: F) {
    if tasks <= 1 || threads() == 1 || IN_REGION.with(Cell::get) {
        return (0..tasks).for_each(f);
    }
    match pool() {
        Some(pool) if !pool.busy.swap(true, Ordering::Acquire) => pool.region(tasks, &f),
        _ => (0..tasks).for_each(f),
    }
}

impl Pool {
    /// The caller holds `busy`.
    fn region<F: Fn(usize) + Sync>(&self, tasks: usize, f: &F) {
        /// # Safety
        /// `data` points to a live `F`.
        unsafe fn call<F: Fn(usize) + Sync>(data: *const (), index: usize) {
            // SAFETY: promised by the caller.
            unsafe { (*data.cast::<F>())(index) }
        }
        let job = Job { data: std::ptr::from_ref(f).cast(), call: call::<F>, tasks };
        // SAFETY: `busy` is held and the gate is closed with nobody inside, so nobody reads.
        unsafe { *self.job.get() = Some(job) };
        self.next.store(0, Ordering::Relaxed);
        let epoch = self.gate.load(Ordering::Relaxed) & !(EPOCH - 1);
        self.gate.store((epoch + EPOCH) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
        IN_REGION.with(|inside| inside.set(true));
        self.work(job);
        IN_REGION.with(|inside| inside.set(false));
        self.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.gate.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < 10_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Claims tasks until none are left. The caller is the region's owner or inside its gate, so
    /// the closure behind `job` is alive.
    fn work(&self, job: Job) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= job.tasks {
                    return;
                }
                // SAFETY: see above: the region cannot end while this thread is inside it.
                unsafe { (job.call)(job.data, index) };
            }
        }));
        if let Err(payload) = result {
            // Nobody starts another task of a region that has failed.
            self.next.store(job.tasks, Ordering::Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
    }

    /// Waits until a region newer than `seen` is open; returns its gate value, or `None` to stop.
    fn wait(&self, seen: u64) -> Option<u64> {
        let is_new = |gate: u64| gate & OPEN != 0 && gate & !(EPOCH - 1) != seen;
        // More threads than cores: spinning would take the core from who has work.
        if self.workers < available_cached() {
            let start = Instant::now();
            while start.elapsed() < SPIN {
                for _ in 0..64 {
                    let gate = self.gate.load(Ordering::Acquire);
                    if is_new(gate) {
                        return Some(gate);
                    }
                    std::hint::spin_loop();
                }
                if self.stop.load(Ordering::Relaxed) {
                    return None;
                }
            }
        }
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            let gate = self.gate.load(Ordering::SeqCst);
            if is_new(gate) {
                break Some(gate);
            }
            if self.stop.load(Ordering::Acquire) {
                break None;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        found
    }
}

fn available_cached() -> usize {
    static CORES: AtomicUsize = AtomicUsize::new(0);
    match CORES.load(Ordering::Relaxed) {
        0 => {
            let cores = available();
            CORES.store(cores, Ordering::Relaxed);
            cores
        }
        cores => cores,
    }
}

fn worker(pool: &'static Pool) {
    IN_REGION.with(|inside| inside.set(true));
    let mut seen = 0;
    while let Some(mut gate) = pool.wait(seen) {
        seen = gate & !(EPOCH - 1);
        // Enter, unless the region has closed meanwhile.
        while gate & OPEN != 0 && gate & !(EPOCH - 1) == seen {
            match pool.gate.compare_exchange_weak(gate, gate + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: inside the gate, the job is set and nobody writes it.
                    if let Some(job) = unsafe { *pool.job.get() } {
                        pool.work(job);
                    }
                    pool.gate.fetch_sub(1, Ordering::AcqRel);
                    break;
                }
                Err(now) => gate = now,
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
