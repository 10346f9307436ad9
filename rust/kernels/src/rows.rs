//! Kernels that work row by row, with vectors along the row.

use crate::element::{Element, Float};
use crate::isa::Kernel;
use crate::par::{self, Pace};
use crate::simd::Vector;

/// Computes one row of the output; `row` is `#[inline(always)]`.
pub(crate) trait RowKernel<T: Float, Y>: Copy + Sync {
    fn row<V: Vector<Scalar = T>>(self, row: usize, y: &mut [Y]);
}

/// Runs `f` for each row of `cols` elements of `y` (the last may be shorter); `work` is the number of
/// elements that a row costs.
pub(crate) fn for_each_row<T: Float, Y: Element, F: RowKernel<T, Y>>(
    f: F,
    work: usize,
    cols: usize,
    y: &mut [Y],
) {
    // Such rows hold exponentials: a quarter of an elementwise pass's grain is worth a task.
    let group = (par::GRAIN / 4 / work.max(1)).max(1);
    par::for_each_chunk(y, group * cols, |start, y| T::dispatch(Rows { f, first: start / cols, cols, y }));
}

struct Rows<'a, Y, F> {
    f: F,
    first: usize,
    cols: usize,
    y: &'a mut [Y],
}

impl<T: Float, Y: Element, F: RowKernel<T, Y>> Kernel<T> for Rows<'_, Y, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        for (row, y) in (self.first..).zip(self.y.chunks_mut(self.cols)) {
            self.f.row::<V>(row, y);
        }
    }
}

/// The starts of the vectors that cover `0..len`, with checkpoints: a row may be of any length.
#[inline(always)]
pub(crate) fn starts<V: Vector>(len: usize) -> impl Iterator<Item = usize> {
    let mut pace = Pace::default();
    (0..len).step_by(V::LEN).inspect(move |_| pace.step(V::LEN))
}

/// The elements of `x` from `i` on, and `pad` in the lanes beyond its end.
#[inline(always)]
pub(crate) fn load<V: Vector>(x: &[V::Scalar], i: usize, pad: V) -> V {
    let left = x[i..].len();
    if left >= V::LEN {
        // SAFETY: LEN elements are left.
        return unsafe { V::load(x.as_ptr().add(i)) };
    }
    const { assert!(V::LEN <= 16) };
    let mut index = [<V::Scalar as crate::element::Number>::ZERO; 16];
    for (i, index) in index.iter_mut().enumerate() {
        *index = V::Scalar::from_f64(i as f64);
    }
    // SAFETY: `index` has at least LEN elements, and `left` < LEN are left in x.
    let (index, x) = unsafe { (V::load(index.as_ptr()), V::load_partial(x.as_ptr().add(i), left)) };
    V::select(index.lt(V::constant(left as f64)), x, pad)
}

/// Writes the lanes to `y` from `i` on, as far as it goes.
#[inline(always)]
pub(crate) fn store<V: Vector>(y: &mut [V::Scalar], i: usize, lanes: V) {
    let left = y[i..].len();
    // SAFETY: what is written, LEN elements or `left` if fewer, is left in y.
    unsafe {
        if left >= V::LEN {
            lanes.store(y.as_mut_ptr().add(i));
        } else {
            lanes.store_partial(y.as_mut_ptr().add(i), left);
        }
    }
}
