//! The caching arena: freed blocks in size classes, handed out again.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{ALIGNMENT, AllocError, system};

/// So much fresh memory, in one request or in many, is first compared with what the machine, or the
/// container, has left: an overcommitting system would grant it and kill the process when it is touched.
/// As much is left to the rest of the process.
const CHECKED: usize = 16 << 20;

/// Fresh memory since the last comparison.
static UNCHECKED: AtomicUsize = AtomicUsize::new(0);

/// At most this many bytes of free blocks are kept.
const MAX_CACHED: usize = 1 << 30;

/// Free blocks by the number of their class.
type Lists = [Vec<NonNull<u8>>; 4 * usize::BITS as usize];

const NO_BLOCKS: Lists = [const { Vec::new() }; 4 * usize::BITS as usize];

struct Free {
    blocks: Lists,
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
    Arena { locked: AtomicBool::new(false), free: UnsafeCell::new(Free { blocks: NO_BLOCKS, bytes: 0 }) };

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

/// The block size for a request: four classes to each power of two, so at most a quarter is lost.
pub(super) fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(ALIGNMENT);
    let step = (bytes.next_power_of_two() / 8).max(ALIGNMENT);
    bytes.div_ceil(step) * step
}

/// The number of a size class: it is 5, 6, 7 or 8 eighths of a power of two.
fn number(class: usize) -> usize {
    let power = class.next_power_of_two();
    4 * power.trailing_zeros() as usize + class / (power / 8) - 5
}

/// The size class of a number.
fn class_of(number: usize) -> usize {
    (1 << (number / 4)) / 8 * (number % 4 + 5)
}

/// A block of this size class.
pub(super) fn take(class: usize) -> Result<NonNull<u8>, AllocError> {
    let cached = with(|free| {
        let block = free.blocks[number(class)].pop()?;
        free.bytes -= class;
        Some(block)
    });
    cached.map_or_else(|| checked(class, system::map), Ok)
}

/// What `allocate` gives for `bytes`, if there is so much memory left, if need be after a [`trim`].
pub(super) fn checked(
    bytes: usize,
    allocate: impl Fn(usize) -> Option<NonNull<u8>>,
) -> Result<NonNull<u8>, AllocError> {
    if UNCHECKED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= CHECKED {
        let needed = bytes.saturating_add(CHECKED);
        let left = crate::memory::headroom();
        if needed > left.saturating_add(cached()) {
            // The next request is compared too.
            UNCHECKED.store(CHECKED, Ordering::Relaxed);
            return Err(AllocError { bytes });
        }
        if needed > left {
            trim();
        }
        UNCHECKED.store(0, Ordering::Relaxed);
    }
    let block = allocate(bytes).or_else(|| {
        trim();
        allocate(bytes)
    });
    block.ok_or(AllocError { bytes })
}

/// Takes back a block of `take`, which nobody uses any more.
pub(super) fn give(block: NonNull<u8>, class: usize) {
    let kept = with(|free| {
        if free.bytes + class > MAX_CACHED {
            return false;
        }
        let blocks = &mut free.blocks[number(class)];
        // Where memory has run out, there is none for a longer list either.
        if blocks.try_reserve(1).is_err() {
            return false;
        }
        blocks.push(block);
        free.bytes += class;
        true
    });
    if !kept {
        // SAFETY: the block came from `system::map(class)` and nobody uses it any more.
        unsafe { system::unmap(block, class) };
    }
}

/// Bytes kept for reuse.
pub(super) fn cached() -> usize {
    with(|free| free.bytes)
}

/// Returns all kept blocks to the system.
pub(super) fn trim() {
    let blocks = with(|free| {
        free.bytes = 0;
        std::mem::replace(&mut free.blocks, NO_BLOCKS)
    });
    for (number, blocks) in blocks.into_iter().enumerate() {
        for block in blocks {
            // SAFETY: the block came from `system::map` with this class and was in its free list.
            unsafe { system::unmap(block, class_of(number)) };
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
            assert_eq!(class_of(number(class)), class);
        }
    }

    #[test]
    fn blocks_are_aligned_and_recycled() {
        // A class that no other test of this process asks for.
        let class = size_class(7 << 20);
        let first = take(class).unwrap();
        assert_eq!(first.as_ptr() as usize % ALIGNMENT, 0);
        give(first, class);
        assert!(cached() >= class);
        let again = take(class).unwrap();
        assert_eq!(again, first);
        give(again, class);
    }
}
