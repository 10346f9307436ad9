//! The sum of the parts of a product whose contraction was cut.

use crate::element::Float;
use crate::gemm::kernel::Finish;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, Pace};
use crate::rows;
use crate::simd::Vector;

/// `c`, rows of `cols`, becomes the sum, in order, of the parts of its size that `sums` is made of, and is
/// finished; a bias has `cols` elements.
pub(super) fn join<T: Float>(sums: &[T], c: Out<T>, cols: usize, finish: Option<Finish<T>>) {
    let (size, parts) = (c.len(), sums.len() / c.len());
    // A task reads as much as one of an elementwise pass.
    let group = (par::GRAIN / (parts * cols)).max(1) * cols;
    par::for_each(size.div_ceil(group), |task| {
        let range = task * group..size.min((task + 1) * group);
        // SAFETY: tasks have different parts of the output.
        let c = unsafe { c.slice(range.clone()) };
        T::dispatch(Join { sums, size, parts, start: range.start, c, cols, finish });
    });
}

/// The rows `c` of an output of `size` elements, from element `start` on.
struct Join<'a, T> {
    sums: &'a [T],
    size: usize,
    parts: usize,
    start: usize,
    c: &'a mut [T],
    cols: usize,
    finish: Option<Finish<T>>,
}

impl<T: Float> Kernel<T> for Join<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Join { sums, size, parts, start, c, cols, finish } = self;
        let mut pace = Pace::default();
        // SAFETY: a bias has an element for each column.
        let finish = finish.map(|f| (unsafe { std::slice::from_raw_parts(f.bias, cols) }, f.relu));
        for (row, c) in c.chunks_exact_mut(cols).enumerate() {
            for j in (0..cols).step_by(V::LEN) {
                let (at, width) = (start + row * cols + j, V::LEN.min(cols - j));
                let mut sum = rows::load(&sums[at..at + width], 0, V::zero());
                for part in 1..parts {
                    let at = part * size + at;
                    sum = sum.add(rows::load(&sums[at..at + width], 0, V::zero()));
                }
                if let Some((bias, relu)) = finish {
                    sum = sum.add(rows::load(bias, j, V::zero()));
                    sum = if relu { sum.maximum(V::zero()) } else { sum };
                }
                rows::store(c, j, sum);
                pace.step(parts * V::LEN);
            }
        }
    }
}
