//! Moving elements: gathers, writes into slices, accumulation, and taking along an axis.

use crate::element::{Element, Number};
use crate::out::Out;
use crate::par::{self, GRAIN, Pace};
use crate::subnormal;
use crate::view::{View, ViewMut};
use crate::walk::{Axes, locate};

/// The side of the square tiles of a transposition: both the 16 cache lines that it reads and the
/// 16 that it writes stay in L1 while it is at work.
const TILE: usize = 16;

/// `y = x` in row-major order.
///
/// ```
/// use autodan_kernels::{copy::copy, view::View};
/// let mut y = [0; 6];
/// copy(View::new(&[1, 2, 3, 4, 5, 6], 0, &[3, 2], &[1, 3]), &mut y);
/// assert_eq!(y, [1, 4, 2, 5, 3, 6]);
/// ```
///
/// # Panics
/// When the lengths differ.
pub fn copy<T: Element>(x: View<T>, y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "the output must have the operand's length");
    if let Some(x) = x.as_slice() {
        return par::for_each_chunk(y, GRAIN, |start, y| y.copy_from_slice(&x[start..start + y.len()]));
    }
    let mut strides = [0; crate::view::MAX_RANK];
    let mut stride = 1;
    for (axis, &n) in x.shape().iter().enumerate().rev() {
        strides[axis] = stride;
        stride *= n as isize;
    }
    transfer(x, ViewMut::new(y, 0, x.shape(), &strides[..x.shape().len()]), |y, x| *y = x);
}

/// `y = x` into any view of the same shape: parts of a concatenation, the inside of a padding.
///
/// # Panics
/// When the shapes differ.
pub fn copy_to<T: Element>(x: View<T>, y: ViewMut<T>) {
    transfer(x, y, |y, x| *y = x);
}

/// `y += x` into any view of the same shape.
///
/// # Panics
/// When the shapes differ.
pub fn add_to<T: Number>(x: View<T>, y: ViewMut<T>) {
    transfer(x, y, |y, x| *y = y.add(x));
}

/// `f(y[i], x[i])` for each index. The axes are walked in the order that suits `y`; where `x` is
/// closest along another axis, both axes are walked in square tiles.
fn transfer<T: Element>(x: View<T>, y: ViewMut<T>, f: impl Fn(&mut T, T) + Sync + Copy) {
    assert_eq!(x.shape(), y.shape(), "both sides must have one shape");
    if y.is_empty() {
        return;
    }
    let rank = x.shape().len();
    let mut order: [usize; crate::view::MAX_RANK] = std::array::from_fn(|axis| axis);
    order[..rank].sort_by_key(|&axis| std::cmp::Reverse(y.strides()[axis].unsigned_abs()));
    let axes = Axes::ordered(x.shape(), [x.strides(), y.strides()], order[..rank].iter().copied());
    let (data, offset) = y.into_parts();
    let last = axes.shape().len() - 1;
    let closeness = |axis: usize| axes.strides(0)[axis].unsigned_abs();
    let nearest = (0..last).filter(|&axis| closeness(axis) != 0).min_by_key(|&axis| closeness(axis));
    let job = Transfer { x: x.data(), y: Out::new(data), f };
    match nearest {
        Some(axis) if closeness(axis) < closeness(last) => {
            // The other axes, then the two that are tiled.
            let mut order: [usize; crate::view::MAX_RANK] = std::array::from_fn(|i| i);
            order[axis..=last].rotate_left(1);
            order[last - 1..=last].rotate_left(1);
            debug_assert_eq!(order[last - 1], axis);
            job.tiles(&axes, &order[..=last], x.offset(), offset);
        }
        _ => job.rows(&axes, x.offset(), offset),
    }
}

struct Transfer<'a, T, F> {
    x: &'a [T],
    y: Out<'a, T>,
    f: F,
}

impl<T: Element, F: Fn(&mut T, T) + Sync + Copy> Transfer<'_, T, F> {
    /// Row by row along the last axis; long rows are cut.
    fn rows(&self, axes: &Axes<2>, x_offset: usize, y_offset: usize) {
        let (shape, xs, ys) = (axes.shape(), axes.strides(0), axes.strides(1));
        let last = shape.len() - 1;
        let inner = shape[last];
        let rows: usize = shape[..last].iter().product();
        let (pieces, piece) = (inner.div_ceil(GRAIN), inner.min(GRAIN));
        let group = (GRAIN / piece).max(1);
        par::for_each(rows.div_ceil(group) * pieces, |task| {
            let (group_index, from) = (task / pieces, task % pieces * piece);
            let n = piece.min(inner - from);
            for row in group_index * group..((group_index + 1) * group).min(rows) {
                let x = locate(x_offset, &shape[..last], &xs[..last], row).0 + from as isize * xs[last];
                let y = locate(y_offset, &shape[..last], &ys[..last], row).0 + from as isize * ys[last];
                self.row(x, xs[last], y, ys[last], n);
            }
        });
    }

    /// Tiles over the last two axes of `order`; each task takes the tiles along the very last one.
    fn tiles(&self, axes: &Axes<2>, order: &[usize], x_offset: usize, y_offset: usize) {
        let mut sorted = ([1; crate::view::MAX_RANK], [0; crate::view::MAX_RANK], [0; crate::view::MAX_RANK]);
        for (i, &axis) in order.iter().enumerate() {
            sorted.0[i] = axes.shape()[axis];
            sorted.1[i] = axes.strides(0)[axis];
            sorted.2[i] = axes.strides(1)[axis];
        }
        let (shape, xs, ys) = (&sorted.0, &sorted.1, &sorted.2);
        let last = order.len() - 1;
        let (side, inner) = (shape[last - 1], shape[last]);
        let bands = side.div_ceil(TILE);
        let outer: usize = shape[..last - 1].iter().product();
        let group = (GRAIN / (TILE * inner)).max(1);
        let total = outer * bands;
        par::for_each(total.div_ceil(group), |task| {
            let mut pace = Pace::default();
            for band in task * group..((task + 1) * group).min(total) {
                let (o, top) = (band / bands, band % bands * TILE);
                let x = locate(x_offset, &shape[..last - 1], xs, o).0;
                let y = locate(y_offset, &shape[..last - 1], ys, o).0;
                for left in (0..inner).step_by(TILE) {
                    let n = TILE.min(inner - left);
                    pace.step(TILE * TILE);
                    for i in top..(top + TILE).min(side) {
                        let x = x + i as isize * xs[last - 1] + left as isize * xs[last];
                        let y = y + i as isize * ys[last - 1] + left as isize * ys[last];
                        self.row(x, xs[last], y, ys[last], n);
                    }
                }
            }
        });
    }

    #[inline(always)]
    fn row(&self, x: isize, x_stride: isize, y: isize, y_stride: isize, n: usize) {
        if y_stride == 1 {
            // SAFETY: rows of different tasks, and of one task at different times, are disjoint: a
            // `ViewMut` has no two indices for one element.
            let y = unsafe { self.y.slice(y as usize..y as usize + n) };
            match x_stride {
                1 => {
                    let x = &self.x[x as usize..x as usize + n];
                    y.iter_mut().zip(x).for_each(|(y, &x)| (self.f)(y, x));
                }
                _ => {
                    for (i, y) in y.iter_mut().enumerate() {
                        (self.f)(y, self.x[(x + i as isize * x_stride) as usize]);
                    }
                }
            }
        } else {
            for i in 0..n as isize {
                let at = (y + i * y_stride) as usize;
                // SAFETY: as above.
                let y = unsafe { self.y.slice(at..at + 1) };
                (self.f)(&mut y[0], self.x[(x + i * x_stride) as usize]);
            }
        }
    }
}

/// `y[o, k, i] = x[o, indices[k], i]` for `x` of outer x `n` x inner and `y` of outer x
/// `indices.len()` x inner elements.
///
/// ```
/// use autodan_kernels::copy::take;
/// let mut y = [0; 4];
/// take(&[1, 2, 3, 4, 5, 6], 1, 3, 2, &[2, 0], &mut y);
/// assert_eq!(y, [5, 6, 1, 2]);
/// ```
///
/// # Panics
/// When the lengths do not fit, or an index is not in `0..n`.
pub fn take<T: Element>(x: &[T], outer: usize, n: usize, inner: usize, indices: &[i64], y: &mut [T]) {
    assert_eq!(x.len(), outer * n * inner, "x must have outer * n * inner elements");
    assert_eq!(y.len(), outer * indices.len() * inner, "y must have outer * indices * inner elements");
    if y.is_empty() {
        return;
    }
    let group = (GRAIN / inner).max(1);
    par::for_each_chunk(y, group * inner, |start, y| {
        let mut pace = Pace::default();
        for (row, y) in (start / inner..).zip(y.chunks_exact_mut(inner)) {
            let index = index(indices[row % indices.len()], n);
            let from = (row / indices.len() * n + index) * inner;
            for (y, x) in y.chunks_mut(GRAIN).zip(x[from..from + inner].chunks(GRAIN)) {
                pace.step(x.len());
                y.copy_from_slice(x);
            }
        }
    });
}

/// The gradient of [`take`]: `dx[o, indices[k], i]` is the sum of `dy[o, k, i]` over the `k` that
/// name it, in the order of `k`, and 0 where none does.
///
/// # Panics
/// When the lengths do not fit, or an index is not in `0..n`.
pub fn take_backward<T: Number>(
    dy: &[T],
    outer: usize,
    n: usize,
    inner: usize,
    indices: &[i64],
    dx: &mut [T],
) {
    assert_eq!(dx.len(), outer * n * inner, "dx must have outer * n * inner elements");
    assert_eq!(dy.len(), outer * indices.len() * inner, "dy must have outer * indices * inner elements");
    if dx.is_empty() {
        return;
    }
    let step = indices.len() * inner;
    let add = |o: usize, columns: std::ops::Range<usize>, dx: &Out<T>| {
        let _flush = subnormal::arithmetic::<T>();
        let mut pace = Pace::default();
        for row in 0..n {
            pace.step(columns.len());
            let at = (o * n + row) * inner;
            // SAFETY: tasks differ in `o` or in `columns`.
            unsafe { dx.slice(at + columns.start..at + columns.end) }.fill(T::ZERO);
        }
        for (k, &i) in indices.iter().enumerate() {
            pace.step(columns.len());
            let at = (o * n + index(i, n)) * inner;
            // SAFETY: as above.
            let dx = unsafe { dx.slice(at + columns.start..at + columns.end) };
            let dy = &dy[o * step + k * inner..][columns.clone()];
            dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx = dx.add(dy));
        }
    };
    // Tasks share no element of dx: they split the outer axis and, where rows are wide, the inner.
    let strip = if step + n * inner > GRAIN { 64 } else { inner };
    let strips = inner.div_ceil(strip);
    let group = (GRAIN / (step + n * inner).div_ceil(strips).max(1)).max(1);
    let dx = Out::new(dx);
    par::for_each((outer * strips).div_ceil(group), |task| {
        for part in task * group..((task + 1) * group).min(outer * strips) {
            let from = part % strips * strip;
            add(part / strips, from..(from + strip).min(inner), &dx);
        }
    });
}

fn index(i: i64, n: usize) -> usize {
    usize::try_from(i).ok().filter(|&i| i < n).unwrap_or_else(|| panic!("index {i} is not in 0..{n}"))
}

#[cfg(test)]
mod tests;
