//! Copies that bring an operand into the order in which the microkernel reads it.

use crate::element::Float;
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
            unsafe { transpose::<V>(from.ptr, from.col_stride, from.cols, from.rows, to, row) };
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
unsafe fn transpose<V: Vector>(
    from: *const V::Scalar,
    from_row: isize,
    rows: usize,
    cols: usize,
    to: *mut V::Scalar,
    to_row: usize,
) {
    let squares = cols - cols % V::SQUARE;
    for i in (0..rows).step_by(V::SQUARE) {
        let height = V::SQUARE.min(rows - i);
        for j in (0..squares).step_by(V::SQUARE) {
            // SAFETY: `height` rows and a square's columns, within both.
            unsafe {
                let source = from.offset(i as isize * from_row + j as isize);
                V::transpose(source, from_row, height, to.add(j * to_row + i), to_row);
            }
        }
    }
    for i in 0..rows {
        for j in squares..cols {
            // SAFETY: i < rows and j < cols.
            unsafe { *to.add(j * to_row + i) = *from.offset(i as isize * from_row + j as isize) };
        }
    }
}
