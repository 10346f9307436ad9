//! A product that is used up as it is made: bands of its rows, one after the other, in the first-level cache.

use super::Matrix;
use super::kernel::{Ahead, Block, Multiply, Run};
use super::pack::Strided;
use super::plan::{TASK, Tiling};
use super::product::{packs_broadcast, packs_vectors};
use crate::element::Float;
use crate::par::{self, GRAIN};

/// The elements of a band: so few that what belongs to them comes, asked for by the processor itself, while the
/// next band is computed.
const BAND: usize = 1536;

/// The most elements of a band, which lies on the stack.
const MOST_HELD: usize = 8192;

/// The most steps of the contraction: more of them are arithmetic enough, and go better with their operands
/// packed.
const MOST_STEPS: usize = 64;

/// The fewest elements of a product that is worth it: less stays in the caches as a whole.
const LEAST: usize = 2 * GRAIN;

/// The most multiply-adds: some tens of milliseconds, for products that must not be interrupted.
const MOST: usize = 1 << 31;

/// Whether [`gemm_bands`] can compute this product, and pays: that of an `m` x `k` and a `k` x `n` matrix of
/// `T` with these distances of rows and of columns.
pub fn fits_bands<T: Float>([m, k, n]: [usize; 3], a: [isize; 2], b: [isize; 2]) -> bool {
    let matrix = |rows, cols, [row_stride, col_stride]: [isize; 2]| Strided::<T> {
        ptr: std::ptr::null(),
        rows,
        cols,
        row_stride,
        col_stride,
    };
    let work = m.saturating_mul(n).saturating_mul(k);
    m.saturating_mul(n) >= LEAST
        && work <= MOST
        && (1..=MOST_STEPS).contains(&k)
        && Bands::new(matrix(m, k, a), matrix(k, n, b)).is_some()
}

/// Computes `a b` and gives its elements, in row-major order and each once, to `consume`: the number of the
/// first one, and some. Takes no memory, and gives the same bits as [`super::gemm`].
///
/// ```
/// use autodan_kernels::gemm::{Matrix, fits_bands, gemm_bands};
///
/// let (a, b) = ([1.0f32; 800], [2.0; 200]);
/// assert!(fits_bands::<f32>([400, 2, 100], [2, 1], [100, 1]));
/// let (a, b) = (Matrix::new(&a, 0, 400, 2, 2, 1), Matrix::new(&b, 0, 2, 100, 100, 1));
/// gemm_bands(a, b, &|first, values| assert!(first < 40_000 && values.iter().all(|&value| value == 4.0)));
/// ```
///
/// # Panics
/// When the sizes do not fit together, or [`fits_bands`] is false.
pub fn gemm_bands<T: Float>(a: Matrix<T>, b: Matrix<T>, consume: &(dyn Fn(usize, &[T]) + Sync)) {
    assert_eq!(a.cols, b.rows, "inner sizes differ");
    let strides = |x: &Matrix<T>| [x.row_stride, x.col_stride];
    assert!(fits_bands::<T>([a.rows, a.cols, b.cols], strides(&a), strides(&b)), "an unfit product");
    let Some(bands) = Bands::new(a.strided(), b.strided()) else { return };
    // Whoever uses the elements has as much work with them again.
    let work = bands.rows * bands.b.cols * bands.b.rows;
    let rows = bands.rows * (TASK / 2 / work).max(1);
    let m = bands.a.rows;
    par::for_each(m.div_ceil(rows), |task| {
        let mut scratch = Scratch::<T>([T::ZERO; MOST_HELD]);
        let end = m.min((task + 1) * rows);
        for row in (task * rows..end).step_by(bands.rows) {
            let values = bands.compute(row, bands.rows.min(end - row), &mut scratch.0);
            consume(row * bands.b.cols, values);
        }
    });
}

/// In one piece with cache lines, as vectors like it.
#[repr(align(64))]
struct Scratch<T>([T; MOST_HELD]);

struct Bands<T> {
    a: Strided<T>,
    b: Strided<T>,
    tiling: Tiling<T>,
    /// Those of a band: whole tiles.
    rows: usize,
}

// SAFETY: the operands are only read, while whoever made this borrows them, and their elements are Sync.
unsafe impl<T: Sync> Sync for Bands<T> {}

impl<T: Float> Bands<T> {
    /// None where an operand would have to be packed, or not even a tile's rows fit a band.
    fn new(a: Strided<T>, b: Strided<T>) -> Option<Bands<T>> {
        let tiling = Tiling::<T>::new(a.rows, b.cols);
        let rows = (BAND / b.cols.max(1) / tiling.mr).max(1) * tiling.mr;
        let in_place = !packs_broadcast(&a, b.cols, &tiling) && !packs_vectors(&b, a.rows, &tiling);
        (in_place && rows.saturating_mul(b.cols) <= MOST_HELD).then_some(Bands { a, b, tiling, rows })
    }

    /// The product's `rows` from `row` on.
    fn compute<'s>(&self, row: usize, rows: usize, scratch: &'s mut [T; MOST_HELD]) -> &'s [T] {
        let (Tiling { mr, nr, .. }, depth, cols) = (self.tiling, self.b.rows, self.b.cols);
        let a = self.a.part(row, rows, 0, depth);
        let block = Block {
            runs: &[Run { a: 0, b: 0, len: depth }],
            a: a.ptr,
            a_row: a.row_stride,
            a_group: 3 * a.row_stride,
            a_k: a.col_stride,
            a_tile: mr as isize * a.row_stride,
            b: self.b.ptr,
            b_k: self.b.row_stride,
            b_panel: nr as isize,
            b_padded: false,
            c: scratch.as_mut_ptr(),
            c_row: cols,
            lines: 1,
            a_line: 0,
            c_line: 0,
            rows,
            cols,
            mr,
            nr,
            by_panel: false,
            accumulate: false,
            finish: None,
            ahead: Ahead::NOTHING,
        };
        // SAFETY: the block lies within the operands, which their matrices have checked; `b` has neighbouring
        // columns and `a` neighbours one way or the other, as they need not be packed; and the scratch, this
        // task's own, has room for a band's rows.
        T::dispatch(unsafe { Multiply::new(block) });
        &scratch[..rows * cols]
    }
}
