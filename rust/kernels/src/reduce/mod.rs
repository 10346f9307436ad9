//! Reductions: sums, products, extremes, their positions, and truth.
//!
//! The order of every reduction is a function of the logical shape and the axes: an input that is
//! not contiguous is gathered first, a row is summed in blocks and a column in runs of rows, whose
//! results are combined pairwise. So the bits depend neither on threads nor on strides, and the
//! rounding error of a sum of n float32 grows like log(n) beyond the first hundred.

mod kernels;
mod position;

use crate::buffer::{AllocError, Buffer};
use crate::copy::copy;
use crate::element::{Bool, Element, Number};
use crate::view::{MAX_RANK, View};
use kernels::{Reducer, fold_middle};

pub use position::{argmax, argmin};

macro_rules! reducer {
    ($name:ident, $bound:ident, $computes:expr, $identity:expr, $combine:expr) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl<T: $bound> Reducer<T> for $name {
            const COMPUTES: bool = $computes;
            #[inline(always)]
            fn identity() -> T {
                $identity
            }
            #[inline(always)]
            fn combine(a: T, b: T) -> T {
                $combine(a, b)
            }
        }
    };
}
reducer!(Sum, Number, true, T::ZERO, T::add);
reducer!(Prod, Number, true, T::ONE, T::mul);
reducer!(Max, Number, false, T::LOWEST, T::maximum);
reducer!(Min, Number, false, T::HIGHEST, T::minimum);

#[derive(Clone, Copy)]
struct Any;
impl Reducer<Bool> for Any {
    const COMPUTES: bool = false;
    #[inline(always)]
    fn identity() -> Bool {
        Bool::FALSE
    }
    #[inline(always)]
    fn combine(a: Bool, b: Bool) -> Bool {
        (a.get() | b.get()).into()
    }
}

#[derive(Clone, Copy)]
struct All;
impl Reducer<Bool> for All {
    const COMPUTES: bool = false;
    #[inline(always)]
    fn identity() -> Bool {
        Bool::TRUE
    }
    #[inline(always)]
    fn combine(a: Bool, b: Bool) -> Bool {
        (a.get() & b.get()).into()
    }
}

/// The sum over `axes` (distinct, in any order); `y` holds the kept axes in row-major order. An
/// empty sum is 0.
///
/// ```
/// use autodan_kernels::{reduce::sum, view::View};
/// let mut y = [0.0f32; 2];
/// sum(View::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0, &[2, 3], &[3, 1]), &[1], &mut y)?;
/// assert_eq!(y, [6.0, 15.0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for partial results.
///
/// # Panics
/// When an axis is out of range or repeated, or `y` has not the kept axes' length.
pub fn sum<T: Number>(x: View<T>, axes: &[usize], y: &mut [T]) -> Result<(), AllocError> {
    reduce::<T, Sum>(x, axes, y)
}

/// The product over `axes`, as [`sum`]; an empty product is 1.
///
/// # Errors
/// As [`sum`].
///
/// # Panics
/// As [`sum`].
pub fn prod<T: Number>(x: View<T>, axes: &[usize], y: &mut [T]) -> Result<(), AllocError> {
    reduce::<T, Prod>(x, axes, y)
}

/// The maximum over `axes`, as [`sum`]; NaN where an element is NaN.
///
/// # Errors
/// As [`sum`].
///
/// # Panics
/// As [`sum`], and when `y` has elements but a reduced axis has none.
pub fn max<T: Number>(x: View<T>, axes: &[usize], y: &mut [T]) -> Result<(), AllocError> {
    assert!(!x.is_empty() || y.is_empty(), "the maximum of nothing");
    reduce::<T, Max>(x, axes, y)
}

/// The minimum over `axes`, as [`max`].
///
/// # Errors
/// As [`sum`].
///
/// # Panics
/// As [`max`].
pub fn min<T: Number>(x: View<T>, axes: &[usize], y: &mut [T]) -> Result<(), AllocError> {
    assert!(!x.is_empty() || y.is_empty(), "the minimum of nothing");
    reduce::<T, Min>(x, axes, y)
}

/// Whether any element over `axes` is true, as [`sum`]; of nothing, false.
///
/// # Errors
/// As [`sum`].
///
/// # Panics
/// As [`sum`].
pub fn any(x: View<Bool>, axes: &[usize], y: &mut [Bool]) -> Result<(), AllocError> {
    reduce::<Bool, Any>(x, axes, y)
}

/// Whether all elements over `axes` are true, as [`sum`]; of nothing, true.
///
/// # Errors
/// As [`sum`].
///
/// # Panics
/// As [`sum`].
pub fn all(x: View<Bool>, axes: &[usize], y: &mut [Bool]) -> Result<(), AllocError> {
    reduce::<Bool, All>(x, axes, y)
}

/// The elements of `x` in row-major order: in place, or gathered into `scratch`.
fn contiguous<'a, T: Element>(
    x: View<'a, T>,
    scratch: &'a mut Option<Buffer<T>>,
) -> Result<&'a [T], AllocError> {
    if let Some(x) = x.as_slice() {
        return Ok(x);
    }
    let scratch = scratch.insert(Buffer::new(x.len())?);
    copy(x, scratch);
    Ok(scratch)
}

fn reduce<T: Element, R: Reducer<T>>(x: View<T>, axes: &[usize], y: &mut [T]) -> Result<(), AllocError> {
    let shape = x.shape();
    let mut reduced = [false; MAX_RANK];
    for &axis in axes {
        assert!(axis < shape.len() && !reduced[axis], "axes {axes:?} of shape {shape:?}");
        reduced[axis] = true;
    }
    let kept: usize = (0..shape.len()).filter(|&axis| !reduced[axis]).map(|axis| shape[axis]).product();
    assert_eq!(y.len(), kept, "the output must have the length of the kept axes");
    if x.is_empty() {
        y.fill(R::identity());
        return Ok(());
    }
    // Neighbouring axes of one kind count as one axis.
    let mut groups = [(false, 1usize); MAX_RANK];
    let mut count = 0;
    for (&n, &reduced) in shape.iter().zip(&reduced).filter(|&(&n, _)| n > 1) {
        if count == 0 || groups[count - 1].0 != reduced {
            groups[count] = (reduced, 1);
            count += 1;
        }
        groups[count - 1].1 *= n;
    }
    let mut gathered = None;
    let x = contiguous(x, &mut gathered)?;
    fold_groups::<T, R>(x, &groups[..count], y)
}

/// Folds the reduced groups, the last one first.
fn fold_groups<T: Element, R: Reducer<T>>(
    x: &[T],
    groups: &[(bool, usize)],
    y: &mut [T],
) -> Result<(), AllocError> {
    let Some(last) = groups.iter().rposition(|&(reduced, _)| reduced) else {
        crate::par::for_each_chunk(y, crate::par::GRAIN, |start, y| {
            y.copy_from_slice(&x[start..start + y.len()]);
        });
        return Ok(());
    };
    let product = |groups: &[(bool, usize)]| groups.iter().map(|group| group.1).product::<usize>();
    let (outer, n, inner) = (product(&groups[..last]), groups[last].1, product(&groups[last + 1..]));
    if groups[..last].iter().all(|&(reduced, _)| !reduced) {
        return fold_middle::<T, R>(x, outer, n, inner, y);
    }
    let mut partial = Buffer::new(outer * inner)?;
    fold_middle::<T, R>(x, outer, n, inner, &mut partial)?;
    let mut rest = [(false, 1); MAX_RANK];
    rest[..last].copy_from_slice(&groups[..last]);
    let mut count = last;
    if inner > 1 {
        rest[last] = (false, inner);
        count += 1;
    }
    fold_groups::<T, R>(&partial, &rest[..count], y)
}

#[cfg(test)]
mod tests;
