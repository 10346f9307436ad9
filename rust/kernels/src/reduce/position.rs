//! Where the extremes are.

use crate::buffer::AllocError;
use crate::element::Number;
use crate::par::{self, GRAIN, Pace};
use crate::reduce::contiguous;
use crate::view::View;

/// The index along `axis` of the maximum, for each place along the other axes in row-major order:
/// the first one where several are equal, the first NaN where there is one.
///
/// ```
/// use autodan_kernels::{reduce::argmax, view::View};
/// let mut y = [0; 2];
/// argmax(View::new(&[1.0f32, 3.0, 3.0, 9.0, 5.0, 6.0], 0, &[2, 3], &[3, 1]), 1, &mut y)?;
/// assert_eq!(y, [1, 0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when `x` is not contiguous and there is no memory to gather it.
///
/// # Panics
/// When the axis is out of range, or empty while `y` is not, or `y` has not the other axes' length.
pub fn argmax<T: Number>(x: View<T>, axis: usize, y: &mut [i64]) -> Result<(), AllocError> {
    position(x, axis, y, |a, b| a > b)
}

/// The index along `axis` of the minimum, as [`argmax`].
///
/// # Errors
/// As [`argmax`].
///
/// # Panics
/// As [`argmax`].
pub fn argmin<T: Number>(x: View<T>, axis: usize, y: &mut [i64]) -> Result<(), AllocError> {
    position(x, axis, y, |a, b| a < b)
}

/// Columns looked at together.
const TILE: usize = 64;

fn position<T: Number>(
    x: View<T>,
    axis: usize,
    y: &mut [i64],
    better: impl Fn(T, T) -> bool + Sync,
) -> Result<(), AllocError> {
    let shape = x.shape();
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    assert_eq!(y.len(), outer * inner, "the output must have the length of the other axes");
    if y.is_empty() {
        return Ok(());
    }
    assert!(n > 0, "the position of the extreme of nothing");
    let mut gathered = None;
    let x = contiguous(x, &mut gathered)?;
    // A NaN beats all but an earlier NaN. NaN is the only value unlike itself.
    #[allow(clippy::eq_op)]
    let beats = |new: T, best: T| better(new, best) || (new != new && best == best);
    par::for_each_chunk(y, (GRAIN / n).max(1), |start, y| {
        let mut pace = Pace::default();
        if inner == 1 {
            for (y, x) in y.iter_mut().zip(x[start * n..].chunks_exact(n)) {
                let mut best = 0;
                for k in 1..n {
                    pace.step(1);
                    if beats(x[k], x[best]) {
                        best = k;
                    }
                }
                *y = best as i64;
            }
            return;
        }
        let mut done = 0;
        while done < y.len() {
            let (o, left) = ((start + done) / inner, (start + done) % inner);
            let width = TILE.min(inner - left).min(y.len() - done);
            let y = &mut y[done..done + width];
            let x = &x[o * n * inner..(o + 1) * n * inner];
            let mut best = [T::ZERO; TILE];
            best[..width].copy_from_slice(&x[left..left + width]);
            y.fill(0);
            for (k, x) in x.chunks_exact(inner).enumerate().skip(1) {
                pace.step(width);
                for ((y, best), &x) in y.iter_mut().zip(&mut best).zip(&x[left..left + width]) {
                    if beats(x, *best) {
                        *best = x;
                        *y = k as i64;
                    }
                }
            }
            done += width;
        }
    });
    Ok(())
}
