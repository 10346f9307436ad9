//! Aligned memory, recycled through a caching arena.
//!
//! A training step asks for the same few hundred buffers again and again. Mapping and touching a
//! fresh 2.8 MB buffer costs about a millisecond of page faults, more than a whole step should, so
//! freed blocks are kept in size classes and handed out again, hot in cache and mapped.
//!
//! **Contents.** A new buffer holds unspecified but *initialised* values: memory comes zeroed from
//! the system and afterwards only ever holds what kernels wrote. Since every bit pattern of an
//! [`Element`] is valid, reading it before writing it is a mistake, not undefined behaviour;
//! [`set_poison`] makes such mistakes visible.

use std::alloc::Layout;
use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::element::Element;

/// Every buffer starts on a cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// Blocks from here on come straight from the system's pages (2 MB pages where it has them).
const MAPPED: usize = 1 << 20;

/// Requests from here on are first compared with the memory that the machine, or the container,
/// has left: an overcommitting system would grant them and kill the process when they are touched.
const CHECKED: usize = 64 << 20;

/// At most this many bytes of free blocks are kept.
const MAX_CACHED: usize = 1 << 30;

/// Memory that could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// The size asked for; `usize::MAX` when it exceeds the address space.
    pub bytes: usize,
}

impl std::fmt::Display for AllocError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot allocate {} bytes", self.bytes)
    }
}

impl std::error::Error for AllocError {}

static POISON: AtomicBool = AtomicBool::new(cfg!(debug_assertions));

/// Whether new buffers are filled with NaN (-1 in integers), so that an element which a kernel
/// forgot to write shows up. Default: on in builds with debug assertions, off elsewhere.
pub fn set_poison(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

/// A fixed-size, 64-byte-aligned array of `T`, from the arena or borrowed from outside.
pub struct Buffer<T: Element> {
    ptr: NonNull<T>,
    len: usize,
    owner: Owner,
}

enum Owner {
    /// A block of the arena of this many bytes (a size class); 0 for an empty buffer.
    Arena(usize),
    /// Memory of somebody else, kept alive by this value and never written.
    Foreign { _keep: Box<dyn Any + Send + Sync> },
}

// SAFETY: a buffer owns its memory (or shares read-only memory whose keeper is Send and Sync), and
// its elements are Send and Sync.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above; `&Buffer` only reads.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// A buffer of `len` unspecified values.
    ///
    /// # Errors
    /// [`AllocError`] when the size overflows or the memory cannot be had.
    pub fn new(len: usize) -> Result<Buffer<T>, AllocError> {
        let bytes = len
            .checked_mul(size_of::<T>())
            .filter(|&bytes| bytes <= isize::MAX as usize - ALIGNMENT)
            .ok_or(AllocError { bytes: usize::MAX })?;
        if bytes == 0 {
            return Ok(Buffer { ptr: NonNull::dangling(), len, owner: Owner::Arena(0) });
        }
        let class = size_class(bytes);
        let ptr = arena::take(class)?;
        if POISON.load(Ordering::Relaxed) {
            // SAFETY: the block has `class >= bytes` bytes and belongs to nobody else.
            unsafe { ptr.as_ptr().write_bytes(0xFF, bytes) };
        }
        Ok(Buffer { ptr: ptr.cast(), len, owner: Owner::Arena(class) })
    }

    /// A buffer of `len` copies of `value`.
    ///
    /// # Errors
    /// [`AllocError`] as [`Buffer::new`].
    pub fn full(len: usize, value: T) -> Result<Buffer<T>, AllocError> {
        let mut buffer = Buffer::new(len)?;
        buffer.fill(value);
        Ok(buffer)
    }

    /// A copy of `data`.
    ///
    /// # Errors
    /// [`AllocError`] as [`Buffer::new`].
    pub fn from_slice(data: &[T]) -> Result<Buffer<T>, AllocError> {
        let mut buffer = Buffer::new(data.len())?;
        buffer.copy_from_slice(data);
        Ok(buffer)
    }

    /// Read-only memory of somebody else, kept alive by `keep`. [`Buffer::is_foreign`] says that
    /// it must be copied before a write; writing through the buffer panics.
    ///
    /// # Safety
    /// `ptr` is aligned for `T` and valid for reads of `len` elements as long as `keep` lives.
    /// The owner may change the elements between kernel calls, never during one.
    pub unsafe fn borrow(ptr: NonNull<T>, len: usize, keep: Box<dyn Any + Send + Sync>) -> Buffer<T> {
        Buffer { ptr, len, owner: Owner::Foreign { _keep: keep } }
    }

    /// Whether the memory belongs to somebody else.
    pub fn is_foreign(&self) -> bool {
        matches!(self.owner, Owner::Foreign { .. })
    }
}

impl<T: Element> Deref for Buffer<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `ptr` is valid for `len` initialised elements while `self` lives.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Buffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        assert!(!self.is_foreign(), "borrowed memory is read-only");
        // SAFETY: as in `deref`; `&mut self` is exclusive, and arena blocks have one owner.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Owner::Arena(class @ 1..) = self.owner {
            arena::give(self.ptr.cast(), class);
        }
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer<{}>[{}]", std::any::type_name::<T>(), self.len)
    }
}

/// The block size for a request: four classes to each power of two, so at most a quarter is lost.
fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(ALIGNMENT);
    let step = (bytes.next_power_of_two() / 8).max(ALIGNMENT);
    bytes.div_ceil(step) * step
}

/// Bytes handed out and not yet returned, and bytes kept for reuse.
pub fn usage() -> (usize, usize) {
    (arena::LIVE.load(Ordering::Relaxed), arena::cached())
}

/// Returns all cached blocks to the system.
pub fn trim() {
    arena::trim();
}

mod arena {
    use super::*;
    use std::cell::UnsafeCell;
    use std::collections::HashMap;

    pub(super) static LIVE: AtomicUsize = AtomicUsize::new(0);

    #[derive(Default)]
    struct Free {
        blocks: Option<HashMap<usize, Vec<NonNull<u8>>>>,
        bytes: usize,
    }

    /// A spin lock: held for a few instructions, and (unlike a mutex) one that the fork handlers
    /// can take in the parent and open in the child.
    struct Arena {
        locked: AtomicBool,
        free: UnsafeCell<Free>,
    }

    // SAFETY: `free` is only reached through `with`, under the lock; blocks are plain memory.
    unsafe impl Sync for Arena {}

    static ARENA: Arena =
        Arena { locked: AtomicBool::new(false), free: UnsafeCell::new(Free { blocks: None, bytes: 0 }) };

    pub(crate) fn lock() {
        let mut spins = 0u32;
        while ARENA.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spins += 1;
            if spins < 64 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    pub(crate) fn unlock() {
        ARENA.locked.store(false, Ordering::Release);
    }

    fn with<R>(f: impl FnOnce(&mut Free) -> R) -> R {
        struct Unlock;
        impl Drop for Unlock {
            fn drop(&mut self) {
                unlock();
            }
        }
        lock();
        let _unlock = Unlock;
        // SAFETY: the lock is held, so this is the only reference.
        f(unsafe { &mut *ARENA.free.get() })
    }

    pub(super) fn take(class: usize) -> Result<NonNull<u8>, AllocError> {
        crate::fork::register();
        let cached = with(|free| {
            let block = free.blocks.as_mut()?.get_mut(&class)?.pop()?;
            free.bytes -= class;
            Some(block)
        });
        let block = match cached {
            Some(block) => block,
            None => {
                if class >= CHECKED {
                    if class > crate::memory::headroom().saturating_add(cached_bytes()) {
                        return Err(AllocError { bytes: class });
                    }
                    if class > crate::memory::headroom() {
                        trim();
                    }
                }
                system::map(class)
                    .or_else(|| {
                        trim();
                        system::map(class)
                    })
                    .ok_or(AllocError { bytes: class })?
            }
        };
        LIVE.fetch_add(class, Ordering::Relaxed);
        Ok(block)
    }

    pub(super) fn give(block: NonNull<u8>, class: usize) {
        LIVE.fetch_sub(class, Ordering::Relaxed);
        let kept = with(|free| {
            if free.bytes + class > MAX_CACHED {
                return false;
            }
            free.bytes += class;
            free.blocks.get_or_insert_default().entry(class).or_default().push(block);
            true
        });
        if !kept {
            // SAFETY: the block came from `system::map(class)` and nobody uses it any more.
            unsafe { system::unmap(block, class) };
        }
    }

    fn cached_bytes() -> usize {
        with(|free| free.bytes)
    }

    pub(super) fn cached() -> usize {
        cached_bytes()
    }

    pub(super) fn trim() {
        let blocks = with(|free| {
            free.bytes = 0;
            free.blocks.take()
        });
        for (class, blocks) in blocks.into_iter().flatten() {
            for block in blocks {
                // SAFETY: the block came from `system::map(class)` and was in the free list.
                unsafe { system::unmap(block, class) };
            }
        }
    }
}

pub(crate) use arena::{lock as lock_arena, unlock as unlock_arena};

/// Zeroed blocks of memory from the system.
mod system {
    use super::*;

    /// A zeroed block of `bytes` (a size class, so not 0).
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
        let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
        // SAFETY: the layout has a non-zero size.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
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
        if let Ok(layout) = Layout::from_size_align(bytes, ALIGNMENT) {
            // SAFETY: allocated by `map` with this layout, and the caller gives it up.
            unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_the_request_and_waste_at_most_a_quarter() {
        for bytes in (1..100_000).chain([1 << 20, (1 << 20) + 1, 3_000_001]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(ALIGNMENT));
            assert!(class <= (bytes + bytes / 4).max(bytes + ALIGNMENT), "{bytes} -> {class}");
            assert_eq!(size_class(class), class);
        }
    }

    #[test]
    fn buffers_are_aligned_and_recycled() {
        let first = Buffer::<f32>::full(1000, 1.0).unwrap();
        assert_eq!(first.as_ptr() as usize % ALIGNMENT, 0);
        assert!(first.iter().all(|&x| x == 1.0));
        drop(first);
        assert!(usage().1 > 0);
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(Buffer::<f64>::new(usize::MAX / 4).is_err());
        assert!(Buffer::<f64>::new(1 << 50).is_err());
        assert_eq!(Buffer::<f64>::new(0).unwrap().len(), 0);
    }
}
