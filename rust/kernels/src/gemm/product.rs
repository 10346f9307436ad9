//! One product: which operand is broadcast, what is packed, and the loops over blocks.

use crate::buffer::{AllocError, Buffer};
use crate::element::Float;
use crate::gemm::KC;
use crate::gemm::kernel::{Block, Multiply, PADDING, Run};
use crate::gemm::pack::{Gather, Strided};
use crate::gemm::plan::{Grid, Tiling};
use crate::out::Out;
use crate::par;

/// At most this many elements of the vector operand are packed at once.
const MAX_PACKED: usize = 1 << 24;

/// A block of the vector operand of at most this many elements stays in the first-level cache while
/// row tiles pass, so that the output can be written row by row.
const RESIDENT: usize = 6 * 1024;

/// Elements at distances that are multiples of this compete for the same few lines of the
/// first-level cache (64 sets of 64 bytes).
const ALIASED: usize = 4096;

/// `c = a b`, row-major, overwritten. The operands' elements are readable ([`super::Matrix`] has
/// checked them) and `c` has room for all of the output.
pub(super) fn product<T: Float>(a: Strided<T>, b: Strided<T>, c: Out<T>) -> Result<(), AllocError> {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        // SAFETY: the only part in use.
        unsafe { c.slice(0..m * n) }.fill(T::ZERO);
        return Ok(());
    }
    let swapped = swap(&a, &b);
    let (a, b) = if swapped { (b.transposed(), a.transposed()) } else { (a, b) };
    let tiling = Tiling::<T>::new(a.rows, b.cols);
    let product = Product {
        pack_a: packs_broadcast(&a, b.cols, &tiling),
        pack_b: packs_vectors(&b, a.rows, &tiling),
        a,
        b,
        tiling,
        swapped,
        c,
        c_row: n,
    };
    let cols = product.b.cols;
    let chunk = match product.pack_b {
        true => (MAX_PACKED / k).max(1).next_multiple_of(product.tiling.nr).min(cols),
        false => cols,
    };
    (0..cols).step_by(chunk).try_for_each(|col| product.columns(col, chunk.min(cols - col)))
}

/// Whether to compute the transposed product `c^T = b^T a^T`: the vector operand must be contiguous
/// along its columns, so `b` with contiguous columns would have to be transposed, k x n elements;
/// with the roles exchanged it is `a` (unless its columns are contiguous) and the output.
fn swap<T>(a: &Strided<T>, b: &Strided<T>) -> bool {
    let (m, k, n) = (a.rows as f64, a.cols as f64, b.cols as f64);
    let moved = m * n + if a.row_stride == 1 { 0.0 } else { m * k };
    // Less than a vector of rows would leave lanes idle.
    b.col_stride != 1 && n > 1.0 && m >= 8.0 && moved < k * n
}

/// Whether the vector operand is packed: always when its rows are not contiguous; else when enough
/// row tiles read it for contiguous panels to repay the copy.
fn packs_vectors<T>(b: &Strided<T>, rows: usize, tiling: &Tiling<T>) -> bool {
    if b.col_stride != 1 {
        return true;
    }
    // Memory in one piece already, or too small for the distance of its rows to matter.
    if b.cols <= tiling.nr || b.rows * b.cols <= RESIDENT {
        return false;
    }
    rows >= 8 * tiling.mr && b.rows > 32
}

/// Whether tiles of the broadcast operand are packed: when neither its rows nor its columns are
/// contiguous; else when enough panels read it, and its lines would compete for the cache.
fn packs_broadcast<T>(a: &Strided<T>, cols: usize, tiling: &Tiling<T>) -> bool {
    let contiguous = a.row_stride == 1 || a.col_stride == 1;
    let distance = if a.row_stride == 1 { a.col_stride } else { a.row_stride };
    let bytes = distance.unsigned_abs() * size_of::<T>();
    let aliased = bytes > 0 && bytes.is_multiple_of(ALIASED);
    let panels = cols.div_ceil(tiling.nr);
    panels > 1 && (!contiguous || (aliased && a.rows > 8) || (panels >= 4 && a.rows > 1))
}

struct Product<'a, T> {
    a: Strided<T>,
    b: Strided<T>,
    tiling: Tiling<T>,
    pack_a: bool,
    pack_b: bool,
    swapped: bool,
    c: Out<'a, T>,
    /// The distance of the rows of `c` as the caller sees it.
    c_row: usize,
}

impl<T: Float> Product<'_, T> {
    /// Columns `first` to `first + cols` of the output (its rows, if swapped).
    fn columns(&self, first: usize, cols: usize) -> Result<(), AllocError> {
        let (k, nr) = (self.b.rows, self.tiling.nr);
        let b = self.b.part(0, k, first, cols);
        let packed = if self.pack_b { Some(pack_panels(b, nr)?) } else { None };
        let panels = match &packed {
            Some(packed) => Panels { ptr: packed.as_ptr(), k: nr as isize, panel: (k * nr) as isize },
            None => Panels { ptr: b.ptr, k: b.row_stride, panel: nr as isize },
        };
        let grid = Grid::new(self.a.rows, cols, k, &self.tiling);
        par::try_for_each(grid.tasks(), |task| {
            let (row, rows, col, cols) = grid.block(task);
            self.block(row, rows, first, col, cols, &panels)
        })
    }

    /// One task: a block of the output, at column `first + col`.
    fn block(
        &self,
        row: usize,
        rows: usize,
        first: usize,
        col: usize,
        cols: usize,
        panels: &Panels<T>,
    ) -> Result<(), AllocError> {
        let Tiling { mr, nr, .. } = self.tiling;
        let k = self.a.cols;
        let mut tiles = Buffer::new(if self.pack_a { rows.next_multiple_of(mr) * k.min(KC) } else { 0 })?;
        // A transposed product is gathered in scratch and then written the other way round.
        let mut scratch = Buffer::new(if self.swapped { rows * cols } else { 0 })?;
        let (c, c_row) = match self.swapped {
            true => (scratch.as_mut_ptr(), cols),
            false => (self.c.ptr().wrapping_add(row * self.c_row + first + col), self.c_row),
        };
        for p in (0..k).step_by(KC) {
            let depth = KC.min(k - p);
            let a = self.a.part(row, rows, p, depth);
            if self.pack_a {
                pack_tiles(a, mr, &mut tiles);
            }
            let offset = (col / nr) as isize * panels.panel + p as isize * panels.k;
            let block = Block {
                runs: &[Run { a: 0, b: 0, len: depth }],
                a: if self.pack_a { tiles.as_ptr() } else { a.ptr },
                a_row: if self.pack_a { 1 } else { a.row_stride },
                a_k: if self.pack_a { mr as isize } else { a.col_stride },
                a_tile: if self.pack_a { (mr * depth) as isize } else { mr as isize * a.row_stride },
                b: panels.ptr.wrapping_offset(offset),
                b_k: panels.k,
                b_panel: panels.panel,
                b_padded: self.pack_b,
                c,
                c_row,
                rows,
                cols,
                mr,
                nr,
                by_panel: depth * cols > RESIDENT,
                accumulate: p > 0,
            };
            // SAFETY: the block lies within the operands, which their matrices have checked, or
            // within the packed copies, made with this layout; blocks of different tasks do not
            // overlap in the output, and the scratch is this task's own.
            T::dispatch(unsafe { Multiply::new(block) });
        }
        if self.swapped {
            let from = Strided { ptr: c, rows, cols, row_stride: cols as isize, col_stride: 1 };
            let to = self.c.ptr().wrapping_add((first + col) * self.c_row + row);
            // SAFETY: the scratch holds rows x cols elements; their transpose is this task's block.
            T::dispatch(unsafe { Gather::new(from.transposed(), to, self.c_row) });
        }
        Ok(())
    }
}

/// Where the panels of the vector operand are.
struct Panels<T> {
    ptr: *const T,
    k: isize,
    panel: isize,
}

// SAFETY: panels are only read, while their operand is borrowed or their packed copy alive, and
// their elements are Sync.
unsafe impl<T: Sync> Sync for Panels<T> {}

/// The vector operand as panels of `nr` columns, one after the other, each all of k deep; the last
/// one is filled up with zeros.
fn pack_panels<T: Float>(b: Strided<T>, nr: usize) -> Result<Buffer<T>, AllocError> {
    let (k, cols) = (b.rows, b.cols);
    let mut packed = Buffer::new(cols.div_ceil(nr) * nr * k + PADDING)?;
    // A task packs this many steps of one panel.
    let depth = (par::GRAIN / nr).max(1);
    let blocks = k.div_ceil(depth);
    let out = Out::new(&mut packed);
    par::for_each(cols.div_ceil(nr) * blocks, |task| {
        let b = &b;
        let (panel, p) = (task / blocks, task % blocks * depth);
        let (depth, width) = (depth.min(k - p), nr.min(cols - panel * nr));
        let start = (panel * k + p) * nr;
        // SAFETY: tasks have different panels or different steps.
        let to = unsafe { out.slice(start..start + depth * nr) };
        if width < nr {
            to.fill(T::ZERO);
        }
        // SAFETY: the part lies within the operand, and `to` has `depth` rows of `nr`.
        T::dispatch(unsafe { Gather::new(b.part(p, depth, panel * nr, width), to.as_mut_ptr(), nr) });
    });
    Ok(packed)
}

/// A block of the broadcast operand as tiles of `mr` rows, one after the other, the rows of each
/// step together.
fn pack_tiles<T: Float>(a: Strided<T>, mr: usize, tiles: &mut [T]) {
    let (rows, depth) = (a.rows, a.cols);
    for (i, tile) in tiles.chunks_mut(mr * depth).enumerate().take(rows.div_ceil(mr)) {
        assert!(tile.len() == mr * depth, "a tile's scratch is too small");
        let part = a.part(i * mr, mr.min(rows - i * mr), 0, depth).transposed();
        // SAFETY: the part lies within the operand, and the tile has `depth` rows of `mr`.
        T::dispatch(unsafe { Gather::new(part, tile.as_mut_ptr(), mr) });
    }
}
