//! Batch normalisation over rows x channels.

use crate::buffer::{AllocError, Buffer};
use crate::element::Float;
use crate::isa::Kernel;
use crate::par::{self, GRAIN};
use crate::reduce::sum;
use crate::rows::{RowKernel, for_each_row, load, store};
use crate::simd::Vector;
use crate::view::View;

/// Rows that are added up one after the other; longer columns are summed in runs.
const RUN: usize = 32;

/// Rows that a task takes, at least: partial results are to be few against the input.
const HEIGHT: usize = 128;

/// `y = (x - mean) / sqrt(variance + epsilon) * gamma + beta` for each of `channels` columns, with
/// the mean and the (biased) variance of the column, which are stored too. Batch normalization,
/// Ioffe and Szegedy 2015.
///
/// The variance is computed from differences to the mean, so a mean that is large against the
/// deviations costs no accuracy. Without rows, mean and variance are 0.
///
/// ```
/// let (mut y, mut mean, mut variance) = ([0.0f64; 4], [0.0; 2], [0.0; 2]);
/// let x = [1.0, 10.0, 3.0, 30.0];
/// autodan_kernels::norm::batch_norm(&x, 2, None, None, 0.0, &mut y, &mut mean, &mut variance)?;
/// assert_eq!((y, mean, variance), ([-1.0, -1.0, 1.0, 1.0], [2.0, 20.0], [1.0, 100.0]));
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for a few rows of scratch.
///
/// # Panics
/// When the lengths do not fit.
#[allow(clippy::too_many_arguments)]
pub fn batch_norm<T: Float>(
    x: &[T],
    channels: usize,
    gamma: Option<&[T]>,
    beta: Option<&[T]>,
    epsilon: f64,
    y: &mut [T],
    mean: &mut [T],
    variance: &mut [T],
) -> Result<(), AllocError> {
    let rows = check(&[x.len(), y.len()], channels, &[mean.len(), variance.len()], &[gamma, beta]);
    column_means(x, channels, rows, mean)?;
    let mean = &*mean;
    column_sums(SquaredDeviation { x, mean }, rows, channels, variance)?;
    divide(variance, rows);
    let scale = scales(gamma, variance, epsilon)?;
    for_each_row(Normalise { x, mean, scale: &scale, beta: beta.unwrap_or(&[]) }, channels, channels, y);
    Ok(())
}

/// The gradients of [`batch_norm`] with respect to `x`, `gamma` and `beta`, the mean's and the
/// variance's dependence on `x` included.
///
/// # Errors
/// As [`batch_norm`].
///
/// # Panics
/// As [`batch_norm`].
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward<T: Float>(
    x: &[T],
    dy: &[T],
    channels: usize,
    gamma: Option<&[T]>,
    mean: &[T],
    variance: &[T],
    epsilon: f64,
    dx: &mut [T],
    dgamma: &mut [T],
    dbeta: &mut [T],
) -> Result<(), AllocError> {
    let columns = [mean.len(), variance.len(), dgamma.len(), dbeta.len()];
    let rows = check(&[x.len(), dy.len(), dx.len()], channels, &columns, &[gamma]);
    let inverse = scales(None, variance, epsilon)?;
    column_sums(DeviationGradient { x, dy, mean, inverse: &inverse }, rows, channels, dgamma)?;
    let shape = [rows, channels];
    sum(View::new(dy, 0, &shape, &[channels as isize, 1]), &[0], dbeta)?;
    // dx = gamma * inverse * (dy - dbeta / rows - (x - mean) * inverse * dgamma / rows)
    let scale = scales(gamma, variance, epsilon)?;
    let mut slope = Buffer::new(channels)?;
    let mut shift = Buffer::new(channels)?;
    for c in 0..channels {
        slope[c] = T::from_f64(inverse[c].to_f64() * dgamma[c].to_f64() / rows.max(1) as f64);
        shift[c] = T::from_f64(dbeta[c].to_f64() / rows.max(1) as f64);
    }
    let backward = NormaliseBackward { x, dy, mean, scale: &scale, slope: &slope, shift: &shift };
    for_each_row(backward, channels, channels, dx);
    Ok(())
}

fn check<T>(full: &[usize], channels: usize, columns: &[usize], optional: &[Option<&[T]>]) -> usize {
    assert!(full.iter().all(|&len| len == full[0]), "all arrays must have the same length");
    let rows = full[0].checked_div(channels).unwrap_or(0);
    assert_eq!(full[0], rows * channels, "the length must be rows * channels");
    let optional = optional.iter().flatten().map(|column| column.len());
    assert!(columns.iter().copied().chain(optional).all(|len| len == channels), "one value for each channel");
    rows
}

fn column_means<T: Float>(x: &[T], channels: usize, rows: usize, mean: &mut [T]) -> Result<(), AllocError> {
    sum(View::new(x, 0, &[rows, channels], &[channels as isize, 1]), &[0], mean)?;
    divide(mean, rows);
    Ok(())
}

fn divide<T: Float>(xs: &mut [T], rows: usize) {
    for x in xs {
        *x = T::from_f64(x.to_f64() / rows.max(1) as f64);
    }
}

/// `gamma / sqrt(variance + epsilon)`.
fn scales<T: Float>(gamma: Option<&[T]>, variance: &[T], epsilon: f64) -> Result<Buffer<T>, AllocError> {
    let mut scale = Buffer::new(variance.len())?;
    for (c, scale) in scale.iter_mut().enumerate() {
        let gamma = gamma.map_or(1.0, |gamma| gamma[c].to_f64());
        *scale = T::from_f64(gamma / (variance[c].to_f64() + epsilon).sqrt());
    }
    Ok(scale)
}

#[derive(Clone, Copy)]
struct Normalise<'a, T> {
    x: &'a [T],
    mean: &'a [T],
    scale: &'a [T],
    /// Empty for none.
    beta: &'a [T],
}

impl<T: Float> RowKernel<T, T> for Normalise<'_, T> {
    #[inline(always)]
    fn row<V: Vector<Scalar = T>>(self, row: usize, y: &mut [T]) {
        let x = &self.x[row * y.len()..(row + 1) * y.len()];
        for c in (0..y.len()).step_by(V::LEN) {
            let deviation = load(x, c, V::zero()).sub(load(self.mean, c, V::zero()));
            let beta = if self.beta.is_empty() { V::zero() } else { load(self.beta, c, V::zero()) };
            store(y, c, deviation.mul_add(load(self.scale, c, V::zero()), beta));
        }
    }
}

#[derive(Clone, Copy)]
struct NormaliseBackward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    mean: &'a [T],
    scale: &'a [T],
    slope: &'a [T],
    shift: &'a [T],
}

impl<T: Float> RowKernel<T, T> for NormaliseBackward<'_, T> {
    #[inline(always)]
    fn row<V: Vector<Scalar = T>>(self, row: usize, dx: &mut [T]) {
        let at = row * dx.len()..(row + 1) * dx.len();
        let (x, dy) = (&self.x[at.clone()], &self.dy[at]);
        for c in (0..dx.len()).step_by(V::LEN) {
            let deviation = load(x, c, V::zero()).sub(load(self.mean, c, V::zero()));
            let gradient = load(dy, c, V::zero())
                .sub(load(self.shift, c, V::zero()))
                .sub(deviation.mul(load(self.slope, c, V::zero())));
            store(dx, c, gradient.mul(load(self.scale, c, V::zero())));
        }
    }
}

/// What is summed down the columns; `term` is `#[inline(always)]`.
trait Terms<T: Float>: Copy + Sync {
    /// The terms of the row that starts at `row` in a matrix, for the channels from `c` on; lanes
    /// beyond the last channel are 0.
    fn term<V: Vector<Scalar = T>>(self, row: std::ops::Range<usize>, c: usize) -> V;
}

#[derive(Clone, Copy)]
struct SquaredDeviation<'a, T> {
    x: &'a [T],
    mean: &'a [T],
}

impl<T: Float> Terms<T> for SquaredDeviation<'_, T> {
    #[inline(always)]
    fn term<V: Vector<Scalar = T>>(self, row: std::ops::Range<usize>, c: usize) -> V {
        let deviation = load(&self.x[row], c, V::zero()).sub(load(self.mean, c, V::zero()));
        deviation.mul(deviation)
    }
}

#[derive(Clone, Copy)]
struct DeviationGradient<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    mean: &'a [T],
    inverse: &'a [T],
}

impl<T: Float> Terms<T> for DeviationGradient<'_, T> {
    #[inline(always)]
    fn term<V: Vector<Scalar = T>>(self, row: std::ops::Range<usize>, c: usize) -> V {
        let deviation = load(&self.x[row.clone()], c, V::zero()).sub(load(self.mean, c, V::zero()));
        let normal = deviation.mul(load(self.inverse, c, V::zero()));
        normal.mul(load(&self.dy[row], c, V::zero()))
    }
}

/// The sums of the terms of all rows: runs of rows, fixed by the shape, then pairwise.
fn column_sums<T: Float, F: Terms<T>>(
    f: F,
    rows: usize,
    channels: usize,
    y: &mut [T],
) -> Result<(), AllocError> {
    if rows == 0 || channels == 0 {
        y.fill(T::ZERO);
        return Ok(());
    }
    let height = (GRAIN / channels).max(HEIGHT);
    let chunks = rows.div_ceil(height);
    let mut partial = Buffer::new(chunks * channels)?;
    par::for_each_chunk(&mut partial, channels, |start, y| {
        let top = start / channels * height;
        T::dispatch(ColumnSums { f, rows: top..(top + height).min(rows), y });
    });
    sum(View::new(&partial, 0, &[chunks, channels], &[channels as isize, 1]), &[0], y)
}

struct ColumnSums<'a, T, F> {
    f: F,
    rows: std::ops::Range<usize>,
    y: &'a mut [T],
}

impl<T: Float, F: Terms<T>> Kernel<T> for ColumnSums<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let channels = self.y.len();
        for c in (0..channels).step_by(V::LEN) {
            let mut total = V::zero();
            for top in self.rows.clone().step_by(RUN) {
                let mut sum = V::zero();
                for row in top..(top + RUN).min(self.rows.end) {
                    sum = sum.add(self.f.term::<V>(row * channels..(row + 1) * channels, c));
                }
                total = total.add(sum);
            }
            store(self.y, c, total);
        }
    }
}

#[cfg(test)]
mod tests;
