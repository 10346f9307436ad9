//! What keeps small allocations from failing.
//!
//! Memory for elements is refused with an error. Nodes of the tape, layouts and messages are small
//! and come from Rust's allocator, which ends the process when the system has nothing left. So some
//! memory is set aside: small allocations get it when there is no other, and ops are refused from then
//! on, until as much can be set aside again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::buffer::{ALIGNMENT, AllocError};

/// Room for some ten thousand nodes.
const SIZE: usize = 4 << 20;

static BLOCK: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static SPENT: AtomicBool = AtomicBool::new(false);

fn layout() -> Option<Layout> {
    Layout::from_size_align(SIZE, ALIGNMENT).ok()
}

/// The system's allocator with a reserve, for a program's `#[global_allocator]`.
#[derive(Debug)]
pub struct Reserved;

// SAFETY: all memory comes from the system's allocator and goes back to it, with the same layouts.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: promised by the caller.
        with_reserve(layout, layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: promised by the caller.
        with_reserve(layout, layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: promised by the caller; a reallocation that fails leaves the block as it was.
        with_reserve(layout, size, || unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(block, layout) };
    }
}

/// What `allocate` gives, if need be once the reserve is given up. Buffers, alone so aligned, are refused
/// instead.
fn with_reserve(layout: Layout, size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let block = allocate();
    let is_small = size < SIZE && layout.align() < ALIGNMENT;
    if block.is_null() && is_small && give_up() { allocate() } else { block }
}

#[cold]
fn give_up() -> bool {
    let block = BLOCK.swap(ptr::null_mut(), Ordering::AcqRel);
    let Some(layout) = layout().filter(|_| !block.is_null()) else { return false };
    SPENT.store(true, Ordering::Release);
    // SAFETY: `stock` allocated the block with this layout, and the swap took it from everybody else.
    unsafe { System.dealloc(block, layout) };
    true
}

/// Sets the reserve aside: a program that has [`Reserved`] does it once.
///
/// # Errors
/// [`AllocError`] when there is not so much memory.
pub fn stock() -> Result<(), AllocError> {
    let error = AllocError { bytes: SIZE };
    let layout = layout().ok_or(error)?;
    // SAFETY: the layout has a size that is not 0.
    let block = unsafe { System.alloc(layout) };
    if block.is_null() {
        return Err(error);
    }
    let empty = ptr::null_mut();
    if BLOCK.compare_exchange(empty, block, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        // SAFETY: allocated above, and nobody else has seen it.
        unsafe { System.dealloc(block, layout) };
    }
    SPENT.store(false, Ordering::Release);
    Ok(())
}

/// Refuses work when the reserve was given up and cannot be set aside again.
///
/// # Errors
/// [`AllocError`] then.
#[inline]
pub fn check() -> Result<(), AllocError> {
    if SPENT.load(Ordering::Acquire) { restock() } else { Ok(()) }
}

#[cold]
fn restock() -> Result<(), AllocError> {
    stock().or_else(|_| {
        // Small blocks that are kept for reuse lie between what was freed.
        crate::buffer::trim();
        stock()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_allocations_get_the_reserve_once() {
        let small = Layout::new::<u64>();
        let fails = || with_reserve(small, 8, ptr::null_mut);
        assert!(fails().is_null() && check().is_ok());
        stock().unwrap();
        let calls = std::cell::Cell::new(0);
        let second = || {
            calls.set(calls.get() + 1);
            if calls.get() == 1 { ptr::null_mut() } else { ptr::dangling_mut() }
        };
        assert!(!with_reserve(small, 8, second).is_null());
        assert!(SPENT.load(Ordering::Relaxed) && fails().is_null());
        check().unwrap();
        assert!(!SPENT.load(Ordering::Relaxed));
        let aligned = Layout::from_size_align(64, ALIGNMENT).unwrap();
        assert!(with_reserve(aligned, 64, ptr::null_mut).is_null());
        assert!(with_reserve(small, SIZE, ptr::null_mut).is_null());
        assert!(!SPENT.load(Ordering::Relaxed));
    }
}
