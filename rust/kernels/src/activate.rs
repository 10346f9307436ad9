//! A layer's bias and activation in one pass, and the gradients of both.
//!
//! Matrices are rows x channels with one bias for each channel. The derivatives of these activations
//! follow from the output alone, so nothing else need be kept for the gradient.

use std::ops::Range;

use crate::buffer::AllocError;
use crate::columns::{Terms, column_sums, tile, width};
use crate::element::Float;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, GRAIN};
use crate::rows::{load, starts, store};
use crate::simd::{AHEAD, Vector, prefetch};
use crate::vecmath;

/// An activation whose derivative is a function of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `z`.
    Linear,
    /// `max(z, 0)`, NaN for NaN.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function.
    Sigmoid,
}

/// One activation; both functions are `#[inline(always)]`.
trait Rule: Copy + Sync {
    fn value<V: Vector>(self, z: V) -> V;
    /// The derivative as a function of the value, times `dy`.
    fn gradient<V: Vector>(self, y: V, dy: V) -> V;
}

macro_rules! rules {
    ($($name:ident: value($z:ident) = $value:expr, gradient($y:ident, $dy:ident) = $gradient:expr;)*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name;

            impl Rule for $name {
                #[inline(always)]
                fn value<V: Vector>(self, $z: V) -> V {
                    $value
                }
                #[inline(always)]
                fn gradient<V: Vector>(self, $y: V, $dy: V) -> V {
                    $gradient
                }
            }
        )*

        /// Runs the expression with `$rule` bound to the activation's rule.
        macro_rules! with_rule {
            ($activation:expr, $rule:ident => $body:expr) => {
                match $activation {
                    $(Activation::$name => {
                        let $rule = $name;
                        $body
                    })*
                }
            };
        }
    };
}

rules! {
    Linear: value(z) = z, gradient(y, dy) = { let _ = y; dy };
    Relu: value(z) = z.maximum(V::zero()),
        gradient(y, dy) = V::select(y.gt(V::zero()), V::one(), V::zero()).mul(dy);
    Tanh: value(z) = vecmath::tanh(z), gradient(y, dy) = V::one().sub(y.mul(y)).mul(dy);
    Sigmoid: value(z) = vecmath::sigmoid(z), gradient(y, dy) = y.mul(V::one().sub(y)).mul(dy);
}

/// `y = activation(x + bias)`.
///
/// ```
/// use autodan_kernels::activate::{Activation, bias_activation};
/// let mut y = [0.0f32; 4];
/// bias_activation(Activation::Relu, &[1.0, -2.0, 0.5, 3.0], &[0.5, 1.0], &mut y)?;
/// assert_eq!(y, [1.5, 0.0, 1.0, 4.0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for a row of scratch.
///
/// # Panics
/// When the lengths do not fit.
pub fn bias_activation<T: Float>(
    activation: Activation,
    x: &[T],
    bias: &[T],
    y: &mut [T],
) -> Result<(), AllocError> {
    check(&[x.len(), y.len()], bias.len());
    if y.is_empty() {
        return Ok(());
    }
    let width = width(bias.len());
    let bias = &*tile(bias, width)?;
    par::for_each_chunk(y, (GRAIN / width).max(1) * width, |start, y| {
        let x = &x[start..start + y.len()];
        with_rule!(activation, rule => T::dispatch(Forward { rule, x, bias, y }));
    });
    Ok(())
}

/// The gradients of [`bias_activation`], from its output `y` and the output's gradient `dy`: `dz` with
/// respect to `x` (and to `x + bias`), and `dbias`, the sums of `dz` down the columns.
///
/// # Errors
/// [`AllocError`] when there is no memory for partial sums.
///
/// # Panics
/// When the lengths do not fit.
pub fn bias_activation_backward<T: Float>(
    activation: Activation,
    y: &[T],
    dy: &[T],
    dz: &mut [T],
    dbias: &mut [T],
) -> Result<(), AllocError> {
    check(&[y.len(), dy.len(), dz.len()], dbias.len());
    let (len, dz) = (y.len(), Out::new(dz));
    let channels = dbias.len();
    with_rule!(activation, rule => column_sums(Backward { rule, y, dy, dz }, len, channels, [dbias]))
}

fn check(full: &[usize], channels: usize) {
    assert!(full.iter().all(|&len| len == full[0]), "all arrays must have the same length");
    assert!(full[0] == 0 || full[0].checked_rem(channels) == Some(0), "the length must be rows * channels");
}

/// Rows as wide as the bias; the last may be shorter.
struct Forward<'a, T, R> {
    rule: R,
    x: &'a [T],
    bias: &'a [T],
    y: &'a mut [T],
}

impl<T: Float, R: Rule> Kernel<T> for Forward<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Forward { rule, x, bias, y } = self;
        for (x, y) in x.chunks(bias.len()).zip(y.chunks_mut(bias.len())) {
            for c in starts::<V>(x.len()) {
                let z = load(x, c, V::zero()).add(load(bias, c, V::zero()));
                store(y, c, rule.value(z));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Backward<'a, T, R> {
    rule: R,
    y: &'a [T],
    dy: &'a [T],
    dz: Out<'a, T>,
}

impl<T: Float, R: Rule> Terms<T, 1> for Backward<'_, T, R> {
    #[inline(always)]
    fn terms<V: Vector<Scalar = T>>(self, row: Range<usize>, c: usize) -> [V; 1] {
        let (y, dy) = (&self.y[row.clone()], &self.dy[row.clone()]);
        prefetch(y[c..].as_ptr(), AHEAD);
        prefetch(dy[c..].as_ptr(), AHEAD);
        let dz = self.rule.gradient(load(y, c, V::zero()), load(dy, c, V::zero()));
        // SAFETY: rows do not overlap, and each is taken once, by one task.
        store(unsafe { self.dz.slice(row) }, c, dz);
        [dz]
    }
}

#[cfg(test)]
mod tests;
