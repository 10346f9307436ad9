//! Elementwise functions: one driver for every shape of operands.
//!
//! The function computes lane by lane, so an element's result depends neither on its place in a
//! vector nor on how the operands lie in memory.

use crate::element::{Element, Float};
use crate::isa::Kernel;
use crate::par::{self, GRAIN};
use crate::simd::Vector;
use crate::view::View;
use crate::walk::{Axes, BLOCK};

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
    drive(Of1(f), [x], y);
}

/// `y = f(a, b)`, the operands broadcast to one shape, `y` in row-major order.
///
/// # Panics
/// When the shapes or lengths differ.
pub fn binary<T: Float, F: Binary<T>>(f: F, a: View<T>, b: View<T>, y: &mut [T]) {
    drive(Of2(f), [a, b], y);
}

/// `y = f(a, b, c)`, the operands broadcast to one shape, `y` in row-major order.
///
/// # Panics
/// When the shapes or lengths differ.
pub fn ternary<T: Float, F: Ternary<T>>(f: F, a: View<T>, b: View<T>, c: View<T>, y: &mut [T]) {
    drive(Of3(f), [a, b, c], y);
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

fn check_shapes<A, B>(a: &View<A>, b: &View<B>) {
    assert_eq!(a.shape(), b.shape(), "operands must be broadcast to one shape");
}

fn drive<T: Float, const N: usize, F: Nary<T, N>>(f: F, xs: [View<T>; N], y: &mut [T]) {
    xs.iter().for_each(|x| check_shapes(&xs[0], x));
    assert_eq!(xs[0].len(), y.len(), "the output must have the operands' length");
    if y.is_empty() {
        return;
    }
    let slices = xs.map(|x| x.as_slice());
    if slices.iter().all(Option::is_some) {
        let slices = slices.map(|x| x.unwrap_or_default());
        par::for_each_chunk(y, GRAIN, |start, y| {
            let xs = slices.map(|x| &x[start..start + y.len()]);
            T::dispatch(Contiguous { f, xs, y });
        });
    } else {
        let axes = Axes::new(xs[0].shape(), xs.map(|x| x.strides()));
        par::for_each_chunk(y, axes.grain(GRAIN), |start, y| {
            T::dispatch(Strided { f, axes: &axes, xs, start, y });
        });
    }
}

/// The inner loop: operands and output contiguous.
struct Contiguous<'a, T, F, const N: usize> {
    f: F,
    xs: [&'a [T]; N],
    y: &'a mut [T],
}

impl<T: Float, F: Nary<T, N>, const N: usize> Kernel<T> for Contiguous<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Contiguous { f, xs, y } = self;
        let len = y.len();
        assert!(xs.iter().all(|x| x.len() == len));
        let whole = len - len % V::LEN;
        let mut i = 0;
        while i < whole {
            // SAFETY: i + LEN <= len, the length of the operands and of the output.
            unsafe { f.eval(xs.map(|x| V::load(x.as_ptr().add(i)))).store(y.as_mut_ptr().add(i)) };
            i += V::LEN;
        }
        let rest = len - whole;
        if rest > 0 {
            // SAFETY: `rest` elements, fewer than LEN, are left in the operands and in the output.
            unsafe {
                let xs = xs.map(|x| V::load_partial(x.as_ptr().add(whole), rest));
                f.eval(xs).store_partial(y.as_mut_ptr().add(whole), rest);
            }
        }
    }
}

/// The chunk `y`, from element `start` on, of strided operands.
struct Strided<'a, T, F, const N: usize> {
    f: F,
    axes: &'a Axes<N>,
    xs: [View<'a, T>; N],
    start: usize,
    y: &'a mut [T],
}

impl<T: Float, F: Nary<T, N>, const N: usize> Kernel<T> for Strided<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Strided { f, axes, xs, start, y } = self;
        let operands: [_; N] = std::array::from_fn(|k| axes.operand(k, xs[k]));
        let mut scratches = [[T::ZERO; BLOCK]; N];
        for (operand, scratch) in operands.iter().zip(&mut scratches) {
            operand.prepare(y.len(), scratch);
        }
        axes.blocks(start..start + y.len(), |range| {
            let mut scratches = scratches.iter_mut();
            let xs = std::array::from_fn(|k| match scratches.next() {
                Some(scratch) => operands[k].block(&range, scratch),
                None => &[],
            });
            let y = &mut y[range.start - start..range.end - start];
            Contiguous { f, xs, y }.run::<V>();
        });
    }
}

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
pub fn map<A: Element, B: Element>(x: View<A>, y: &mut [B], f: impl Fn(A) -> B + Sync) {
    assert_eq!(x.len(), y.len(), "the output must have the operand's length");
    if y.is_empty() {
        return;
    }
    let axes = Axes::new(x.shape(), [x.strides()]);
    chunks(&axes, y, |start, y| {
        let operand = axes.operand(0, x);
        let mut scratch = [A::default(); BLOCK];
        operand.prepare(y.len(), &mut scratch);
        axes.blocks(start..start + y.len(), |range| {
            let x = operand.block(&range, &mut scratch);
            let y = &mut y[range.start - start..range.end - start];
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
        });
    });
}

/// `y = f(a, b)` for a scalar function, the operands broadcast to one shape.
///
/// # Panics
/// When the shapes or lengths differ.
pub fn zip<A: Element, B: Element, C: Element>(
    a: View<A>,
    b: View<B>,
    y: &mut [C],
    f: impl Fn(A, B) -> C + Sync,
) {
    check_shapes(&a, &b);
    assert_eq!(a.len(), y.len(), "the output must have the operands' length");
    if y.is_empty() {
        return;
    }
    let axes = Axes::new(a.shape(), [a.strides(), b.strides()]);
    chunks(&axes, y, |start, y| {
        let operands = (axes.operand(0, a), axes.operand(1, b));
        let mut scratches = ([A::default(); BLOCK], [B::default(); BLOCK]);
        operands.0.prepare(y.len(), &mut scratches.0);
        operands.1.prepare(y.len(), &mut scratches.1);
        axes.blocks(start..start + y.len(), |range| {
            let a = operands.0.block(&range, &mut scratches.0);
            let b = operands.1.block(&range, &mut scratches.1);
            let y = &mut y[range.start - start..range.end - start];
            y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b));
        });
    });
}

/// `y = f(a, b, c)` for a scalar function, the operands broadcast to one shape: `where`, for one.
///
/// # Panics
/// When the shapes or lengths differ.
pub fn zip3<A: Element, B: Element, C: Element, D: Element>(
    a: View<A>,
    b: View<B>,
    c: View<C>,
    y: &mut [D],
    f: impl Fn(A, B, C) -> D + Sync,
) {
    check_shapes(&a, &b);
    check_shapes(&a, &c);
    assert_eq!(a.len(), y.len(), "the output must have the operands' length");
    if y.is_empty() {
        return;
    }
    let axes = Axes::new(a.shape(), [a.strides(), b.strides(), c.strides()]);
    chunks(&axes, y, |start, y| {
        let operands = (axes.operand(0, a), axes.operand(1, b), axes.operand(2, c));
        let mut scratches = ([A::default(); BLOCK], [B::default(); BLOCK], [C::default(); BLOCK]);
        operands.0.prepare(y.len(), &mut scratches.0);
        operands.1.prepare(y.len(), &mut scratches.1);
        operands.2.prepare(y.len(), &mut scratches.2);
        axes.blocks(start..start + y.len(), |range| {
            let a = operands.0.block(&range, &mut scratches.0);
            let b = operands.1.block(&range, &mut scratches.1);
            let c = operands.2.block(&range, &mut scratches.2);
            let y = &mut y[range.start - start..range.end - start];
            y.iter_mut().zip(a).zip(b).zip(c).for_each(|(((y, &a), &b), &c)| *y = f(a, b, c));
        });
    });
}

/// Runs `f(start, chunk)` over the output on all threads, each chunk inside a function compiled for
/// the active instruction set (the closure inlines into it, so its loop vectorises).
fn chunks<T: Element, const N: usize>(axes: &Axes<N>, y: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    struct Chunk<'a, T, F>(&'a F, usize, &'a mut [T]);
    impl<T, F: Fn(usize, &mut [T])> Kernel<f32> for Chunk<'_, T, F> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector<Scalar = f32>>(self) {
            (self.0)(self.1, self.2);
        }
    }
    par::for_each_chunk(y, axes.grain(GRAIN), |start, y| f32::dispatch(Chunk(&f, start, y)));
}

#[cfg(test)]
mod tests;
