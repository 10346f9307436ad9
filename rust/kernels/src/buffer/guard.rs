//! Blocks between pages that nobody may touch.
//!
//! One huge stretch of addresses is reserved without access. A block takes the next pages of it and
//! leaves one untouched; its data lie flush against the page behind them or the one before, so that
//! an access one element too far is a fault at the instruction that makes it. A block's addresses are
//! never used again, so that an access after its time is one too. No lock is involved, and a fork
//! copies all there is.

use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most blocks at a time: each needs two mappings, of which Linux grants a process 65,530.
const MAX_BLOCKS: usize = 24_000;

/// Addresses asked for (4 TB where pointers have 64 bits), and the fewest that are worth having.
const RESERVED: usize = 1 << (usize::BITS / 3 * 2);
const LEAST: usize = 1 << 30;

/// The stretch, and where its unused part begins; all 0 when it cannot be had.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: AtomicUsize = AtomicUsize::new(0);

#[cfg(unix)]
mod pages {
    use std::ptr::NonNull;

    const HIDDEN: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

    pub(super) fn size() -> usize {
        // SAFETY: a question to the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    /// Reserves addresses.
    pub(super) fn reserve(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: a mapping without access at an address of the system's choice touches nothing.
        let ptr = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, HIDDEN, -1, 0) };
        if ptr == libc::MAP_FAILED { None } else { NonNull::new(ptr.cast()) }
    }

    /// Makes pages accessible, which are zero at first.
    ///
    /// # Safety
    /// The pages are reserved and in nobody's use.
    pub(super) unsafe fn show(start: *mut u8, bytes: usize) -> bool {
        // SAFETY: promised by the caller.
        unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) == 0 }
    }

    /// Gives pages back to the system and keeps their addresses reserved. A new mapping and not only a
    /// protection: it merges with its neighbours, and blocks of the past take no room in the kernel.
    ///
    /// # Safety
    /// The pages came from `show` and are not used afterwards.
    pub(super) unsafe fn hide(start: *mut u8, bytes: usize) {
        // SAFETY: promised by the caller. Should it fail, the pages stay as they are.
        unsafe { libc::mmap(start.cast(), bytes, libc::PROT_NONE, HIDDEN | libc::MAP_FIXED, -1, 0) };
    }
}

/// Systems without such pages have no such blocks.
#[cfg(not(unix))]
mod pages {
    use std::ptr::NonNull;

    pub(super) fn size() -> usize {
        4096
    }
    pub(super) fn reserve(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }
    pub(super) unsafe fn show(_start: *mut u8, _bytes: usize) -> bool {
        false
    }
    pub(super) unsafe fn hide(_start: *mut u8, _bytes: usize) {}
}

fn reserve() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut bytes = RESERVED;
        while bytes >= LEAST {
            if let Some(start) = pages::reserve(bytes) {
                let start = start.as_ptr().expose_provenance();
                END.store(start + bytes, Ordering::Relaxed);
                NEXT.store(start + pages::size(), Ordering::Relaxed);
                START.store(start, Ordering::Release);
                return;
            }
            bytes /= 2;
        }
    });
}

/// A zeroed block of `bytes` (not 0) that ends right before a forbidden page (`after`) or starts right
/// after one; `None` when there are too many, or no more addresses.
///
/// A block that ends before the page is aligned as far as its size is; the other kind, to a page.
pub(crate) fn map(bytes: usize, after: bool) -> Option<NonNull<u8>> {
    reserve();
    let page = pages::size();
    let data = bytes.checked_next_multiple_of(page)?;
    let stride = data.checked_add(page)?;
    let start = if BLOCKS.fetch_add(1, Ordering::Relaxed) < MAX_BLOCKS { take(stride) } else { None };
    // SAFETY: these pages have just been taken from the reserved ones, and nobody else has them.
    let start = start.filter(|&start| unsafe { pages::show(start, data) });
    if start.is_none() {
        BLOCKS.fetch_sub(1, Ordering::Relaxed);
    }
    NonNull::new(start?.wrapping_add(if after { data - bytes } else { 0 }))
}

/// The next addresses of the reserve.
fn take(bytes: usize) -> Option<*mut u8> {
    let end = END.load(Ordering::Relaxed);
    let next = |at: usize| at.checked_add(bytes).filter(|&next| next <= end);
    let taken = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    taken.ok().map(std::ptr::with_exposed_provenance_mut)
}

/// Whether the block came from [`map`].
pub(crate) fn owns(block: NonNull<u8>) -> bool {
    let start = START.load(Ordering::Acquire);
    start != 0 && (start..END.load(Ordering::Relaxed)).contains(&(block.as_ptr() as usize))
}

/// Gives a block up: touching it is a fault from now on.
///
/// # Safety
/// `block` came from `map` with this size and is not used afterwards.
pub(crate) unsafe fn unmap(block: NonNull<u8>, bytes: usize) {
    let page = pages::size();
    let start = block.as_ptr().wrapping_sub(block.as_ptr() as usize % page);
    // SAFETY: the block's pages: its data lie flush against the first page's start or the last one's
    // end, and the caller gives it up.
    unsafe { pages::hide(start, bytes.next_multiple_of(page)) };
    BLOCKS.fetch_sub(1, Ordering::Relaxed);
}

#[cfg(all(test, unix, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_flush_against_a_page_and_are_not_used_again() {
        let page = pages::size();
        let mut last = 0;
        for bytes in [1, 4, 60, page - 4, page, page + 4, 5 * page + 12] {
            for after in [true, false] {
                let block = map(bytes, after).unwrap();
                let start = block.as_ptr() as usize;
                assert_eq!((start + if after { bytes } else { 0 }) % page, 0);
                assert!(owns(block) && start > last);
                last = start;
                // SAFETY: the block has so many bytes, is not used elsewhere, nor after this.
                unsafe {
                    assert!((0..bytes).all(|i| *block.as_ptr().add(i) == 0));
                    block.as_ptr().write_bytes(7, bytes);
                    unmap(block, bytes);
                }
            }
        }
        assert!(!owns(NonNull::from(&last).cast()));
        assert!(map(usize::MAX, true).is_none() && map(isize::MAX as usize, false).is_none());
    }
}
