//! What happens to the engine when the process forks.
//!
//! The child has a copy of all memory but only the forking thread. So the fork waits until no thread
//! writes in place (a `Gate`), with which no variable is torn in the child, and no lock around one
//! held for ever; the arena's lock is held across the fork, so that its lists are whole; and the thread
//! pool, whose workers do not exist in the child, is abandoned and built anew on first use.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many forks lie between this process and the one that loaded the engine.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Threads behind a gate, and forks under way.
static BEHIND: AtomicUsize = AtomicUsize::new(0);
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many gates this thread is behind.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A number that differs between a process and the children that it forks.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// While it lives, on whichever thread, no fork begins.
pub(crate) struct Gate(());

impl Gate {
    pub(crate) fn enter() -> Gate {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        if depth == 0 {
            // Both sides announce themselves first and look second, in one order for all: either the
            // fork sees this thread or this thread sees the fork.
            BEHIND.fetch_add(1, Ordering::SeqCst);
            while FORKING.load(Ordering::SeqCst) != 0 {
                BEHIND.fetch_sub(1, Ordering::SeqCst);
                while FORKING.load(Ordering::SeqCst) != 0 {
                    std::thread::yield_now();
                }
                BEHIND.fetch_add(1, Ordering::SeqCst);
            }
        }
        Gate(())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            BEHIND.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// This thread's share of [`BEHIND`].
fn own() -> usize {
    DEPTH.get().min(1)
}

/// Makes forks safe from now on; to be called before other threads are there, by whoever loads the
/// engine. What needs it calls it, too.
#[cfg(unix)]
pub fn register() {
    use std::sync::Once;
    static ONCE: Once = Once::new();

    extern "C" fn prepare() {
        FORKING.fetch_add(1, Ordering::SeqCst);
        while BEHIND.load(Ordering::SeqCst) > own() {
            std::thread::yield_now();
        }
        crate::buffer::lock_arena();
    }
    extern "C" fn parent() {
        crate::buffer::unlock_arena();
        FORKING.fetch_sub(1, Ordering::SeqCst);
    }
    extern "C" fn child() {
        crate::buffer::unlock_arena();
        FORKING.store(0, Ordering::SeqCst);
        BEHIND.store(own(), Ordering::SeqCst);
        GENERATION.fetch_add(1, Ordering::Relaxed);
        crate::par::abandon();
    }
    ONCE.call_once(|| {
        // SAFETY: the handlers are plain functions that only touch atomics and thread-locals of this
        // crate.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    });
}

/// Nothing forks here.
#[cfg(not(unix))]
pub fn register() {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    /// Forks; what `f` says in the child.
    fn in_child(f: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `f`, which only reads atomics, and ends without unwinding or running
        // anything else of this process.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let status = i32::from(!f());
            // SAFETY: ends the child.
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    #[test]
    fn a_fork_waits_for_what_runs_whole() {
        static INSIDE: AtomicBool = AtomicBool::new(false);
        static DONE: AtomicBool = AtomicBool::new(false);
        register();
        let writer = std::thread::spawn(|| {
            crate::par::whole(|| {
                // Within itself it does not wait for the fork that waits for it.
                crate::par::whole(|| INSIDE.store(true, Ordering::SeqCst));
                std::thread::sleep(Duration::from_millis(100));
                crate::par::whole(|| DONE.store(true, Ordering::SeqCst));
            });
        });
        while !INSIDE.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let before = generation();
        assert!(in_child(|| DONE.load(Ordering::SeqCst) && generation() == before + 1));
        assert_eq!(generation(), before);
        writer.join().unwrap();
    }

    #[test]
    fn a_child_is_not_held_up_by_the_gates_of_its_parent() {
        register();
        assert!(in_child(|| FORKING.load(Ordering::SeqCst) == 0 && BEHIND.load(Ordering::SeqCst) == 0));
        crate::par::whole(|| assert!(in_child(|| BEHIND.load(Ordering::SeqCst) == 1)));
    }
}
