//! What happens to the engine when the process forks.
//!
//! The child has a copy of all memory but only the forking thread. The arena's lock is held across
//! the fork, so that its lists are whole in the child; the thread pool, whose workers do not exist
//! there, is abandoned and built anew on first use.

#[cfg(unix)]
pub(crate) fn register() {
    use std::sync::Once;
    static ONCE: Once = Once::new();

    extern "C" fn prepare() {
        crate::buffer::lock_arena();
    }
    extern "C" fn parent() {
        crate::buffer::unlock_arena();
    }
    extern "C" fn child() {
        crate::buffer::unlock_arena();
        crate::par::abandon();
    }
    ONCE.call_once(|| {
        // SAFETY: the handlers are plain functions that only touch atomics of this crate.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    });
}

#[cfg(not(unix))]
pub(crate) fn register() {}
