//! Zeroed blocks of memory from the system.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::ALIGNMENT;

/// Blocks from here on come straight from the system's pages (2 MB pages where it has them).
#[cfg(unix)]
const MAPPED: usize = 1 << 20;

/// A zeroed block of `bytes` (not 0).
pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
    #[cfg(unix)]
    if bytes >= MAPPED {
        // SAFETY: an anonymous private mapping at an address of the system's choice touches no
        // memory that exists; it is zeroed and page-aligned.
        let ptr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if ptr == libc::MAP_FAILED {
            return None;
        }
        #[cfg(target_os = "linux")]
        // SAFETY: advice about the mapping made above; it changes no contents.
        unsafe {
            libc::madvise(ptr, bytes, libc::MADV_HUGEPAGE)
        };
        return NonNull::new(ptr.cast());
    }
    alloc(bytes)
}

/// Returns a block.
///
/// # Safety
/// `block` came from `map(bytes)` and is not used afterwards.
pub(super) unsafe fn unmap(block: NonNull<u8>, bytes: usize) {
    #[cfg(unix)]
    if bytes >= MAPPED {
        // SAFETY: the mapping was made by `map` with this length, and the caller gives it up.
        unsafe { libc::munmap(block.as_ptr().cast(), bytes) };
        return;
    }
    // SAFETY: promised by the caller.
    unsafe { dealloc(block, bytes) };
}

/// A zeroed block of `bytes` (not 0) from the allocator.
pub(super) fn alloc(bytes: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
    // SAFETY: the layout has a non-zero size.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
}

/// Returns a block to the allocator.
///
/// # Safety
/// `block` came from `alloc(bytes)` and is not used afterwards.
pub(super) unsafe fn dealloc(block: NonNull<u8>, bytes: usize) {
    if let Ok(layout) = Layout::from_size_align(bytes, ALIGNMENT) {
        // SAFETY: allocated by `alloc` with this layout, and the caller gives it up.
        unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
    }
}
