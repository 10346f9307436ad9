//! A kernel's output, written by several threads at once.

use std::marker::PhantomData;
use std::ops::Range;

/// An exclusively borrowed output that tasks on several threads write disjoint parts of.
///
/// A `&mut [T]` cannot be handed to more than one task, even when the tasks write different
/// elements; an `Out` can. It borrows the slice exclusively for `'a`, so nobody else reads or writes
/// it meanwhile; who takes parts of it promises that parts alive at the same time are disjoint.
/// Two-dimensional tiles, whose rows interleave in memory, are written through [`Out::ptr`].
pub struct Out<'a, T> {
    ptr: *mut T,
    len: usize,
    marker: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Out<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<'_, T> {}

// SAFETY: an `Out` is a `&mut [T]` whose disjoint parts are handed to different threads; that is
// sound where sending `&mut T` is, and the methods' contracts keep the parts disjoint.
unsafe impl<T: Send> Send for Out<'_, T> {}
// SAFETY: as above; sharing an `Out` only allows to take further disjoint parts.
unsafe impl<T: Send> Sync for Out<'_, T> {}

impl<'a, T> Out<'a, T> {
    /// The output over the whole of `slice`.
    pub fn new(slice: &'a mut [T]) -> Out<'a, T> {
        Out { ptr: slice.as_mut_ptr(), len: slice.len(), marker: PhantomData }
    }

    /// The number of elements.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements `range` as an exclusive slice; panics when out of bounds.
    ///
    /// # Safety
    /// No other part of this output that overlaps `range` may be in use while the slice lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "output range out of bounds");
        // SAFETY: the range is within the borrowed slice, and the caller promises that it overlaps
        // no other part in use.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.end - range.start) }
    }

    /// The pointer to the first element, valid for writes of `len` elements during `'a`.
    #[inline(always)]
    pub fn ptr(&self) -> *mut T {
        self.ptr
    }
}
