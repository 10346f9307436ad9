//! Walking strided operands in the row-major order of their common shape.
//!
//! Kernels compute on contiguous blocks. A block of an operand that is not contiguous in memory is
//! gathered into a small scratch first, so every operand looks the same to the inner loop and
//! op(view) has the bits of op(copy).

use std::ops::Range;

use crate::element::Element;
use crate::view::{MAX_RANK, View};

/// The most elements gathered at a time: some operands of 2 KB each stay well within L1, and the
/// scratch is cheap to have on the stack for a tensor of ten elements.
pub(crate) const BLOCK: usize = 256;

/// The scratch of one operand.
pub(crate) type Scratch<T> = [T; BLOCK];

/// A shape and the strides of `N` operands over it, adjacent axes merged where all operands allow it
/// and axes of one element dropped. At least one axis remains.
pub(crate) struct Axes<const N: usize> {
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [[isize; MAX_RANK]; N],
}

impl<const N: usize> Axes<N> {
    pub(crate) fn new(shape: &[usize], strides: [&[isize]; N]) -> Axes<N> {
        Axes::ordered(shape, strides, 0..shape.len())
    }

    /// As [`Axes::new`], taking the axes in another order.
    pub(crate) fn ordered(
        shape: &[usize],
        strides: [&[isize]; N],
        order: impl Iterator<Item = usize>,
    ) -> Axes<N> {
        let mut axes = Axes { rank: 0, shape: [1; MAX_RANK], strides: [[1; MAX_RANK]; N] };
        for axis in order {
            let n = shape[axis];
            if n == 1 {
                continue;
            }
            let merges = axes.rank > 0
                && (0..N).all(|k| axes.strides[k][axes.rank - 1] == strides[k][axis] * n as isize);
            if !merges {
                axes.rank += 1;
            }
            axes.shape[axes.rank - 1] *= n;
            for k in 0..N {
                axes.strides[k][axes.rank - 1] = strides[k][axis];
            }
        }
        axes.rank = axes.rank.max(1);
        axes
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    pub(crate) fn strides(&self, k: usize) -> &[isize] {
        &self.strides[k][..self.rank]
    }

    /// The side of the last axis.
    pub(crate) fn inner(&self) -> usize {
        self.shape[self.rank - 1]
    }

    /// Elements per task: `grain`, rounded to whole blocks so that no block of [`Axes::blocks`]
    /// is cut.
    pub(crate) fn grain(&self, grain: usize) -> usize {
        let block = self.block();
        (grain / block).max(1) * block
    }

    /// Short rows come several to a block.
    fn block(&self) -> usize {
        if self.inner() < BLOCK { BLOCK / self.inner() * self.inner() } else { BLOCK }
    }

    /// Cuts `range` (which starts at a multiple of the grain) into blocks of at most [`BLOCK`]
    /// elements, each of which consists of whole rows or lies within one.
    #[inline(always)]
    pub(crate) fn blocks(&self, range: Range<usize>) -> Blocks {
        Blocks { range, inner: self.inner(), block: self.block() }
    }

    /// Operand `k`, whose shape and strides these are.
    pub(crate) fn operand<'a, T: Element>(&'a self, k: usize, view: View<'a, T>) -> Operand<'a, T> {
        let (shape, strides) = (self.shape(), self.strides(k));
        let last = self.rank - 1;
        let access = if crate::view::is_contiguous(shape, strides) {
            Access::Contiguous
        } else if strides[..last].iter().all(|&s| s == 0) && (shape[last] < BLOCK || strides[last] == 0) {
            Access::Repeated
        } else if strides[last] == 1 && shape[last] >= BLOCK {
            Access::Rows
        } else {
            Access::Gathered
        };
        Operand { data: view.data(), offset: view.offset(), shape, strides, access }
    }
}

/// See [`Axes::blocks`].
pub(crate) struct Blocks {
    range: Range<usize>,
    inner: usize,
    block: usize,
}

impl Iterator for Blocks {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        let Blocks { ref mut range, inner, block } = *self;
        if range.start >= range.end {
            return None;
        }
        let start = range.start;
        let len = if inner < BLOCK { block } else { block.min(inner - start % inner) };
        range.start = (start + len).min(range.end);
        Some(start..range.start)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    /// Row-major without gaps.
    Contiguous,
    /// The same elements in every block: a scalar, or a short row broadcast over the others.
    Repeated,
    /// Every block is contiguous.
    Rows,
    /// Anything else.
    Gathered,
}

/// One operand of a walk.
pub(crate) struct Operand<'a, T> {
    data: &'a [T],
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
    access: Access,
}

impl<T: Element> Operand<'_, T> {
    /// Fills the scratch of an operand that is the same in every block; call it once per task,
    /// before [`Operand::block`].
    pub(crate) fn prepare(&self, len: usize, scratch: &mut Scratch<T>) {
        if self.access == Access::Repeated {
            gather(self.data, self.offset, self.shape, self.strides, 0, &mut scratch[..len.min(BLOCK)]);
        }
    }

    /// The elements `range` of the walk, a block of [`Axes::blocks`].
    #[inline(always)]
    pub(crate) fn block<'s>(&'s self, range: &Range<usize>, scratch: &'s mut Scratch<T>) -> &'s [T] {
        match self.access {
            Access::Contiguous => &self.data[self.offset + range.start..self.offset + range.end],
            Access::Repeated => &scratch[..range.len()],
            Access::Rows => {
                let start = locate(self.offset, self.shape, self.strides, range.start).0;
                &self.data[start as usize..start as usize + range.len()]
            }
            Access::Gathered => {
                let scratch = &mut scratch[..range.len()];
                gather(self.data, self.offset, self.shape, self.strides, range.start, scratch);
                scratch
            }
        }
    }
}

/// The place in the data, and the index, of element number `linear` in row-major order.
#[inline]
pub(crate) fn locate(
    offset: usize,
    shape: &[usize],
    strides: &[isize],
    linear: usize,
) -> (isize, [usize; MAX_RANK]) {
    let mut index = [0; MAX_RANK];
    let (mut rest, mut at) = (linear, offset as isize);
    for axis in (0..shape.len()).rev() {
        index[axis] = rest % shape[axis];
        rest /= shape[axis];
        at += index[axis] as isize * strides[axis];
    }
    (at, index)
}

/// Copies elements number `start`, `start + 1`, .. of a strided operand to `y`.
pub(crate) fn gather<T: Element>(
    data: &[T],
    offset: usize,
    shape: &[usize],
    strides: &[isize],
    start: usize,
    y: &mut [T],
) {
    let last = shape.len() - 1;
    let (mut at, mut index) = locate(offset, shape, strides, start);
    let mut done = 0;
    loop {
        let n = (shape[last] - index[last]).min(y.len() - done);
        gather_row(data, at, strides[last], &mut y[done..done + n]);
        done += n;
        if done == y.len() {
            return;
        }
        at -= index[last] as isize * strides[last];
        index[last] = 0;
        for axis in (0..last).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= shape[axis] as isize * strides[axis];
            index[axis] = 0;
        }
    }
}

/// Copies `data[at]`, `data[at + stride]`, .. to `y`.
#[inline]
pub(crate) fn gather_row<T: Element>(data: &[T], at: isize, stride: isize, y: &mut [T]) {
    match stride {
        1 => y.copy_from_slice(&data[at as usize..at as usize + y.len()]),
        0 => y.fill(data[at as usize]),
        _ => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = data[(at + i as isize * stride) as usize];
            }
        }
    }
}
