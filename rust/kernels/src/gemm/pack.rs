//! Copies that bring an operand into the order in which the microkernel reads it.

use crate::element::{Element, Float};
use crate::isa::Kernel;
use crate::simd::Vector;

/// A strided source of two dimensions, for [`Gather`].
#[derive(Clone, Copy)]
pub(crate) struct Strided<T> {
    pub(crate) ptr: *const T,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: isize,
    pub(crate) col_stride: isize,
}

// SAFETY: a strided source is only read, while what it points to is borrowed by the kernel that
// made it, and its elements are Sync.
unsafe impl<T: Sync> Sync for Strided<T> {}

impl<T> Strided<T> {
    /// The part that starts at (`row`, `col`).
    pub(crate) fn part(self, row: usize, rows: usize, col: usize, cols: usize) -> Strided<T> {
        let offset = row as isize * self.row_stride + col as isize * self.col_stride;
        Strided { ptr: self.ptr.wrapping_offset(offset), rows, cols, ..self }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Strided<T> {
        Strided {
            ptr: self.ptr,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// Copies `from` to rows of contiguous columns at distance `row` (at least `from.cols`).
///
/// A packed panel of the vector operand is a gather with the contraction index as rows; so is a
/// packed tile of the broadcast operand, with its rows as columns.
pub(crate) struct Gather<T> {
    from: Strided<T>,
    to: *mut T,
    row: usize,
}

impl<T: Float> Gather<T> {
    /// # Safety
    /// All elements of `from` are readable; the rows of `to` are writable, in nobody else's use, and
    /// apart from `from`.
    #[inline(always)]
    pub(crate) unsafe fn new(from: Strided<T>, to: *mut T, row: usize) -> Self {
        Gather { from, to, row }
    }
}

impl<T: Float> Kernel<T> for Gather<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Gather { from, to, row } = self;
        if from.col_stride == 1 {
            for i in 0..from.rows {
                let source = from.ptr.wrapping_offset(i as isize * from.row_stride);
                // SAFETY: row i of both, promised to `Gather::new`.
                unsafe { copy_row::<V>(source, to.add(i * row), from.cols) };
            }
        } else if from.row_stride == 1 {
            // SAFETY: promised to `Gather::new`; the source's columns are its contiguous rows.
            unsafe { transpose(from.ptr, from.col_stride, from.cols, from.rows, to, row) };
        } else {
            for i in 0..from.rows {
                for j in 0..from.cols {
                    let offset = i as isize * from.row_stride + j as isize * from.col_stride;
                    // SAFETY: element (i, j) of both, promised to `Gather::new`.
                    unsafe { *to.add(i * row + j) = *from.ptr.offset(offset) };
                }
            }
        }
    }
}

/// # Safety
/// `len` elements are readable at `from` and writable at `to`.
#[inline(always)]
unsafe fn copy_row<V: Vector>(from: *const V::Scalar, to: *mut V::Scalar, len: usize) {
    let mut i = 0;
    // SAFETY: i + LEN <= len in the loop, and what is left after it is less than LEN.
    unsafe {
        while i + V::LEN <= len {
            V::load(from.add(i)).store(to.add(i));
            i += V::LEN;
        }
        if i < len {
            V::load_partial(from.add(i), len - i).store_partial(to.add(i), len - i);
        }
    }
}

/// `to[j * to_row + i] = from[i * from_row + j]` for `i < rows`, `j < cols`.
///
/// # Safety
/// Those elements are readable and writable, and the two do not overlap.
#[inline(always)]
pub(crate) unsafe fn transpose<T: Element>(
    from: *const T,
    from_row: isize,
    rows: usize,
    cols: usize,
    to: *mut T,
    to_row: usize,
) {
    // What squares of 4 x 4 cover; the rest goes element by element.
    let squares = cfg!(target_arch = "x86_64") && size_of::<T>() == 4;
    let (rows_done, cols_done) = if squares { (rows & !3, cols & !3) } else { (0, 0) };
    #[cfg(target_arch = "x86_64")]
    {
        for i in (0..rows_done).step_by(4) {
            for j in (0..cols_done).step_by(4) {
                // SAFETY: a 4 x 4 square of 4-byte elements within both.
                unsafe {
                    let source = from.offset(i as isize * from_row + j as isize);
                    square(source.cast(), from_row, to.add(j * to_row + i).cast(), to_row);
                }
            }
        }
    }
    let scalar = |i: usize, j: usize| {
        // SAFETY: i < rows and j < cols.
        unsafe { *to.add(j * to_row + i) = *from.offset(i as isize * from_row + j as isize) };
    };
    (0..rows_done).for_each(|i| (cols_done..cols).for_each(|j| scalar(i, j)));
    (rows_done..rows).for_each(|i| (0..cols).for_each(|j| scalar(i, j)));
}

/// A 4 x 4 square of float32 (or any 4-byte elements) transposed in registers.
///
/// # Safety
/// As [`transpose`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn square(from: *const f32, from_row: isize, to: *mut f32, to_row: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller promises the elements; SSE is part of x86-64.
    unsafe {
        let row = |i: isize| _mm_loadu_ps(from.offset(i * from_row));
        let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
        let (low01, high01) = (_mm_unpacklo_ps(r0, r1), _mm_unpackhi_ps(r0, r1));
        let (low23, high23) = (_mm_unpacklo_ps(r2, r3), _mm_unpackhi_ps(r2, r3));
        _mm_storeu_ps(to, _mm_movelh_ps(low01, low23));
        _mm_storeu_ps(to.add(to_row), _mm_movehl_ps(low23, low01));
        _mm_storeu_ps(to.add(2 * to_row), _mm_movelh_ps(high01, high23));
        _mm_storeu_ps(to.add(3 * to_row), _mm_movehl_ps(high23, high01));
    }
}
