//! Strided views: how kernels see arrays that are slices, transposes or broadcasts of others.

/// The most axes that a view can have.
pub const MAX_RANK: usize = 32;

/// A read-only array: element `[i, j, ..]` is `data[offset + i * strides[0] + j * strides[1] + ..]`.
///
/// ```
/// use autodan_kernels::view::View;
/// let data = [1, 2, 3, 4, 5, 6];
/// let transposed = View::new(&data, 0, &[3, 2], &[1, 3]);
/// assert_eq!(transposed.len(), 6);
/// assert_eq!(transposed.as_slice(), None);
/// assert_eq!(View::new(&data, 2, &[2, 2], &[2, 1]).as_slice(), Some(&data[2..]));
/// ```
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
    len: usize,
}

impl<'a, T> View<'a, T> {
    /// The view of `shape` over `data`, starting at `offset`; strides count elements, may be
    /// negative, and are 0 along broadcast axes.
    ///
    /// # Panics
    /// When an element lies outside of `data`, or there are more than [`MAX_RANK`] axes.
    #[inline]
    pub fn new(data: &'a [T], offset: usize, shape: &'a [usize], strides: &'a [isize]) -> View<'a, T> {
        let len = check(data.len(), offset, shape, strides);
        View { data, offset, shape, strides, len }
    }

    /// The side of each axis.
    #[inline(always)]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The distance, in elements, between neighbours along each axis.
    #[inline(always)]
    pub fn strides(&self) -> &'a [isize] {
        self.strides
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

    /// The elements as a slice, when they lie in row-major order without gaps.
    #[inline]
    pub fn as_slice(&self) -> Option<&'a [T]> {
        if self.len == 0 {
            return Some(&[]);
        }
        is_contiguous(self.shape, self.strides).then(|| &self.data[self.offset..self.offset + self.len])
    }

    /// What the strides index into.
    #[inline(always)]
    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }

    /// The index of the first element in `data`.
    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }
}

/// An array to be written, no two elements of which share memory.
pub struct ViewMut<'a, T> {
    data: &'a mut [T],
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
    len: usize,
}

impl<'a, T> ViewMut<'a, T> {
    /// The view of `shape` over `data`, starting at `offset`; strides count elements and may be
    /// negative.
    ///
    /// # Panics
    /// When an element lies outside of `data`, there are more than [`MAX_RANK`] axes, or elements
    /// may overlap: sorted by stride, each axis must step over the whole extent of those below it
    /// (every slice, reversal or transposition of a row-major array does).
    #[inline]
    pub fn new(data: &'a mut [T], offset: usize, shape: &'a [usize], strides: &'a [isize]) -> ViewMut<'a, T> {
        let len = check(data.len(), offset, shape, strides);
        assert!(len == 0 || !may_overlap(shape, strides), "elements of a written view overlap: {strides:?}");
        ViewMut { data, offset, shape, strides, len }
    }

    /// The side of each axis.
    #[inline(always)]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The distance, in elements, between neighbours along each axis.
    #[inline(always)]
    pub fn strides(&self) -> &'a [isize] {
        self.strides
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

    /// What the strides index into, and the index of the first element.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (&'a mut [T], usize) {
        (self.data, self.offset)
    }
}

/// The number of elements of a shape; `None` when it overflows.
pub(crate) fn len(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n)) }
}

/// The number of elements of a view, all of which lie within `available` elements.
fn check(available: usize, offset: usize, shape: &[usize], strides: &[isize]) -> usize {
    assert_eq!(shape.len(), strides.len(), "one stride for each axis");
    assert!(shape.len() <= MAX_RANK, "more than {MAX_RANK} axes");
    if shape.contains(&0) {
        return 0;
    }
    let mut len = 1usize;
    // Wide enough that sums of 32 products of two 64-bit numbers cannot overflow a sign.
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (&n, &stride) in shape.iter().zip(strides) {
        len = len
            .checked_mul(n)
            .filter(|&len| len <= isize::MAX as usize)
            .expect("the element count overflows");
        // |stride| * n may reach 2^127 in theory; clamped, it is out of bounds all the same.
        let reach = (n as i128 - 1).saturating_mul(stride as i128);
        if reach < 0 {
            low = low.saturating_add(reach);
        } else {
            high = high.saturating_add(reach);
        }
    }
    assert!(
        low >= 0 && high < available as i128,
        "a view of shape {shape:?}, strides {strides:?} and offset {offset} leaves its {available} elements"
    );
    len
}

/// Whether a view without empty axes is row-major without gaps.
pub(crate) fn is_contiguous(shape: &[usize], strides: &[isize]) -> bool {
    let mut expected = 1isize;
    for (&n, &stride) in shape.iter().zip(strides).rev() {
        if n != 1 {
            if stride != expected {
                return false;
            }
            expected *= n as isize;
        }
    }
    true
}

/// Whether two index tuples could name one element. May say yes for exotic strides that do not
/// overlap, never no for strides that do.
fn may_overlap(shape: &[usize], strides: &[isize]) -> bool {
    let mut axes = [(0usize, 0usize); MAX_RANK];
    let mut rank = 0;
    for (&n, &stride) in shape.iter().zip(strides).filter(|&(&n, _)| n > 1) {
        axes[rank] = (stride.unsigned_abs(), n);
        rank += 1;
    }
    let axes = &mut axes[..rank];
    axes.sort_unstable();
    // The extent of a view that passed `check` fits its data, so nothing here overflows.
    let mut extent = 0usize;
    axes.iter().any(|&(stride, n)| {
        let overlaps = stride <= extent;
        extent += stride * (n - 1);
        overlaps
    })
}

#[cfg(test)]
mod tests;
