//! Aligned memory, recycled through a caching arena.
//!
//! A training step asks for the same few hundred buffers again and again. Mapping and touching a
//! fresh 2.8 MB buffer costs about a millisecond of page faults, more than a whole step should, so
//! freed blocks are kept in size classes and handed out again, hot in cache and mapped. For finding
//! mistakes, memory can come from elsewhere: [`Source`].
//!
//! **Contents.** A new buffer holds unspecified but *initialised* values: memory comes zeroed from
//! the system and afterwards only ever holds what kernels wrote. Since every bit pattern of an
//! [`Element`] is valid, reading it before writing it is a mistake, not undefined behaviour;
//! [`set_poison`] makes such mistakes visible.

mod arena;
pub(crate) mod guard;
mod source;
mod system;

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::element::Element;
use crate::par::{self, GRAIN};

pub(crate) use arena::{lock as lock_arena, unlock as unlock_arena};
#[cfg(test)]
pub(crate) use source::source_so_far;
pub use source::{Source, source};

/// Every buffer starts on a cache line, which is also the widest vector: for speed alone, and not
/// between guard pages.
pub const ALIGNMENT: usize = 64;

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

static UNTIL_FAILURE: AtomicUsize = AtomicUsize::new(0);

/// Makes the `n`-th allocation from now on fail, once; 0: none. Returns how many were still to come until
/// the failure asked for before: 0 when it has happened. For tests of what an error leaves behind.
pub fn fail_allocation(n: usize) -> usize {
    UNTIL_FAILURE.swap(n, Ordering::Relaxed)
}

fn is_to_fail() -> bool {
    let count = |n: usize| n.checked_sub(1);
    UNTIL_FAILURE.load(Ordering::Relaxed) > 0
        && UNTIL_FAILURE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) == Ok(1)
}

/// A fixed-size array of `T`, the engine's own or borrowed from outside.
pub struct Buffer<T: Element> {
    ptr: NonNull<T>,
    len: usize,
    owner: Owner,
}

enum Owner {
    /// A block of our own, of this many bytes; 0 for an empty buffer.
    Engine(usize),
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
            return Ok(Buffer { ptr: NonNull::dangling(), len, owner: Owner::Engine(0) });
        }
        crate::fork::register();
        crate::reserve::check()?;
        if is_to_fail() {
            return Err(AllocError { bytes });
        }
        let (ptr, size) = source::take(bytes)?;
        if POISON.load(Ordering::Relaxed) {
            // SAFETY: the block has `bytes` bytes, or some more, and belongs to nobody else.
            unsafe { ptr.as_ptr().write_bytes(0xFF, bytes) };
        }
        Ok(Buffer { ptr: ptr.cast(), len, owner: Owner::Engine(size) })
    }

    /// A buffer of `len` copies of `value`.
    ///
    /// # Errors
    /// [`AllocError`] as [`Buffer::new`].
    pub fn full(len: usize, value: T) -> Result<Buffer<T>, AllocError> {
        let mut buffer = Buffer::new(len)?;
        par::for_each_chunk(&mut buffer, GRAIN, |_, part| part.fill(value));
        Ok(buffer)
    }

    /// A copy of `data`.
    ///
    /// # Errors
    /// [`AllocError`] as [`Buffer::new`].
    pub fn from_slice(data: &[T]) -> Result<Buffer<T>, AllocError> {
        let mut buffer = Buffer::new(data.len())?;
        par::for_each_chunk(&mut buffer, GRAIN, |start, part| {
            part.copy_from_slice(&data[start..start + part.len()]);
        });
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
        // SAFETY: as in `deref`; `&mut self` is exclusive, and our own blocks have one owner.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Owner::Engine(size @ 1..) = self.owner {
            source::give(self.ptr.cast(), size);
        }
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer<{}>[{}]", std::any::type_name::<T>(), self.len)
    }
}

/// Bytes handed out and not yet returned, and bytes kept for reuse.
pub fn usage() -> (usize, usize) {
    (source::live(), arena::cached())
}

/// Returns all cached blocks to the system.
pub fn trim() {
    arena::trim();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_what_it_was_given() {
        for len in [0, 1, 15, 16, 17, 1000, 300_000] {
            let data: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let mut buffer = Buffer::from_slice(&data).unwrap();
            assert!(len == 0 || usage().0 >= size_of::<f32>() * len);
            assert!(*buffer == *data && !buffer.is_foreign());
            buffer.fill(1.0);
            assert!(*buffer == *Buffer::full(len, 1.0).unwrap());
        }
    }

    #[test]
    fn allocations_are_counted_down_to_a_failure() {
        // Tests of this process run in other threads: whichever of them asks may get the failure.
        assert_eq!(fail_allocation(usize::MAX), 0);
        assert!(Buffer::<f32>::new(3).is_ok() && Buffer::<f32>::new(0).is_ok());
        assert!((1..usize::MAX).contains(&fail_allocation(0)));
        assert!(!is_to_fail());
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(Buffer::<f64>::new(usize::MAX / 4).is_err());
        assert!(Buffer::<f64>::new(1 << 50).is_err());
        assert_eq!(Buffer::<f64>::new(0).unwrap().len(), 0);
    }
}
