//! Elementwise functions: one driver for every shape of operands.
//!
//! The function computes lane by lane, so an element's result depends neither on its place in a
//! vector nor on how the operands lie in memory.

use crate::element::{Element, Float};
use crate::isa::{self, Kernel};
use crate::par::{self, GRAIN};
use crate::simd::{AHEAD, Vector, prefetch};
use crate::view::View;
use crate::walk::{Axes, BLOCK};

/// Bytes of a result from which on operands are taken to lie beyond the second cache.
const FAR: usize = 1 << 20;

/// A function of one float; `eval` is `#[inline(always)]`.
pub trait Unary<T: Float>: Copy + Sync {
    /// The function's value in each lane.
    fn eval<V: Vector<Scalar = T>>(self, x: V) -> V;
}

/// A function of two floats; `eval` is `#[inline(always)]`.
pub trait Binary<T: Float>: Copy + Sync {
    /// The function's value in each lane.
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V) -> V;
}

/// A function of three floats; `eval` is `#[inline(always)]`.
pub trait Ternary<T: Float>: Copy + Sync {
    /// The function's value in each lane.
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V, c: V) -> V;
}

/// `y = f(x)`, `y` in row-major order.
///
/// ```
/// use autodan_kernels::elementwise::{Unary, unary};
/// use autodan_kernels::{simd::Vector, view::View};
/// #[derive(Clone, Copy)]
/// struct Square;
/// impl Unary<f32> for Square {
///     #[inline(always)]
///     fn eval<V: Vector<Scalar = f32>>(self, x: V) -> V {
///         x.mul(x)
///     }
/// }
/// let mut y = [0.0; 3];
/// unary(Square, View::new(&[1.0, 2.0, 3.0], 0, &[3], &[1]), &mut y);
/// assert_eq!(y, [1.0, 4.0, 9.0]);
/// ```
///
/// # Panics
/// When the lengths differ.
pub fn unary<T: Float, F: Unary<T>>(f: F, x: View<T>, y: &mut [T]) {
    apply(Of1(f), [x], y);
}

/// `y = f(a, b)`, the operands broadcast to one shape, `y` in row-major order.
///
/// # Panics
/// When the shapes or lengths differ.
pub fn binary<T: Float, F: Binary<T>>(f: F, a: View<T>, b: View<T>, y: &mut [T]) {
    apply(Of2(f), [a, b], y);
}

/// `y = f(a, b, c)`, the operands broadcast to one shape, `y` in row-major order.
///
/// # Panics
/// When the shapes or lengths differ.
pub fn ternary<T: Float, F: Ternary<T>>(f: F, a: View<T>, b: View<T>, c: View<T>, y: &mut [T]) {
    apply(Of3(f), [a, b, c], y);
}

/// A function of `N` floats.
trait Nary<T: Float, const N: usize>: Copy + Sync {
    fn eval<V: Vector<Scalar = T>>(self, xs: [V; N]) -> V;
}

#[derive(Clone, Copy)]
struct Of1<F>(F);
#[derive(Clone, Copy)]
struct Of2<F>(F);
#[derive(Clone, Copy)]
struct Of3<F>(F);

impl<T: Float, F: Unary<T>> Nary<T, 1> for Of1<F> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, [x]: [V; 1]) -> V {
        self.0.eval(x)
    }
}

impl<T: Float, F: Binary<T>> Nary<T, 2> for Of2<F> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, [a, b]: [V; 2]) -> V {
        self.0.eval(a, b)
    }
}

impl<T: Float, F: Ternary<T>> Nary<T, 3> for Of3<F> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, [a, b, c]: [V; 3]) -> V {
        self.0.eval(a, b, c)
    }
}

/// What a function does to contiguous operands and a contiguous output of one length. Behind a pointer, so
/// that the driver is compiled once for an element type and not once for each function: the call is per
/// block, not per element.
type Body<'a, T, const N: usize> = &'a (dyn Fn([&[T]; N], &mut [T]) + Sync);

fn apply<T: Float, const N: usize, F: Nary<T, N>>(f: F, xs: [View<T>; N], y: &mut [T]) {
    // Operands that may lie in the second cache come fast enough, and asking would cost more than it gives.
    let ahead = if size_of_val(y) > FAR { AHEAD } else { 0 };
    drive(&|xs, y| T::dispatch(Contiguous { f, xs, y, ahead }), xs, y);
}

fn drive<T: Element, const N: usize>(body: Body<T, N>, xs: [View<T>; N], y: &mut [T]) {
    assert!(xs.iter().all(|x| x.shape() == xs[0].shape()), "operands must be broadcast to one shape");
    assert_eq!(xs[0].len(), y.len(), "the output must have the operands' length");
    let slices = xs.map(|x| x.as_slice());
    if slices.iter().all(Option::is_some) {
        let slices = slices.map(|x| x.unwrap_or_default());
        par::for_each_chunk(y, GRAIN, |start, y| body(slices.map(|x| &x[start..start + y.len()]), y));
    } else {
        let axes = Axes::new(xs[0].shape(), xs.map(|x| x.strides()));
        par::for_each_chunk(y, axes.grain(GRAIN), |start, y| strided(body, &axes, xs, start, y));
    }
}

/// The chunk `y`, from element `start` on, of strided operands: block by block.
fn strided<T: Element, const N: usize>(
    body: Body<T, N>,
    axes: &Axes<N>,
    xs: [View<T>; N],
    start: usize,
    y: &mut [T],
) {
    let operands: [_; N] = std::array::from_fn(|k| axes.operand(k, xs[k]));
    let mut scratches = [[T::default(); BLOCK]; N];
    for (operand, scratch) in operands.iter().zip(&mut scratches) {
        operand.prepare(y.len(), scratch);
    }
    for range in axes.blocks(start..start + y.len()) {
        let mut xs: [&[T]; N] = [&[]; N];
        for ((x, operand), scratch) in xs.iter_mut().zip(&operands).zip(&mut scratches) {
            *x = operand.block(&range, scratch);
        }
        body(xs, &mut y[range.start - start..range.end - start]);
    }
}

/// The inner loop: operands and output contiguous.
struct Contiguous<'a, T, F, const N: usize> {
    f: F,
    xs: [&'a [T]; N],
    y: &'a mut [T],
    /// How far ahead to ask for the operands' memory.
    ahead: usize,
}

impl<T: Float, F: Nary<T, N>, const N: usize> Kernel<T> for Contiguous<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Contiguous { f, xs, y, ahead } = self;
        let len = y.len();
        assert!(xs.iter().all(|x| x.len() == len));
        // A plain loop, not a closure around vectors: that would be a function of its own, which the compiler
        // may decide not to inline into the one that has the instruction set. One place evaluates `f`, which
        // may be long: the tail takes a branch, not a copy.
        let mut lanes = [V::zero(); N];
        let mut i = 0;
        while i < len {
            let n = len - i;
            for k in 0..N {
                let x = xs[k].as_ptr();
                prefetch(x.wrapping_add(i), ahead);
                // SAFETY: n elements are left in the operands from i on.
                lanes[k] =
                    unsafe { if n >= V::LEN { V::load(x.add(i)) } else { V::load_partial(x.add(i), n) } };
            }
            let value = f.eval(lanes);
            let y = y.as_mut_ptr();
            // SAFETY: n elements are left in the output from i on.
            unsafe { if n >= V::LEN { value.store(y.add(i)) } else { value.store_partial(y.add(i), n) } };
            i += V::LEN;
        }
    }
}

/// The functions of scalars. One macro, as the operands differ in number and in type.
macro_rules! scalar_functions {
    ($($(#[$doc:meta])* $name:ident, $n:literal: $($k:literal $x:ident $X:ident),+;)*) => {$(
        $(#[$doc])*
        pub fn $name<$($X: Element,)+ Y: Element>(
            $($x: View<$X>,)+
            y: &mut [Y],
            f: impl Fn($($X),+) -> Y + Sync,
        ) {
            struct Dense<'a, F, $($X,)+ Y> {
                f: &'a F,
                $($x: &'a [$X],)+
                y: &'a mut [Y],
            }
            impl<F: Fn($($X),+) -> Y, $($X: Element,)+ Y: Element> Kernel<f32> for Dense<'_, F, $($X,)+ Y> {
                type Output = ();
                #[inline(always)]
                fn run<V: Vector<Scalar = f32>>(self) {
                    $(let $x = &self.$x[..self.y.len()];)+
                    for i in 0..self.y.len() {
                        self.y[i] = (self.f)($($x[i]),+);
                    }
                }
            }

            /// The chunk `y`, from element `start` on, of strided operands.
            fn strided<$($X: Element,)+ Y: Element>(
                body: &(dyn Fn($(&[$X],)+ &mut [Y]) + Sync),
                axes: &Axes<$n>,
                $($x: View<$X>,)+
                start: usize,
                y: &mut [Y],
            ) {
                $(
                    let mut $x = (axes.operand($k, $x), [$X::default(); BLOCK]);
                    $x.0.prepare(y.len(), &mut $x.1);
                )+
                for range in axes.blocks(start..start + y.len()) {
                    body($($x.0.block(&range, &mut $x.1),)+ &mut y[range.start - start..range.end - start]);
                }
            }

            let shape = [$($x.shape()),+];
            assert!(shape.iter().all(|s| *s == shape[0]), "operands must be broadcast to one shape");
            let lens = [$($x.len()),+];
            assert_eq!(lens[0], y.len(), "the output must have the operands' length");
            let body = |$($x: &[$X],)+ y: &mut [Y]| isa::dispatch_exact(Dense { f: &f, $($x,)+ y });
            if let ($(Some($x),)+) = ($($x.as_slice(),)+) {
                return par::for_each_chunk(y, GRAIN, |start, y| body($(&$x[start..start + y.len()],)+ y));
            }
            let axes = Axes::new(shape[0], [$($x.strides()),+]);
            par::for_each_chunk(y, axes.grain(GRAIN), |start, y| strided(&body, &axes, $($x,)+ start, y));
        }
    )*};
}

scalar_functions! {
    /// `y = f(x)` for a scalar function: integers, casts, predicates.
    ///
    /// ```
    /// use autodan_kernels::{elementwise::map, view::View};
    /// let mut y = [0i64; 3];
    /// map(View::new(&[1.5f32, -2.5, 3.0], 0, &[3], &[1]), &mut y, |x| x as i64);
    /// assert_eq!(y, [1, -2, 3]);
    /// ```
    ///
    /// # Panics
    /// When the lengths differ.
    map, 1: 0 x A;
    /// `y = f(a, b)` for a scalar function, the operands broadcast to one shape.
    ///
    /// # Panics
    /// When the shapes or lengths differ.
    zip, 2: 0 a A, 1 b B;
    /// `y = f(a, b, c)` for a scalar function, the operands broadcast to one shape: `where`, for one.
    ///
    /// # Panics
    /// When the shapes or lengths differ.
    zip3, 3: 0 a A, 1 b B, 2 c C;
}

#[cfg(test)]
mod tests;
