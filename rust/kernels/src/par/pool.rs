//! The pool of workers, and regions on it.

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::interrupt::{Payload, checkpoint};
use super::{available, threads};

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(150);

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

/// The most parts that a region's tasks are divided into, for as many threads to begin with: each its own,
/// before it helps with the others'. So in region after region a thread meets what it wrote in the last one
/// in its own cache, and not in its neighbour's.
const PARTS: usize = 16;

/// A counter that shares its cache line with no other.
#[repr(align(128))]
struct Next(AtomicUsize);

pub(super) struct Pool {
    workers: usize,
    /// One region at a time. Taken with acquire and given with release, so that a region's owner
    /// sees all that the one before wrote.
    busy: AtomicBool,
    gate: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    /// The next task to claim of each part of the tasks. Relaxed: a claim orders nothing, what tasks
    /// write is published by the gate.
    next: [Next; PARTS],
    /// The payload with which the region ends, the first one that came.
    failure: Mutex<Option<Payload>>,
    /// That there is one: threads inside leave at their next checkpoint. Relaxed: a hint, the payload
    /// itself is behind the mutex.
    aborted: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

// SAFETY: `job` is written by the owner of `busy` while the gate is closed and nobody is inside, and
// read only by threads that are inside; the gate's acquire/release order makes the write visible.
unsafe impl Sync for Pool {}

thread_local! {
    /// The pool that this thread works for: set on workers, and on a caller inside a region. A nested
    /// region runs inline.
    static REGION: Cell<Option<&'static Pool>> = const { Cell::new(None) };
}

/// The current pool; null before first use and after a fork. A pool that is replaced is leaked (a
/// few hundred bytes): another thread may still be looking at it.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
static BUILD: AtomicBool = AtomicBool::new(false);

/// Whether this thread is at work on a region.
pub(super) fn is_inside() -> bool {
    REGION.get().is_some()
}

/// Whether the region that this thread works on has failed.
pub(super) fn is_aborted() -> bool {
    REGION.get().is_some_and(|pool| pool.aborted.load(Ordering::Relaxed))
}

/// Dismisses the pool; its workers leave when they next look for work.
pub(super) fn retire() {
    let old = POOL.swap(std::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: pools are leaked, so a non-null pointer stays valid for ever.
    if let Some(old) = unsafe { old.as_ref() } {
        old.stop.store(true, Ordering::Release);
        let _guard = old.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        old.wake.notify_all();
    }
}

/// Forgets the pool, whose workers did not survive the fork. Called in the child only. The locks of
/// the old pool may be held by threads that are gone; nobody takes them again.
pub(crate) fn abandon() {
    POOL.store(std::ptr::null_mut(), Ordering::Release);
    BUILD.store(false, Ordering::Release);
    REGION.set(None);
}

/// The pool, if it is free: the caller then holds `busy` and has to open a region.
pub(super) fn take() -> Option<&'static Pool> {
    pool().filter(|pool| !pool.busy.swap(true, Ordering::Acquire))
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
        next: [const { Next(AtomicUsize::new(0)) }; PARTS],
        failure: Mutex::new(None),
        aborted: AtomicBool::new(false),
        sleepers: AtomicUsize::new(0),
        sleep: Mutex::new(()),
        wake: Condvar::new(),
        stop: AtomicBool::new(false),
    }));
    without_signals(|| {
        for index in 0..workers {
            // A worker that cannot be started (a thread limit) only costs speed.
            let _ = std::thread::Builder::new()
                .name(format!("autodan-{index}"))
                .stack_size(2 << 20)
                .spawn(move || worker(pool, index + 1));
        }
    });
    POOL.store(std::ptr::from_ref(pool).cast_mut(), Ordering::Release);
    BUILD.store(false, Ordering::Release);
    Some(pool)
}

/// Runs `f` with signals blocked on this thread, which the threads that it starts inherit: signals
/// are for the threads of the program. Those that a thread causes itself stay, for whoever reports
/// crashes.
#[cfg(unix)]
fn without_signals(f: impl FnOnce()) {
    let own = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP];
    // SAFETY: both sets are plain data that the calls fill in, and the mask is this thread's own.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        for signal in own {
            libc::sigdelset(&mut all, signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        f();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
    }
}

#[cfg(not(unix))]
fn without_signals(f: impl FnOnce()) {
    f();
}

impl Pool {
    /// Runs all tasks. The caller holds `busy`, which this gives back.
    pub(super) fn region<F: Fn(usize) + Sync>(&'static self, tasks: usize, f: &F) {
        /// # Safety
        /// `data` points to a live `F`.
        unsafe fn call<F: Fn(usize) + Sync>(data: *const (), index: usize) {
            // SAFETY: promised by the caller.
            unsafe { (*data.cast::<F>())(index) }
        }
        let job = Job { data: std::ptr::from_ref(f).cast(), call: call::<F>, tasks };
        // SAFETY: `busy` is held and the gate is closed with nobody inside, so nobody reads.
        unsafe { *self.job.get() = Some(job) };
        for part in 0..self.parts(tasks) {
            self.next[part].0.store(self.first(part, tasks), Ordering::Relaxed);
        }
        self.aborted.store(false, Ordering::Relaxed);
        let epoch = self.gate.load(Ordering::Relaxed) & !(EPOCH - 1);
        // Releases the writes above to those who enter. Sequentially consistent, as are the sleepers'
        // count and their look at the gate: either they see it open or this thread sees them.
        self.gate.store((epoch + EPOCH) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
        let generation = crate::fork::generation();
        REGION.set(Some(self));
        let result = self.work(job, 0);
        REGION.set(None);
        if generation != crate::fork::generation() {
            // A signal handler has forked, and this is the child: those inside do not exist here.
            resume_unwind(result.err().unwrap_or_else(|| Box::new(super::Forked)));
        }
        if let Err(payload) = result {
            self.fail(payload);
        }
        self.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        // Acquires what the workers wrote before they left.
        while self.gate.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < 10_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let failure = match self.aborted.load(Ordering::Relaxed) {
            true => self.failure.lock().unwrap_or_else(PoisonError::into_inner).take(),
            false => None,
        };
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = failure {
            resume_unwind(payload);
        }
    }

    /// Claims tasks until none are left, or one unwinds; those of part `own` first. The caller is the
    /// region's owner or inside its gate, so the closure behind `job` is alive.
    fn work(&self, job: Job, own: usize) -> Result<(), Payload> {
        catch_unwind(AssertUnwindSafe(|| {
            let parts = self.parts(job.tasks);
            for part in (0..parts).map(|i| (own + i) % parts) {
                let end = self.first(part + 1, job.tasks);
                loop {
                    let index = self.next[part].0.fetch_add(1, Ordering::Relaxed);
                    if index >= end {
                        break;
                    }
                    checkpoint();
                    // SAFETY: see above: the region cannot end while this thread is inside it.
                    unsafe { (job.call)(job.data, index) };
                }
            }
        }))
    }

    /// How many parts so many tasks have.
    fn parts(&self, tasks: usize) -> usize {
        PARTS.min(self.workers + 1).min(tasks)
    }

    /// The first task of a part.
    fn first(&self, part: usize, tasks: usize) -> usize {
        let parts = self.parts(tasks);
        tasks / parts * part + (tasks % parts).min(part)
    }

    /// Ends the region: nobody starts another task, and its owner unwinds with the first payload.
    fn fail(&self, payload: Payload) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        self.aborted.store(true, Ordering::Relaxed);
        for next in &self.next {
            next.0.store(usize::MAX / 2, Ordering::Relaxed);
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

fn worker(pool: &'static Pool, index: usize) {
    REGION.set(Some(pool));
    let mut seen = 0;
    while let Some(mut gate) = pool.wait(seen) {
        seen = gate & !(EPOCH - 1);
        // Enter, unless the region has closed meanwhile.
        while gate & OPEN != 0 && gate & !(EPOCH - 1) == seen {
            // Acquires the job; leaving releases what the tasks wrote.
            match pool.gate.compare_exchange_weak(gate, gate + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: inside the gate, the job is set and nobody writes it.
                    if let Some(job) = unsafe { *pool.job.get() }
                        && let Err(payload) = pool.work(job, index)
                    {
                        pool.fail(payload);
                    }
                    pool.gate.fetch_sub(1, Ordering::AcqRel);
                    break;
                }
                Err(now) => gate = now,
            }
        }
    }
}
