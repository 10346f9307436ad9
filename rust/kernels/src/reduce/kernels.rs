//! The two shapes of reductions: along rows, and along columns.

use crate::buffer::{AllocError, Buffer};
use crate::element::Element;
use crate::isa::{Kernel, dispatch_exact};
use crate::out::Out;
use crate::par::{self, GRAIN};
use crate::simd::{AHEAD, Vector, prefetch};
use crate::subnormal::{self, Flush};

/// Accumulators side by side: two of the widest registers of float32. The same number for all
/// instruction sets, so a sum has the same bits on each.
const LANES: usize = 32;

/// Elements that go through one set of accumulators: 32 additions each.
const BLOCK: usize = 1024;

/// Elements of a row that one task takes; longer rows are cut.
const SEGMENT: usize = GRAIN;

/// Columns whose accumulators stay in registers.
const TILE: usize = 64;

/// Rows that are added up one after the other.
const RUN: usize = 32;

/// Rows that a task takes, at least: partial results are to be few against the input.
const HEIGHT: usize = 128;

/// Columns that one task takes, at most: wide enough for whole pages of consecutive reads.
const STRIP: usize = 1024;

/// An associative operation with its neutral element; both methods are `#[inline(always)]`.
pub(super) trait Reducer<T: Element>: Copy + Sync {
    /// Whether it computes, rather than picks one of its operands: then float32 flushes subnormals.
    const COMPUTES: bool;
    fn identity() -> T;
    fn combine(a: T, b: T) -> T;
}

/// `y[o, i]`: the `x[o, .., i]` combined, for `x` of outer x n x inner elements, none of which is 0.
pub(super) fn fold_middle<T: Element, R: Reducer<T>>(
    x: &[T],
    outer: usize,
    n: usize,
    inner: usize,
    y: &mut [T],
) -> Result<(), AllocError> {
    assert!(x.len() == outer * n * inner && y.len() == outer * inner);
    // For what this thread combines of the tasks' results.
    let _flush = flush::<T, R>();
    if inner == 1 { rows::<T, R>(x, n, y) } else { columns::<T, R>(x, outer, n, inner, y) }
}

fn flush<T: Element, R: Reducer<T>>() -> Option<Flush> {
    if R::COMPUTES { subnormal::arithmetic::<T>() } else { None }
}

/// Runs a loop inside a function compiled for the active instruction set.
#[inline(always)]
fn compiled<T: Element, R: Reducer<T>, K: Kernel<f32>>(kernel: K) -> K::Output {
    let _flush = flush::<T, R>();
    dispatch_exact(kernel)
}

/// Combines elements pairwise, in place, into the first.
#[inline(always)]
fn pairwise<T: Element, R: Reducer<T>>(xs: &mut [T]) -> T {
    let mut n = xs.len();
    while n > 1 {
        let half = n.div_ceil(2);
        for i in 0..n - half {
            xs[i] = R::combine(xs[i], xs[i + half]);
        }
        n = half;
    }
    xs[0]
}

fn rows<T: Element, R: Reducer<T>>(x: &[T], n: usize, y: &mut [T]) -> Result<(), AllocError> {
    if n <= SEGMENT {
        par::for_each_chunk(y, (GRAIN / n).max(1), |start, y| {
            let x = &x[start * n..(start + y.len()) * n];
            compiled::<T, R, _>(Rows::<T, R> { x, n, y, operation: std::marker::PhantomData });
        });
        return Ok(());
    }
    let segments = n.div_ceil(SEGMENT);
    let mut partial = Buffer::new(y.len() * segments)?;
    par::for_each_chunk(&mut partial, 1, |task, partial| {
        let (row, from) = (task / segments, task % segments * SEGMENT);
        let x = &x[row * n + from..row * n + (from + SEGMENT).min(n)];
        compiled::<T, R, _>(Rows::<T, R> { x, n: x.len(), y: partial, operation: std::marker::PhantomData });
    });
    for (y, partial) in y.iter_mut().zip(partial.chunks_exact_mut(segments)) {
        *y = pairwise::<T, R>(partial);
    }
    Ok(())
}

/// Folds rows of `n` elements, at most [`SEGMENT`].
struct Rows<'a, T, R> {
    x: &'a [T],
    n: usize,
    y: &'a mut [T],
    operation: std::marker::PhantomData<R>,
}

impl<T: Element, R: Reducer<T>> Kernel<f32> for Rows<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x.chunks_exact(self.n)) {
            *y = row::<T, R>(x);
        }
    }
}

#[inline(always)]
fn row<T: Element, R: Reducer<T>>(x: &[T]) -> T {
    let mut sums = [R::identity(); SEGMENT / BLOCK];
    let mut count = 0;
    for block in x.chunks(BLOCK) {
        sums[count] = if block.len() < LANES {
            block.iter().fold(R::identity(), |sum, &x| R::combine(sum, x))
        } else {
            let (whole, rest) = block.as_chunks::<LANES>();
            let mut lanes = side_by_side::<T, R>(whole);
            for (lane, &x) in lanes.iter_mut().zip(rest) {
                *lane = R::combine(*lane, x);
            }
            pairwise::<T, R>(&mut lanes)
        };
        count += 1;
    }
    pairwise::<T, R>(&mut sums[..count])
}

/// The lanes of all chunks combined, element by element.
#[inline(always)]
fn side_by_side<T: Element, R: Reducer<T>>(chunks: &[[T; LANES]]) -> [T; LANES] {
    let mut lanes = [R::identity(); LANES];
    for x in chunks {
        for line in x.chunks(64 / size_of::<T>()) {
            prefetch(line.as_ptr(), AHEAD);
        }
        for i in 0..LANES {
            lanes[i] = R::combine(lanes[i], x[i]);
        }
    }
    // Through memory: the compiler would otherwise arrange the loop for the pairs that are combined after it, in
    // registers of two elements instead of sixteen.
    std::hint::black_box(lanes)
}

fn columns<T: Element, R: Reducer<T>>(
    x: &[T],
    outer: usize,
    n: usize,
    inner: usize,
    y: &mut [T],
) -> Result<(), AllocError> {
    // Runs of rows go to tasks of their own, as long as many rows are left to each.
    let strip = inner.min(STRIP);
    let strips = inner.div_ceil(strip);
    let height = (GRAIN / strip).max(HEIGHT).min(n);
    let chunks = n.div_ceil(height);
    let mut partial = if chunks > 1 { Some(Buffer::new(outer * chunks * inner)?) } else { None };
    let out = Out::new(match &mut partial {
        Some(partial) => &mut partial[..],
        None => &mut *y,
    });
    let units = outer * chunks * strips;
    let group = (GRAIN / (height * strip)).max(1);
    par::for_each(units.div_ceil(group), |task| {
        for unit in task * group..((task + 1) * group).min(units) {
            let (o, chunk, left) = (unit / strips / chunks, unit / strips % chunks, unit % strips * strip);
            let (top, bottom) = (chunk * height, ((chunk + 1) * height).min(n));
            let x = &x[(o * n + top) * inner..(o * n + bottom) * inner];
            let right = (left + strip).min(inner);
            let at = (o * chunks + chunk) * inner;
            // SAFETY: units differ in their row of the output or in their strip of it.
            let y = unsafe { out.slice(at + left..at + right) };
            compiled::<T, R, _>(Columns::<T, R> { x, inner, left, y, operation: std::marker::PhantomData });
        }
    });
    let Some(mut partial) = partial else { return Ok(()) };
    for (y, partial) in y.chunks_exact_mut(inner).zip(partial.chunks_exact_mut(chunks * inner)) {
        let mut n = chunks;
        while n > 1 {
            let half = n.div_ceil(2);
            let (low, high) = partial[..n * inner].split_at_mut(half * inner);
            low.iter_mut().zip(high).for_each(|(a, b)| *a = R::combine(*a, *b));
            n = half;
        }
        y.copy_from_slice(&partial[..inner]);
    }
    Ok(())
}

/// Folds the columns from `left` on of `x`, rows of `inner` elements.
struct Columns<'a, T, R> {
    x: &'a [T],
    inner: usize,
    left: usize,
    y: &'a mut [T],
    operation: std::marker::PhantomData<R>,
}

impl<T: Element, R: Reducer<T>> Kernel<f32> for Columns<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) {
        let Columns { x, inner, left, y, .. } = self;
        if inner < TILE {
            return narrow::<T, R>(x, inner, y);
        }
        let mut done = 0;
        while done < y.len() {
            let width = TILE.min(y.len() - done);
            tile::<T, R>(x, inner, left + done, width, &mut y[done..done + width]);
            done += width;
        }
    }
}

/// Rows narrower than a tile are taken several at once, as one row of several times the columns.
#[inline(always)]
fn narrow<T: Element, R: Reducer<T>>(x: &[T], inner: usize, y: &mut [T]) {
    let wide = TILE / inner * inner;
    let mut lanes = [R::identity(); TILE];
    let whole = x.len() - x.len() % wide;
    tile::<T, R>(&x[..whole], wide, 0, wide, &mut lanes[..wide]);
    for (lane, &x) in lanes.iter_mut().zip(&x[whole..]) {
        *lane = R::combine(*lane, x);
    }
    y.copy_from_slice(&lanes[..inner]);
    for lanes in lanes[inner..wide].chunks_exact(inner) {
        for (y, &lane) in y.iter_mut().zip(lanes) {
            *y = R::combine(*y, lane);
        }
    }
}

/// Folds `width` columns, at most [`TILE`], from `left` on.
#[inline(always)]
fn tile<T: Element, R: Reducer<T>>(x: &[T], stride: usize, left: usize, width: usize, y: &mut [T]) {
    let mut total = [R::identity(); TILE];
    for run in x.chunks(RUN * stride) {
        let mut lanes = [R::identity(); TILE];
        for x in run.chunks_exact(stride) {
            if let Some(x) = x[left..].first_chunk::<TILE>().filter(|_| width == TILE) {
                for i in 0..TILE {
                    lanes[i] = R::combine(lanes[i], x[i]);
                }
            } else {
                for (lane, &x) in lanes.iter_mut().zip(&x[left..left + width]) {
                    *lane = R::combine(*lane, x);
                }
            }
        }
        for i in 0..TILE {
            total[i] = R::combine(total[i], lanes[i]);
        }
    }
    y.copy_from_slice(&total[..width]);
}
