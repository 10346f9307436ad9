//! Sums down the columns of a matrix of terms, computed from the elements in one pass over them.

use std::array;
use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::element::Float;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, GRAIN, Pace};
use crate::reduce::sum;
use crate::rows::{load, store};
use crate::simd::Vector;
use crate::view::View;

/// Rows that are added up one after the other; longer columns are summed in runs.
const RUN: usize = 32;

/// Rows narrower than this are taken several at once, so that vectors are full.
const WIDE: usize = 64;

/// Tasks of one sum, at most: their results are to be few against the input.
const TASKS: usize = 64;

/// What is summed down the columns, `N` sums at once; `terms` is `#[inline(always)]`.
pub(crate) trait Terms<T: Float, const N: usize>: Copy + Sync {
    /// The terms of the elements `row`, from the `c`-th on; lanes beyond the last element are 0. Called
    /// once for each vector of elements, so it may write results of its own.
    fn terms<V: Vector<Scalar = T>>(self, row: Range<usize>, c: usize) -> [V; N];
}

/// The elements that are taken as one row: one or more whole rows.
pub(crate) fn width(channels: usize) -> usize {
    WIDE.checked_div(channels).unwrap_or(1).max(1) * channels
}

/// `column` (empty, or one value for each channel) repeated to `width`.
pub(crate) fn tile<T: Float>(column: &[T], width: usize) -> Result<Buffer<T>, AllocError> {
    let mut tiled = Buffer::new(if column.is_empty() { 0 } else { width })?;
    for part in tiled.chunks_exact_mut(column.len().max(1)) {
        part.copy_from_slice(column);
    }
    Ok(tiled)
}

/// The sums down the columns of the terms of all `len` elements, rows [`width`] wide: runs of rows, fixed
/// by the shape, then pairwise.
pub(crate) fn column_sums<T: Float, F: Terms<T, N>, const N: usize>(
    f: F,
    len: usize,
    channels: usize,
    ys: [&mut [T]; N],
) -> Result<(), AllocError> {
    if len == 0 {
        ys.into_iter().for_each(|y| y.fill(T::ZERO));
        return Ok(());
    }
    let width = width(channels);
    let height = (GRAIN / width).max(len.div_ceil(width).div_ceil(TASKS)).max(1) * width;
    let tasks = len.div_ceil(height);
    let (mut totals, mut runs) = (Buffer::new(N * tasks * width)?, Buffer::new(N * tasks * width)?);
    let (total, run) = (Out::new(&mut totals), Out::new(&mut runs));
    par::for_each(tasks, |task| {
        let part = |k: usize| (k * tasks + task) * width..(k * tasks + task + 1) * width;
        // SAFETY: parts differ in their sum or in their task, and each task runs once.
        let totals = array::from_fn(|k| unsafe { total.slice(part(k)) });
        // SAFETY: as above.
        let runs = array::from_fn(|k| unsafe { run.slice(part(k)) });
        let range = task * height..((task + 1) * height).min(len);
        T::dispatch(ColumnSums { f, range, totals, runs });
    });
    let rows = tasks * width / channels;
    for (y, totals) in ys.into_iter().zip(totals.chunks_exact(tasks * width)) {
        sum(View::new(totals, 0, &[rows, channels], &[channels as isize, 1]), &[0], y)?;
    }
    Ok(())
}

/// Sums the terms of the elements `range`, in rows as wide as the totals (the last may be shorter).
struct ColumnSums<'a, T, F, const N: usize> {
    f: F,
    range: Range<usize>,
    totals: [&'a mut [T]; N],
    /// Scratch for the sums of a run.
    runs: [&'a mut [T]; N],
}

impl<T: Float, F: Terms<T, N>, const N: usize> Kernel<T> for ColumnSums<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(mut self) {
        let (width, end) = (self.totals[0].len(), self.range.end);
        self.totals.iter_mut().for_each(|total| total.fill(T::ZERO));
        let mut pace = Pace::default();
        let mut at = self.range.start;
        while at < end {
            self.runs.iter_mut().for_each(|run| run.fill(T::ZERO));
            let stop = (at + RUN * width).min(end);
            // Along the rows, as they lie in memory; the sums stay in the nearest cache.
            while at < stop {
                let row = at..(at + width).min(end);
                pace.step(row.len());
                for c in (0..row.len()).step_by(V::LEN) {
                    let terms = self.f.terms::<V>(row.clone(), c);
                    for k in 0..N {
                        store(self.runs[k], c, load(self.runs[k], c, V::zero()).add(terms[k]));
                    }
                }
                at += width;
            }
            for k in 0..N {
                for c in (0..width).step_by(V::LEN) {
                    let run = load(self.runs[k], c, V::zero());
                    store(self.totals[k], c, load(self.totals[k], c, V::zero()).add(run));
                }
            }
        }
    }
}
