//! Ctrl-C inside of kernels: where a thread asks whether to stop, and how it stops.
//!
//! Python runs signal handlers on its main thread, between two steps of the interpreter, so a kernel
//! that takes a minute would answer a minute late. [`checkpoint`] lets that thread ask in the middle:
//! the hook, which the binding registers, runs the handlers that are due. What a handler raises
//! becomes the payload of an unwinding, without the noise of a panic: the region's other threads leave
//! at their next checkpoint, buffers are dropped on the way, and whoever called [`interruptible`]
//! catches the payload. Nothing that an op writes to is visible before the op returns; what writes in
//! place runs in [`whole`].

use std::any::Any;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::pool;

/// How long kernels go on before they ask for the first time, and between two questions.
const PERIOD: Duration = Duration::from_millis(20);

/// The longest time between two questions. To ask, the thread needs the interpreter, and where
/// another thread is busy with Python it may wait 5 ms for it: asking less often then keeps the
/// price at a tenth.
const LONGEST: Duration = Duration::from_millis(50);

/// What the unwinding carries.
pub(super) type Payload = Box<dyn Any + Send>;

/// The question: `None` to go on, or the payload to unwind with.
pub type Check = fn() -> Option<Payload>;

static CHECK: OnceLock<Check> = OnceLock::new();

/// Registers the question that [`checkpoint`] asks; the first one registered stays.
pub fn set_interrupt_check(check: Check) {
    let _ = CHECK.set(check);
}

/// The payload in the child when a signal handler, run by a checkpoint, has forked the process: the
/// threads that had tasks of the region do not exist there, so it cannot be finished.
#[derive(Debug)]
pub struct Forked;

/// The payload of threads that leave a region because another one has.
pub(super) struct Aborted;

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State { listening: false, next: None }) };
}

/// What checkpoints on this thread do.
#[derive(Clone, Copy)]
struct State {
    /// Whether they ask.
    listening: bool,
    /// When to ask next; `None` until the first checkpoint, so that short ops never read the clock.
    next: Option<Instant>,
}

fn ask_next(next: Instant) {
    STATE.set(State { next: Some(next), ..STATE.get() });
}

/// Runs `f` with the thread's checkpoints asking, or not, and what was before after it.
fn listening<R>(on: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(State);
    impl Drop for Restore {
        fn drop(&mut self) {
            STATE.set(self.0);
        }
    }
    let _restore = Restore(STATE.replace(State { listening: on, next: None }));
    f()
}

/// Runs `f`, which this thread's checkpoints may end by unwinding; the caller catches it.
pub fn interruptible<R>(f: impl FnOnce() -> R) -> R {
    listening(true, f)
}

/// Runs `f` in one piece: no interrupt ends it half-way, and a fork of the process, from whichever
/// thread, waits for its end. For what writes in place. `f` must not wait for the interpreter: the
/// thread that forks holds it.
pub fn whole<R>(f: impl FnOnce() -> R) -> R {
    let _gate = crate::fork::Gate::enter();
    listening(false, f)
}

/// A place to stop at, for loops of more than a few milliseconds. Regions have one between tasks.
#[inline]
pub fn checkpoint() {
    if STATE.get().listening {
        ask_when_due();
    } else if pool::is_aborted() {
        resume_unwind(Box::new(Aborted));
    }
}

fn ask_when_due() {
    let now = Instant::now();
    match STATE.get().next {
        None => ask_next(now + PERIOD),
        Some(due) if now < due => {}
        Some(_) => ask(now),
    }
}

#[cold]
fn ask(now: Instant) {
    let Some(check) = CHECK.get() else { return ask_next(now + PERIOD) };
    let (in_region, generation) = (pool::is_inside(), crate::fork::generation());
    // The handlers are no kernels: they see the floating-point mode of everybody else.
    let payload = crate::subnormal::kept(check);
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
    if in_region && generation != crate::fork::generation() {
        resume_unwind(Box::new(Forked));
    }
    let after = Instant::now();
    ask_next(after + ((after - now) * 10).clamp(PERIOD, LONGEST));
}

/// Checkpoints for a tight loop: one for every so many steps.
///
/// ```
/// let mut pace = autodan_kernels::par::Pace::default();
/// let mut sum = 0;
/// for i in 0..1_000_000 {
///     pace.step(1);
///     sum += i;
/// }
/// # assert_eq!(sum, 499_999_500_000u64);
/// ```
#[derive(Default)]
pub struct Pace(usize);

impl Pace {
    /// Elementary operations between two checkpoints: 10 us or more, next to some 30 ns for one.
    const STEPS: usize = 1 << 16;

    /// Counts the next `work` elementary operations.
    #[inline(always)]
    pub fn step(&mut self, work: usize) {
        self.0 = self.0.saturating_add(work);
        if self.0 >= Self::STEPS {
            self.0 = 0;
            checkpoint();
        }
    }
}
