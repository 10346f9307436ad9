//! Softmax, its logarithm, and the cross-entropies that are computed from logits.
//!
//! All take rows of `cols` elements. The row's maximum is subtracted first, so no finite logit
//! overflows; a logit of minus infinity has probability 0; NaN makes its row NaN.

use crate::element::Float;
use crate::rows::{RowKernel, for_each_row, load, starts, store};
use crate::simd::Vector;
use crate::vecmath::{exp, log};

/// The largest element, NaN if any is NaN.
#[inline(always)]
fn maximum<V: Vector>(x: &[V::Scalar]) -> V {
    let lowest = V::constant(f64::NEG_INFINITY);
    // NaN is looked for beside the maximum: within it, it would lengthen the chain of dependent
    // instructions from one to three. `max` returns its second operand where either is NaN.
    let (mut largest, mut nan) = (lowest, lowest.is_nan());
    for i in starts::<V>(x.len()) {
        let x = load(x, i, lowest);
        nan = V::mask_or(nan, x.is_nan());
        largest = x.max(largest);
    }
    V::splat(V::select(nan, V::constant(f64::NAN), largest).reduce_maximum())
}

/// The sum of e^(x - shift).
#[inline(always)]
fn sum_exp<V: Vector>(x: &[V::Scalar], shift: V) -> V {
    let mut sum = V::zero();
    for i in starts::<V>(x.len()) {
        sum = sum.add(exp(load(x, i, V::constant(f64::NEG_INFINITY)).sub(shift)));
    }
    V::splat(sum.reduce_add())
}

/// As [`sum_exp`], keeping the terms in `y`.
#[inline(always)]
fn keep_exp<V: Vector>(x: &[V::Scalar], shift: V, y: &mut [V::Scalar]) -> V {
    let mut sum = V::zero();
    for i in starts::<V>(x.len()) {
        let term = exp(load(x, i, V::constant(f64::NEG_INFINITY)).sub(shift));
        store(y, i, term);
        sum = sum.add(term);
    }
    V::splat(sum.reduce_add())
}

#[inline(always)]
fn sum<V: Vector>(x: &[V::Scalar]) -> V {
    let mut sum = V::zero();
    for i in starts::<V>(x.len()) {
        sum = sum.add(load(x, i, V::zero()));
    }
    V::splat(sum.reduce_add())
}

#[inline(always)]
fn row_of<T>(x: &[T], row: usize, cols: usize) -> &[T] {
    &x[row * cols..(row + 1) * cols]
}

fn check(lens: &[usize], cols: usize) {
    assert!(lens.iter().all(|&len| len == lens[0]), "all arrays must have the same length");
    assert!(lens[0] == 0 || (cols > 0 && lens[0].is_multiple_of(cols)), "the length must be rows * {cols}");
}

/// Two matrices and a column, of which each kernel uses what it needs.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    a: &'a [T],
    b: &'a [T],
    column: &'a [T],
    cols: usize,
}

macro_rules! row_kernels {
    ($($name:ident |$inputs:ident, $row:ident, $y:ident| $body:block)*) => {$(
        #[derive(Clone, Copy)]
        struct $name<'a, T>(Inputs<'a, T>);
        impl<T: Float> RowKernel<T, T> for $name<'_, T> {
            #[inline(always)]
            fn row<V: Vector<Scalar = T>>(self, $row: usize, $y: &mut [T]) {
                let $inputs = self.0;
                $body
            }
        }
    )*};
}

row_kernels! {
    Softmax |of, row, y| {
        let x = row_of(of.a, row, of.cols);
        let scale = V::one().div(keep_exp(x, maximum::<V>(x), y));
        for i in starts::<V>(y.len()) {
            store(y, i, load(y, i, V::zero()).mul(scale));
        }
    }

    SoftmaxBackward |of, row, dx| {
        let (y, dy) = (row_of(of.a, row, of.cols), row_of(of.b, row, of.cols));
        let mut dot = V::zero();
        for i in starts::<V>(y.len()) {
            dot = load(y, i, V::zero()).mul_add(load(dy, i, V::zero()), dot);
        }
        let dot = V::splat(dot.reduce_add());
        for i in starts::<V>(y.len()) {
            store(dx, i, load(dy, i, V::zero()).sub(dot).mul(load(y, i, V::zero())));
        }
    }

    LogSoftmax |of, row, y| {
        let x = row_of(of.a, row, of.cols);
        let shift = maximum::<V>(x);
        let log_sum = log(sum_exp(x, shift));
        for i in starts::<V>(y.len()) {
            store(y, i, load(x, i, V::zero()).sub(shift).sub(log_sum));
        }
    }

    LogSoftmaxBackward |of, row, dx| {
        let (y, dy) = (row_of(of.a, row, of.cols), row_of(of.b, row, of.cols));
        let total = sum::<V>(dy);
        for i in starts::<V>(y.len()) {
            store(dx, i, load(dy, i, V::zero()).sub(exp(load(y, i, V::zero())).mul(total)));
        }
    }

    CrossEntropy |of, row, loss| {
        let (x, t) = (row_of(of.a, row, of.cols), row_of(of.b, row, of.cols));
        let shift = maximum::<V>(x);
        let log_sum = log(sum_exp(x, shift));
        let mut sum = V::zero();
        for i in starts::<V>(x.len()) {
            let t = load(t, i, V::zero());
            let term = log_sum.sub(load(x, i, V::zero()).sub(shift)).mul(t);
            // An impossible class (a logit of minus infinity) that is not expected costs nothing.
            sum = sum.add(V::select(t.eq(V::zero()), V::zero(), term));
        }
        loss[0] = sum.reduce_add();
    }

    CrossEntropyBackward |of, row, dx| {
        let (x, t) = (row_of(of.a, row, of.cols), row_of(of.b, row, of.cols));
        let scale = sum::<V>(t).div(keep_exp(x, maximum::<V>(x), dx));
        let dloss = V::splat(of.column[row]);
        for i in starts::<V>(x.len()) {
            let gradient = load(dx, i, V::zero()).mul(scale).sub(load(t, i, V::zero()));
            store(dx, i, gradient.mul(dloss));
        }
    }
}

#[derive(Clone, Copy)]
struct SparseCrossEntropy<'a, T> {
    logits: &'a [T],
    labels: &'a [i64],
    cols: usize,
}

impl<T: Float> RowKernel<T, T> for SparseCrossEntropy<'_, T> {
    #[inline(always)]
    fn row<V: Vector<Scalar = T>>(self, row: usize, loss: &mut [T]) {
        let x = row_of(self.logits, row, self.cols);
        let shift = maximum::<V>(x);
        let log_sum = log(sum_exp(x, shift));
        let chosen = V::splat(x[class(self.labels[row], self.cols)]);
        loss[0] = log_sum.sub(chosen.sub(shift)).reduce_maximum();
    }
}

#[derive(Clone, Copy)]
struct SparseCrossEntropyBackward<'a, T> {
    logits: &'a [T],
    labels: &'a [i64],
    dloss: &'a [T],
    cols: usize,
}

impl<T: Float> RowKernel<T, T> for SparseCrossEntropyBackward<'_, T> {
    #[inline(always)]
    fn row<V: Vector<Scalar = T>>(self, row: usize, dx: &mut [T]) {
        let x = row_of(self.logits, row, self.cols);
        let dloss = V::splat(self.dloss[row]);
        let scale = V::one().div(keep_exp(x, maximum::<V>(x), dx));
        let label = class(self.labels[row], self.cols);
        let expected = V::splat(dx[label]).mul(scale).sub(V::one()).mul(dloss);
        for i in starts::<V>(x.len()) {
            store(dx, i, load(dx, i, V::zero()).mul(scale).mul(dloss));
        }
        dx[label] = expected.reduce_maximum();
    }
}

fn class(label: i64, cols: usize) -> usize {
    let label = usize::try_from(label).ok().filter(|&label| label < cols);
    label.unwrap_or_else(|| panic!("a label is not in 0..{cols}"))
}

/// `y = e^x / sum(e^x)` along rows.
///
/// ```
/// let mut y = [0.0f32; 4];
/// autodan_kernels::softmax::softmax(&[1e4, 1e4, 0.0, f32::NEG_INFINITY], 2, &mut y);
/// assert_eq!(y, [0.5, 0.5, 1.0, 0.0]);
/// ```
///
/// # Panics
/// When the lengths differ or are no multiple of `cols`.
pub fn softmax<T: Float>(x: &[T], cols: usize, y: &mut [T]) {
    check(&[x.len(), y.len()], cols);
    for_each_row(Softmax(Inputs { a: x, b: &[], column: &[], cols }), cols, cols, y);
}

/// The gradient of [`softmax`] from its output: `dx = y * (dy - sum(y * dy))`.
///
/// # Panics
/// As [`softmax`].
pub fn softmax_backward<T: Float>(y: &[T], dy: &[T], cols: usize, dx: &mut [T]) {
    check(&[y.len(), dy.len(), dx.len()], cols);
    for_each_row(SoftmaxBackward(Inputs { a: y, b: dy, column: &[], cols }), cols, cols, dx);
}

/// `y = x - log(sum(e^x))` along rows.
///
/// # Panics
/// As [`softmax`].
pub fn log_softmax<T: Float>(x: &[T], cols: usize, y: &mut [T]) {
    check(&[x.len(), y.len()], cols);
    for_each_row(LogSoftmax(Inputs { a: x, b: &[], column: &[], cols }), cols, cols, y);
}

/// The gradient of [`log_softmax`] from its output: `dx = dy - e^y * sum(dy)`.
///
/// # Panics
/// As [`softmax`].
pub fn log_softmax_backward<T: Float>(y: &[T], dy: &[T], cols: usize, dx: &mut [T]) {
    check(&[y.len(), dy.len(), dx.len()], cols);
    for_each_row(LogSoftmaxBackward(Inputs { a: y, b: dy, column: &[], cols }), cols, cols, dx);
}

/// `loss[r] = log(sum(e^x)) - x[labels[r]]` for each row `x` of logits.
///
/// # Panics
/// When the lengths do not fit, or a label is not in `0..cols`.
pub fn sparse_cross_entropy<T: Float>(logits: &[T], labels: &[i64], cols: usize, loss: &mut [T]) {
    check(&[logits.len(), labels.len() * cols, loss.len() * cols], cols);
    for_each_row(SparseCrossEntropy { logits, labels, cols }, cols, 1, loss);
}

/// The gradient of [`sparse_cross_entropy`]: softmax(logits), less 1 at the label, times `dloss`.
///
/// # Panics
/// As [`sparse_cross_entropy`].
pub fn sparse_cross_entropy_backward<T: Float>(
    logits: &[T],
    labels: &[i64],
    dloss: &[T],
    cols: usize,
    dlogits: &mut [T],
) {
    check(&[logits.len(), labels.len() * cols, dloss.len() * cols, dlogits.len()], cols);
    for_each_row(SparseCrossEntropyBackward { logits, labels, dloss, cols }, cols, cols, dlogits);
}

/// `loss[r] = -sum(t * log_softmax(x))` for each row `x` of logits and `t` of targets.
///
/// # Panics
/// When the lengths do not fit.
pub fn cross_entropy<T: Float>(logits: &[T], targets: &[T], cols: usize, loss: &mut [T]) {
    check(&[logits.len(), targets.len(), loss.len() * cols], cols);
    for_each_row(CrossEntropy(Inputs { a: logits, b: targets, column: &[], cols }), cols, 1, loss);
}

/// The gradient of [`cross_entropy`]: `(softmax(x) * sum(t) - t) * dloss[r]`.
///
/// # Panics
/// When the lengths do not fit.
pub fn cross_entropy_backward<T: Float>(
    logits: &[T],
    targets: &[T],
    dloss: &[T],
    cols: usize,
    dlogits: &mut [T],
) {
    check(&[logits.len(), targets.len(), dloss.len() * cols, dlogits.len()], cols);
    let inputs = Inputs { a: logits, b: targets, column: dloss, cols };
    for_each_row(CrossEntropyBackward(inputs), cols, cols, dlogits);
}

#[cfg(test)]
mod tests;
