//! Batch normalisation over rows x channels.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::columns::{Terms, column_sums, tile, width};
use crate::element::Float;
use crate::reduce::sum;
use crate::rows::{RowKernel, for_each_row, load, starts, store};
use crate::simd::Vector;
use crate::view::View;

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
    let width = width(channels);
    let mean = &*tile(mean, width)?;
    column_sums(SquaredDeviation { x, mean }, x.len(), channels, [variance])?;
    divide(variance, rows);
    let scale = &*tile(&scales(gamma, variance, epsilon)?, width)?;
    let beta = &*tile(beta.unwrap_or(&[]), width)?;
    for_each_row(Normalise { x, mean, scale, beta }, width, width, y);
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
    let width = width(channels);
    let inverse = scales(None, variance, epsilon)?;
    let mean = &*tile(mean, width)?;
    let terms = DeviationGradient { x, dy, mean, inverse: &tile(&inverse, width)? };
    column_sums(terms, x.len(), channels, [&mut *dgamma, &mut *dbeta])?;
    // dx = gamma * inverse * (dy - dbeta / rows - (x - mean) * inverse * dgamma / rows)
    let mut slope = Buffer::new(channels)?;
    let mut shift = Buffer::new(channels)?;
    for c in 0..channels {
        slope[c] = T::from_f64(inverse[c].to_f64() * dgamma[c].to_f64() / rows.max(1) as f64);
        shift[c] = T::from_f64(dbeta[c].to_f64() / rows.max(1) as f64);
    }
    let scale = &*tile(&scales(gamma, variance, epsilon)?, width)?;
    let (slope, shift) = (&*tile(&slope, width)?, &*tile(&shift, width)?);
    for_each_row(NormaliseBackward { x, dy, mean, scale, slope, shift }, width, width, dx);
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
        let x = &self.x[row * self.mean.len()..][..y.len()];
        for c in starts::<V>(y.len()) {
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
        let at = row * self.mean.len();
        let (x, dy) = (&self.x[at..][..dx.len()], &self.dy[at..][..dx.len()]);
        for c in starts::<V>(dx.len()) {
            let deviation = load(x, c, V::zero()).sub(load(self.mean, c, V::zero()));
            let gradient = load(dy, c, V::zero())
                .sub(load(self.shift, c, V::zero()))
                .sub(deviation.mul(load(self.slope, c, V::zero())));
            store(dx, c, gradient.mul(load(self.scale, c, V::zero())));
        }
    }
}

#[derive(Clone, Copy)]
struct SquaredDeviation<'a, T> {
    x: &'a [T],
    mean: &'a [T],
}

impl<T: Float> Terms<T, 1> for SquaredDeviation<'_, T> {
    #[inline(always)]
    fn terms<V: Vector<Scalar = T>>(self, row: Range<usize>, c: usize) -> [V; 1] {
        let mean = load(self.mean, c, V::zero());
        let deviation = load(&self.x[row], c, mean).sub(mean);
        [deviation.mul(deviation)]
    }
}

#[derive(Clone, Copy)]
struct DeviationGradient<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    mean: &'a [T],
    inverse: &'a [T],
}

/// The gradients with respect to gamma and beta.
impl<T: Float> Terms<T, 2> for DeviationGradient<'_, T> {
    #[inline(always)]
    fn terms<V: Vector<Scalar = T>>(self, row: Range<usize>, c: usize) -> [V; 2] {
        let mean = load(self.mean, c, V::zero());
        let deviation = load(&self.x[row.clone()], c, mean).sub(mean);
        let normal = deviation.mul(load(self.inverse, c, V::zero()));
        let dy = load(&self.dy[row], c, V::zero());
        [normal.mul(dy), dy]
    }
}

#[cfg(test)]
mod tests;
