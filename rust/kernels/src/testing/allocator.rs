//! Guard pages behind all that the tests allocate.
//!
//! Kernels take slices, and tests hand them vectors: so vectors, too, come from where
//! [`crate::buffer::source`] says that buffers come from, and so does what kernels allocate
//! themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::{Source, guard, source, source_so_far};

struct Guarded;

#[global_allocator]
static GUARDED: Guarded = Guarded;

/// Whether blocks end (true) or start (false) at a forbidden page; `None` without guard pages.
fn side() -> Option<bool> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    // The question allocates: what it needs, and what others allocate meanwhile, is not guarded.
    if !ASKED.load(Ordering::Relaxed) && !ASKED.swap(true, Ordering::Relaxed) {
        source();
    }
    match source_so_far()? {
        Source::GuardAfter => Some(true),
        Source::GuardBefore => Some(false),
        Source::Arena | Source::Exact => None,
    }
}

// SAFETY: blocks of either kind have the layout's size and alignment, belong to one owner and go back
// to where they came from.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Of a size that is no multiple of the alignment, the last bytes stay unused.
        let guarded = side().and_then(|after| guard::map(layout.pad_to_align().size(), after));
        match guarded {
            Some(block) => block.as_ptr(),
            // SAFETY: promised by the caller.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match NonNull::new(block).filter(|&block| guard::owns(block)) {
            // SAFETY: it came from `guard::map` with this size, and the caller gives it up.
            Some(block) => unsafe { guard::unmap(block, layout.pad_to_align().size()) },
            // SAFETY: it came from `System` with this layout, and the caller gives it up.
            None => unsafe { System.dealloc(block, layout) },
        }
    }
}
