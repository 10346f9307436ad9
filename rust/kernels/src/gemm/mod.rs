//! Matrix products.
//!
//! In layers, from the inside: `kernel` holds a tile of the output in registers, `pack` brings
//! operands into the order in which it reads them, `plan` cuts a product into tiles and tasks, and
//! `product` decides for each product which operand is broadcast, what is packed, and runs it; where
//! the contraction itself is cut, `join` adds what became of its parts. `bands` is for products that are used
//! up as they are made.
//!
//! **Order of summation.** Every element of a product is the sum, in order, of equal blocks of the
//! contraction (`plan::block_depth`), and inside a block one chain of multiply-adds. Strides, tiles, packing
//! and threads cannot change it, so an element has the same bits however its operands lie in memory; when
//! a transposed product suits the operands better, it may be computed instead; and blocks may be computed
//! apart, to be added by `join`.

mod bands;
mod join;
pub(crate) mod kernel;
pub(crate) mod pack;
pub(crate) mod plan;
mod product;
#[cfg(test)]
pub(crate) mod tests;

pub use bands::{fits_bands, gemm_bands};

use crate::buffer::{AllocError, Buffer};
use crate::element::{Element, Float, Number};
use crate::out::Out;
use crate::par::{self, Pace};
use crate::view::len;
use kernel::Finish;
use pack::Strided;

/// A matrix in memory: any strides, transposed and broadcast ones included.
///
/// ```
/// use autodan_kernels::gemm::{Matrix, gemm};
///
/// let a = [1.0f32, 2.0, 3.0, 4.0];
/// let mut c = [0.0; 4];
/// let a_transposed = Matrix::new(&a, 0, 2, 2, 1, 2);
/// gemm(Matrix::new(&a, 0, 2, 2, 2, 1), a_transposed, &mut c)?;
/// assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    offset: usize,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl<'a, T> Matrix<'a, T> {
    /// The matrix with element (i, j) at `data[offset + i * row_stride + j * col_stride]`.
    ///
    /// # Panics
    /// When an element lies outside of `data`.
    pub fn new(
        data: &'a [T],
        offset: usize,
        rows: usize,
        cols: usize,
        row_stride: isize,
        col_stride: isize,
    ) -> Matrix<'a, T> {
        if rows > 0 && cols > 0 {
            let last = |side: usize, stride: isize| (side as i128 - 1) * stride as i128;
            let (down, across) = (last(rows, row_stride), last(cols, col_stride));
            let first = offset as i128 + down.min(0) + across.min(0);
            let end = offset as i128 + down.max(0) + across.max(0);
            assert!(first >= 0 && end < data.len() as i128, "matrix reaches out of its data");
        }
        Matrix { data, offset, rows, cols, row_stride, col_stride }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    fn strided(&self) -> Strided<T> {
        Strided {
            ptr: self.data.as_ptr().wrapping_add(self.offset),
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }
}

/// `c = a b`: `a` is m x k, `b` k x n, `c` m x n in row-major order, overwritten.
///
/// # Errors
/// [`AllocError`] when there is no memory for packed operands.
///
/// # Panics
/// When the sizes do not fit together.
pub fn gemm<T: Float>(a: Matrix<T>, b: Matrix<T>, c: &mut [T]) -> Result<(), AllocError> {
    assert_eq!(a.cols, b.rows, "inner sizes differ");
    assert_eq!(Some(c.len()), len(&[a.rows, b.cols]), "wrong output size");
    product::product(a.strided(), b.strided(), Out::new(c), None)
}

/// `c = a b + bias`, with one bias for each column, and 0 in place of what is negative if `relu`; as
/// [`gemm`] otherwise. The bias is added as the sums leave the registers.
///
/// ```
/// use autodan_kernels::gemm::{Matrix, gemm_bias};
///
/// let (a, identity) = ([1.0f32, -2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0]);
/// let mut c = [0.0; 4];
/// gemm_bias(Matrix::new(&a, 0, 2, 2, 2, 1), Matrix::new(&identity, 0, 2, 2, 2, 1), &[0.5, 1.0], true, &mut c)?;
/// assert_eq!(c, [1.5, 0.0, 3.5, 5.0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for packed operands.
///
/// # Panics
/// When the sizes do not fit together.
pub fn gemm_bias<T: Float>(
    a: Matrix<T>,
    b: Matrix<T>,
    bias: &[T],
    relu: bool,
    c: &mut [T],
) -> Result<(), AllocError> {
    assert_eq!(a.cols, b.rows, "inner sizes differ");
    assert_eq!(b.cols, bias.len(), "wrong number of biases");
    assert_eq!(Some(c.len()), len(&[a.rows, b.cols]), "wrong output size");
    product::product(a.strided(), b.strided(), Out::new(c), Some(Finish { bias: bias.as_ptr(), relu }))
}

/// Products of less than this many multiply-adds share a task, larger ones are cut themselves.
const SMALL: usize = 8 * plan::TASK;

/// `c[i] = a(i) b(i)` for each `i < batch`: all `a(i)` are m x k, all `b(i)` k x n, `c` is batch x m
/// x n in row-major order, overwritten.
///
/// # Errors
/// [`AllocError`] when there is no memory for packed operands.
///
/// # Panics
/// When the sizes do not fit together.
pub fn gemm_batched<'a, T: Float>(
    batch: usize,
    a: &(dyn Fn(usize) -> Matrix<'a, T> + Sync),
    b: &(dyn Fn(usize) -> Matrix<'a, T> + Sync),
    c: &mut [T],
) -> Result<(), AllocError> {
    let Some((m, k, n)) = batched_sizes(batch, a, b, c) else { return Ok(()) };
    let out = Out::new(c);
    let item = |i: usize| {
        let (a, b) = (a(i), b(i));
        assert_eq!((a.rows, a.cols, b.rows, b.cols), (m, k, k, n), "sizes differ within the batch");
        // SAFETY: the items' parts of the output are disjoint, and each is used once.
        let c = unsafe { out.slice(i * m * n..(i + 1) * m * n) };
        product::product(a.strided(), b.strided(), Out::new(c), None)
    };
    let work = m.saturating_mul(n).saturating_mul(k);
    if work >= SMALL {
        return (0..batch).try_for_each(item);
    }
    let items = (plan::TASK / work.max(1)).clamp(1, batch);
    par::try_for_each(batch.div_ceil(items), |task| {
        (task * items..batch.min((task + 1) * items)).try_for_each(item)
    })
}

/// The common m, k and n; `None` when the output is empty.
fn batched_sizes<'a, T: Element>(
    batch: usize,
    a: &(dyn Fn(usize) -> Matrix<'a, T> + Sync),
    b: &(dyn Fn(usize) -> Matrix<'a, T> + Sync),
    c: &[T],
) -> Option<(usize, usize, usize)> {
    if batch == 0 {
        assert!(c.is_empty(), "wrong output size");
        return None;
    }
    let (first_a, first_b) = (a(0), b(0));
    let (m, k, n) = (first_a.rows, first_a.cols, first_b.cols);
    assert_eq!(k, first_b.rows, "inner sizes differ");
    assert_eq!(Some(c.len()), len(&[batch, m, n]), "wrong output size");
    (!c.is_empty()).then_some((m, k, n))
}

/// [`gemm_batched`] for any numbers, integers above all: they wrap around on overflow. Simple, not
/// fast.
///
/// # Errors
/// [`AllocError`] when there is no memory for a copy of a strided operand.
///
/// # Panics
/// When the sizes do not fit together.
pub fn matmul_integer<'a, T: Number>(
    batch: usize,
    a: &(dyn Fn(usize) -> Matrix<'a, T> + Sync),
    b: &(dyn Fn(usize) -> Matrix<'a, T> + Sync),
    c: &mut [T],
) -> Result<(), AllocError> {
    let Some((m, k, n)) = batched_sizes(batch, a, b, c) else { return Ok(()) };
    let out = Out::new(c);
    par::try_for_each(batch, |i| {
        let (a, b) = (a(i), b(i));
        assert_eq!((a.rows, a.cols, b.rows, b.cols), (m, k, k, n), "sizes differ within the batch");
        let at = |x: &Matrix<T>, i: usize, j: usize| {
            x.data[x.offset.wrapping_add_signed(i as isize * x.row_stride + j as isize * x.col_stride)]
        };
        // The inner loop runs over contiguous columns of b.
        let mut columns = Buffer::new(k.saturating_mul(n))?;
        let mut pace = Pace::default();
        for (p, row) in columns.chunks_exact_mut(n).enumerate() {
            pace.step(n);
            row.iter_mut().enumerate().for_each(|(j, x)| *x = at(&b, p, j));
        }
        // SAFETY: the items' parts of the output are disjoint, and each is used once.
        let c = unsafe { out.slice(i * m * n..(i + 1) * m * n) };
        c.fill(T::ZERO);
        par::for_each_chunk(c, n.saturating_mul(1 + par::GRAIN / k.saturating_mul(n).max(1)), |start, c| {
            let mut pace = Pace::default();
            for (r, row) in c.chunks_exact_mut(n).enumerate() {
                for (p, factors) in columns.chunks_exact(n).enumerate() {
                    pace.step(n);
                    let x = at(&a, start / n + r, p);
                    row.iter_mut().zip(factors).for_each(|(y, &f)| *y = y.add(x.mul(f)));
                }
            }
        });
        Ok(())
    })
}
