//! Batches: rows of an array in any order, their elements converted on the way.

use crate::element::Element;
use crate::isa::{self, Kernel};
use crate::par::{self, GRAIN};
use crate::simd::Vector;
use crate::view::{self, View};
use crate::walk::{self, Axes, BLOCK};

/// Elements per task: rows come from all over the memory, so that a batch of two dozen thousand elements is
/// worth both cores.
const PIECE: usize = GRAIN / 4;

/// `y[k, ..] = f(x[rows[k], ..])`, `y` in row-major order.
///
/// ```
/// use autodan_kernels::{gather::gather, view::View};
/// let mut y = [0.0f32; 4];
/// gather(View::new(&[1u8, 2, 3, 4, 5, 6], 0, &[3, 2], &[2, 1]), &[2, 0], &mut y, |x| f32::from(x));
/// assert_eq!(y, [5.0, 6.0, 1.0, 2.0]);
/// ```
///
/// # Panics
/// When `x` has no axes, the lengths do not fit, or a number is not that of a row.
pub fn gather<A: Element, B: Element>(x: View<A>, rows: &[i64], y: &mut [B], f: impl Fn(A) -> B + Sync) {
    let (shape, strides) = (x.shape(), x.strides());
    let width = view::len(&shape[1..]).expect("the element count overflows");
    assert_eq!(Some(y.len()), rows.len().checked_mul(width), "y must have the elements of all rows");
    let dense = view::is_contiguous(&shape[1..], &strides[1..]);
    let axes = Axes::new(&shape[1..], [&strides[1..]]);
    let row = |k: usize| {
        let row = usize::try_from(rows[k]).ok().filter(|&row| row < shape[0]);
        let row = row.unwrap_or_else(|| panic!("row {} is not in 0..{}", rows[k], shape[0]));
        x.offset().wrapping_add_signed(row as isize * strides[0])
    };
    // Chunks are cut by elements, whatever the rows: a row may be a number or a film.
    par::for_each_chunk(y, PIECE, |start, y| {
        let (data, row, axes, f) = (x.data(), &row, &axes, &f);
        isa::dispatch_exact(Chunk { data, dense, axes, width, row, start, y, f });
    });
}

struct Chunk<'a, A, B, R, F> {
    data: &'a [A],
    /// Whether a row lies without gaps.
    dense: bool,
    axes: &'a Axes<1>,
    width: usize,
    /// Where the data of the k-th row of the output begins.
    row: &'a R,
    /// The number of the chunk's first element.
    start: usize,
    y: &'a mut [B],
    f: &'a F,
}

impl<A: Element, B: Element, R: Fn(usize) -> usize, F: Fn(A) -> B> Kernel<f32> for Chunk<'_, A, B, R, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) {
        let Chunk { data, dense, axes, width, row, start, mut y, f } = self;
        let (mut k, mut column) = (start / width, start % width);
        while !y.is_empty() {
            let n = y.len().min(width - column);
            let (part, rest) = y.split_at_mut(n);
            let at = row(k);
            if dense {
                let x = &data[at + column..][..n];
                for i in 0..n {
                    part[i] = f(x[i]);
                }
            } else {
                let mut scratch = [A::default(); BLOCK];
                for (block, part) in part.chunks_mut(BLOCK).enumerate() {
                    let scratch = &mut scratch[..part.len()];
                    walk::gather(data, at, axes.shape(), axes.strides(0), column + block * BLOCK, scratch);
                    for i in 0..part.len() {
                        part[i] = f(scratch[i]);
                    }
                }
            }
            (k, column, y) = (k + 1, 0, rest);
        }
    }
}

#[cfg(test)]
mod tests;
