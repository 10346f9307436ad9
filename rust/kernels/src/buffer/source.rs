//! Where the memory of buffers comes from: the arena, or something that finds mistakes.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::{AllocError, arena, guard, system};

/// A way to provide the memory of buffers, chosen once by the environment variable `AUTODAN_MEMORY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// Recycled blocks in size classes: fast, and blind to mistakes.
    Arena = 1,
    /// Blocks of just the size asked for from the allocator, each returned to it: what a sanitizer
    /// needs in order to know where a buffer ends and when it is freed.
    Exact = 2,
    /// A buffer ends where a page begins that nobody may touch, and once freed it may not be touched
    /// either: the processor stops who reads or writes beyond its end, or after its time. Buffers
    /// are then no more aligned than their elements.
    GuardAfter = 3,
    /// As [`Source::GuardAfter`], with the forbidden page right before the buffer.
    GuardBefore = 4,
}

impl Source {
    /// All ways, the usual one first.
    pub const ALL: [Source; 4] = [Source::Arena, Source::Exact, Source::GuardAfter, Source::GuardBefore];

    /// The name used by `AUTODAN_MEMORY`.
    pub fn name(self) -> &'static str {
        match self {
            Source::Arena => "arena",
            Source::Exact => "exact",
            Source::GuardAfter => "guard-after",
            Source::GuardBefore => "guard-before",
        }
    }

    /// The way of that name.
    pub fn from_name(name: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// What a process starts with that says nothing.
const DEFAULT: Source = if cfg!(all(test, unix, not(miri))) { Source::GuardAfter } else { Source::Arena };

static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// Where the memory of buffers comes from in this process.
#[inline]
pub fn source() -> Source {
    source_so_far().unwrap_or_else(choose)
}

/// [`source`] if it has been chosen: for an allocator, which cannot allocate in order to ask.
#[inline]
pub(crate) fn source_so_far() -> Option<Source> {
    match ACTIVE.load(Ordering::Relaxed) {
        1 => Some(Source::Arena),
        2 => Some(Source::Exact),
        3 => Some(Source::GuardAfter),
        4 => Some(Source::GuardBefore),
        _ => None,
    }
}

#[cold]
fn choose() -> Source {
    let named = std::env::var("AUTODAN_MEMORY").ok().and_then(|name| Source::from_name(name.trim()));
    let source = named.unwrap_or(DEFAULT);
    ACTIVE.store(source as u8, Ordering::Relaxed);
    source
}

/// Bytes handed out and not yet returned.
static LIVE: AtomicUsize = AtomicUsize::new(0);

pub(super) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// A block of at least `bytes` (not 0) and its size.
pub(super) fn take(bytes: usize) -> Result<(NonNull<u8>, usize), AllocError> {
    let source = source();
    let (block, size) = match source {
        Source::Arena => {
            let class = arena::size_class(bytes);
            (arena::take(class)?, class)
        }
        Source::Exact => (arena::checked(bytes, system::alloc)?, bytes),
        Source::GuardAfter | Source::GuardBefore => {
            let after = source == Source::GuardAfter;
            // The system limits how many mappings there may be: the rest are exact.
            (arena::checked(bytes, |bytes| guard::map(bytes, after).or_else(|| system::alloc(bytes)))?, bytes)
        }
    };
    LIVE.fetch_add(size, Ordering::Relaxed);
    Ok((block, size))
}

/// Takes back a block of `take`, which nobody uses any more, and its size.
pub(super) fn give(block: NonNull<u8>, size: usize) {
    LIVE.fetch_sub(size, Ordering::Relaxed);
    if source() == Source::Arena {
        arena::give(block, size);
    } else if guard::owns(block) {
        // SAFETY: the block came from `guard::map` with this size, and nobody uses it any more.
        unsafe { guard::unmap(block, size) };
    } else {
        // SAFETY: the block came from `system::alloc` with this size, and nobody uses it any more.
        unsafe { system::dealloc(block, size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for source in Source::ALL {
            assert_eq!(Source::from_name(source.name()), Some(source));
        }
        assert_eq!(Source::from_name("malloc"), None);
    }
}
