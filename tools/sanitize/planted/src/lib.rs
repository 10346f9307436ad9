//! Bugs on purpose: each of the memory safety jobs shows that it would find its own kind.

use std::ffi::{CStr, c_char};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use autodan_kernels::buffer::Buffer;
use autodan_kernels::out::Out;
use autodan_kernels::par;

const LEN: usize = 1003;

fn buffer() -> Buffer<f32> {
    Buffer::full(LEN, 1.0).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads or writes `offset` elements from the start of a buffer; inside is from 0 to `LEN - 1`.
fn touch(offset: isize, write: bool) {
    let mut buffer = buffer();
    let at = buffer.as_mut_ptr().wrapping_offset(black_box(offset));
    // SAFETY: none: outside of the buffer, this is the bug.
    unsafe {
        if write {
            at.write_volatile(2.0);
        } else {
            black_box(at.read_volatile());
        }
    }
}

fn read_after_free() {
    let buffer = buffer();
    let at = buffer.as_ptr();
    drop(buffer);
    // SAFETY: none: this is the bug.
    black_box(unsafe { at.read_volatile() });
}

/// Adds to elements from many tasks: to one for all, or to one for each.
fn add_in_tasks(shared: bool) {
    let mut sums = vec![0.0f32; 200];
    let out = Out::new(&mut sums);
    par::set_threads(4);
    for _ in 0..5 {
        par::for_each(out.len(), |task| {
            // Long enough for the other threads to wake.
            std::thread::sleep(Duration::from_micros(50));
            let at = if shared { 0 } else { task };
            // SAFETY: none if shared: this is the bug. Otherwise tasks have elements of their own.
            let sum = unsafe { out.slice(at..at + 1) };
            sum[0] += black_box(1.0);
        });
    }
}

/// Hands a value from one thread to another by a flag, as the pool hands out jobs.
fn publish(write: Ordering, read: Ordering) {
    let mut value = 0.0f32;
    let (out, ready) = (Out::new(std::slice::from_mut(&mut value)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ready.load(read) {
                std::thread::yield_now();
            }
            // SAFETY: none if relaxed: the flag may be seen before the value, this is the bug.
            black_box(unsafe { out.ptr().read_volatile() });
        });
        std::thread::sleep(Duration::from_millis(20));
        // SAFETY: as above.
        unsafe { out.ptr().write_volatile(1.0) };
        ready.store(true, write);
    });
}

/// Does what is named; false when nothing has that name.
pub fn run(name: &str) -> bool {
    match name {
        "nothing" => {
            touch(0, true);
            touch(LEN as isize - 1, false);
            add_in_tasks(false);
            publish(Ordering::Release, Ordering::Acquire);
        }
        "read-behind" => touch(LEN as isize, false),
        "write-behind" => touch(LEN as isize, true),
        "read-before" => touch(-1, false),
        "write-before" => touch(-1, true),
        "read-after-free" => read_after_free(),
        "race-in-tasks" => add_in_tasks(true),
        "race-of-publishing" => publish(Ordering::Relaxed, Ordering::Relaxed),
        "overflow" => {
            black_box(black_box(usize::MAX) + black_box(1));
        }
        _ => return false,
    }
    true
}

/// [`run`] for callers from Python.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planted(name: *const c_char) -> bool {
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(name) }.to_str().is_ok_and(run)
}
