//! One product: which operand is broadcast, what is packed, and the loops over blocks.

use crate::buffer::{AllocError, Buffer};
use crate::element::Float;
use crate::gemm::join::join;
use crate::gemm::kernel::{Ahead, Block, Finish, LINE, Multiply, PADDING, Run};
use crate::gemm::pack::{Gather, Strided};
use crate::gemm::plan::{Grid, KC, Tiling, block_depth, in_slices};
use crate::out::Out;
use crate::par::{self, Pace};

/// At most this many elements of the vector operand are packed at once.
const MAX_PACKED: usize = 1 << 24;

/// A block of the vector operand of at most this many elements stays in the first-level cache while
/// row tiles pass, so that the output can be written row by row.
const RESIDENT: usize = 6 * 1024;

/// A vector operand of at most this many elements is near enough (in the second-level cache) where it is.
const NEAR: usize = 256 * 1024;

/// Elements at distances that are multiples of this compete for the same few lines of the
/// first-level cache (64 sets of 64 bytes).
const ALIASED: usize = 4096;

/// Steps of the contraction between two requests for what is read next ([`Ahead`]).
const STRIDE: usize = 16;

/// The most rows of a tile while the rows of the next one are asked for.
const ROWS_AHEAD: usize = 12;

/// `c = a b`, row-major, overwritten. The operands' elements are readable ([`super::Matrix`] has
/// checked them), `c` has room for all of the output, and a bias is as long as a row of it.
pub(super) fn product<T: Float>(
    a: Strided<T>,
    b: Strided<T>,
    c: Out<T>,
    finish: Option<Finish<T>>,
) -> Result<(), AllocError> {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 && finish.is_none() {
        // SAFETY: the only part in use.
        unsafe { c.slice(0..m * n) }.fill(T::ZERO);
        return Ok(());
    }
    if in_slices(m, k, n) { sliced(a, b, c, finish) } else { whole(a, b, c, finish, false) }
}

/// [`product`] without a cut of the contraction among tasks. `goes_on`: `b` is the upper part of a matrix with
/// more rows.
fn whole<T: Float>(
    a: Strided<T>,
    b: Strided<T>,
    c: Out<T>,
    finish: Option<Finish<T>>,
    goes_on: bool,
) -> Result<(), AllocError> {
    let (k, n) = (a.cols, b.cols);
    // A bias belongs to columns of the output as it is.
    let swapped = finish.is_none() && swap(&a, &b);
    let (a, b) = if swapped { (b.transposed(), a.transposed()) } else { (a, b) };
    let mut tiling = Tiling::<T>::new(a.rows, b.cols);
    // An operand in one piece that is read once, and larger than what a near cache holds.
    let asks = match swapped {
        true => in_one_piece(&a) && k * a.rows > NEAR && k == block_depth(k) && b.cols <= tiling.nr,
        false => goes_on && in_one_piece(&b) && !packs_vectors(&b, a.rows, &tiling),
    };
    if swapped && asks {
        tiling.mr = tiling.mr.min(ROWS_AHEAD);
    }
    let product = Product {
        // Without steps there is nothing to pack, but a bias to write.
        pack_a: k > 0 && packs_broadcast(&a, b.cols, &tiling),
        pack_b: k > 0 && packs_vectors(&b, a.rows, &tiling),
        tiling,
        swapped,
        goes_on,
        asks,
        finish,
        c,
        c_row: n,
    };
    // The vector operand is packed in parts of a bounded size.
    let cols = match product.pack_b {
        true => (MAX_PACKED / k.max(1)).max(1).next_multiple_of(tiling.nr).min(b.cols),
        false => b.cols,
    };
    (0..b.cols)
        .step_by(cols)
        .try_for_each(|col| product.part(a, b.part(0, k, col, cols.min(b.cols - col)), col))
}

/// [`product`] with a task for each block of the contraction, which reads its part of both operands once,
/// `b` in the order of memory. The sums of blocks are added in the order in which [`Product::block`] would
/// have added them.
fn sliced<T: Float>(
    a: Strided<T>,
    b: Strided<T>,
    c: Out<T>,
    finish: Option<Finish<T>>,
) -> Result<(), AllocError> {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let depth = block_depth(k);
    let slices = k.div_ceil(depth);
    let mut sums = Buffer::new(slices.saturating_mul(m * n))?;
    let out = Out::new(&mut sums);
    par::try_for_each(slices, |slice| {
        let (p, depth) = (slice * depth, depth.min(k - slice * depth));
        // SAFETY: slices have different parts of the sums, and each is used once.
        let sums = unsafe { out.slice(slice * m * n..(slice + 1) * m * n) };
        let (a, b) = (a.part(0, m, p, depth), b.part(p, depth, 0, n));
        whole(a, b, Out::new(sums), None, slice + 1 < slices)
    })?;
    join(&sums, c, n, finish);
    Ok(())
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

/// Whether `operand` is in one piece.
fn in_one_piece<T>(operand: &Strided<T>) -> bool {
    (operand.row_stride, operand.col_stride) == (operand.cols as isize, 1)
}

/// Whether the vector operand is packed: always when its rows are not contiguous; else when enough
/// row tiles read it for contiguous panels to repay the copy.
pub(super) fn packs_vectors<T>(b: &Strided<T>, rows: usize, tiling: &Tiling<T>) -> bool {
    if b.col_stride != 1 {
        return true;
    }
    // Memory in one piece already, or too small for the distance of its rows to matter.
    if b.cols <= tiling.nr || b.rows * b.cols <= RESIDENT {
        return false;
    }
    let aliased = (b.row_stride.unsigned_abs() * size_of::<T>()).is_multiple_of(ALIASED);
    rows >= 8 * tiling.mr && b.rows > 32 && (aliased || b.rows * b.cols > NEAR)
}

/// Whether tiles of the broadcast operand are packed: when neither their rows nor their columns are
/// neighbours; and when rows are, so that a line holds few of the elements that a tile wants, if enough
/// panels read it to repay the copy.
pub(super) fn packs_broadcast<T>(a: &Strided<T>, cols: usize, tiling: &Tiling<T>) -> bool {
    match (a.row_stride, a.col_stride) {
        (_, 1) => false,
        (1, _) => a.cols > 64 && cols.div_ceil(tiling.nr) >= 4,
        _ => true,
    }
}

struct Product<'a, T> {
    tiling: Tiling<T>,
    pack_a: bool,
    pack_b: bool,
    swapped: bool,
    /// Whether `b` is the upper part of a matrix with more rows.
    goes_on: bool,
    /// Whether it is asked for what is read next.
    asks: bool,
    finish: Option<Finish<T>>,
    c: Out<'a, T>,
    /// The distance of the rows of `c` as the caller sees it.
    c_row: usize,
}

impl<T: Float> Product<'_, T> {
    /// The columns of the output (of its transpose, if swapped) from `col` on that `b` makes.
    fn part(&self, a: Strided<T>, b: Strided<T>, col: usize) -> Result<(), AllocError> {
        let nr = self.tiling.nr;
        let packed = if self.pack_b { Some(pack_panels(b, nr)?) } else { None };
        let operands = Operands { a, b: Panels::new(b, nr, packed.as_deref()), k: b.rows };
        let grid = Grid::new(a.rows, b.cols, b.rows, &self.tiling, self.pack_a);
        par::try_for_each(grid.tasks(), |task| self.block(&operands, grid.block(task), col))
    }

    /// One task: a block of a part whose first column is `col`.
    fn block(
        &self,
        operands: &Operands<T>,
        (row, rows, first_col, cols): (usize, usize, usize, usize),
        col: usize,
    ) -> Result<(), AllocError> {
        let (Operands { a, b, k }, Tiling { mr, nr, .. }) = (operands, self.tiling);
        let steps = block_depth(*k);
        let col = col + first_col;
        // A transposed product is gathered in scratch and then written the other way round.
        let mut scratch = Buffer::new(if self.swapped { rows * cols } else { 0 })?;
        let (c, c_row) = match self.swapped {
            true => (scratch.as_mut_ptr(), cols),
            false => (self.c.ptr().wrapping_add(row * self.c_row + col), self.c_row),
        };
        let tall = rows.next_multiple_of(mr);
        let mut packed = Buffer::new(if self.pack_a { tall * steps } else { 0 })?;
        let mut pace = Pace::default();
        // Without a contraction there is one step, which writes the bias.
        for p in (0..(*k).max(1)).step_by(steps.max(1)) {
            let depth = steps.min(k - p);
            pace.step(depth * rows * cols);
            let part = a.part(row, rows, p, depth);
            let tiles = match self.pack_a {
                true => {
                    for (tile, to) in packed.chunks_exact_mut(depth * mr).take(tall / mr).enumerate() {
                        let from = part.part(tile * mr, mr.min(rows - tile * mr), 0, depth).transposed();
                        // SAFETY: the part lies within the operand; `to` has `depth` rows of `mr`.
                        T::dispatch(unsafe { Gather::new(from, to.as_mut_ptr(), mr) });
                    }
                    Panels { ptr: packed.as_ptr(), side: 1, k: mr as isize, panel: (depth * mr) as isize }
                }
                false => Panels::new(part.transposed(), mr, None),
            };
            // What only one task reads; a transposed product's tasks have rows of their own.
            let asks = self.asks && (self.swapped || (rows, cols) == (a.rows, self.c_row));
            let stride = if asks { STRIDE } else { depth.max(1) };
            let mut runs = [Run { a: 0, b: 0, len: 0 }; KC / STRIDE];
            let count = depth.div_ceil(stride).max(1);
            for (run, start) in runs[..count].iter_mut().zip((0..).step_by(stride)) {
                let (a, b) = (start as isize * tiles.k, start as isize * b.k);
                *run = Run { a, b, len: stride.min(depth - start) };
            }
            let ahead = match asks {
                true => self.ahead(operands, row, (rows, cols, count)),
                false => Ahead::NOTHING,
            };
            let block = Block {
                runs: &runs[..count],
                a: tiles.ptr,
                a_row: tiles.side,
                a_group: 3 * tiles.side,
                a_k: tiles.k,
                a_tile: tiles.panel,
                b: b.at(first_col / nr, p),
                b_k: b.k,
                b_panel: b.panel,
                // What follows a row but the last is another one.
                b_padded: self.pack_b || self.goes_on && !self.swapped && b.k >= PADDING as isize,
                c,
                c_row,
                lines: 1,
                a_line: 0,
                c_line: 0,
                rows,
                cols,
                mr,
                nr,
                by_panel: depth * cols > RESIDENT,
                accumulate: p > 0,
                finish: self.finish.filter(|_| p + depth == *k).map(|finish| finish.at(col)),
                ahead,
            };
            // SAFETY: the block lies within the operands, which their matrices have checked, or
            // within the packed copies, made with this layout; blocks of different tasks do not
            // overlap in the output, and the scratch is this task's own.
            T::dispatch(unsafe { Multiply::new(block) });
        }
        if self.swapped {
            let from = Strided { ptr: c, rows, cols, row_stride: cols as isize, col_stride: 1 };
            let to = self.c.ptr().wrapping_add(col * self.c_row + row);
            // SAFETY: the scratch holds rows x cols elements; their transpose is this task's block.
            T::dispatch(unsafe { Gather::new(from.transposed(), to, self.c_row) });
        }
        Ok(())
    }

    /// What to ask for during the `runs` of each tile of a block from `row` on, of `rows` and `cols`: of the
    /// operand that is read once, what this thread will most likely read next.
    fn ahead(
        &self,
        Operands { a, b, k }: &Operands<T>,
        row: usize,
        (rows, cols, runs): (usize, usize, usize),
    ) -> Ahead<T> {
        let Tiling { mr, nr, .. } = self.tiling;
        let lines = |elements: usize| (elements * size_of::<T>()).div_ceil(LINE);
        if self.swapped {
            return Ahead { at: a.part(row + mr, 0, 0, 0).ptr, lines: lines(mr * STRIDE) };
        }
        let runs = runs * rows.div_ceil(mr) * cols.div_ceil(nr);
        Ahead { at: b.at(0, *k), lines: lines(k * cols).div_ceil(runs) }
    }
}

/// Both operands of a part, `k` deep.
struct Operands<T> {
    a: Strided<T>,
    b: Panels<T>,
    k: usize,
}

/// An operand as panels of a tile's rows or columns: the distances of neighbours in a panel, of steps
/// of the contraction, and of panels.
struct Panels<T> {
    ptr: *const T,
    side: isize,
    k: isize,
    panel: isize,
}

impl<T> Panels<T> {
    /// `operand` (k x sides) as panels of `width`: in place, or its packed copy.
    fn new(operand: Strided<T>, width: usize, packed: Option<&[T]>) -> Panels<T> {
        let Strided { ptr, rows: k, row_stride, col_stride, .. } = operand;
        match packed {
            Some(packed) => {
                Panels { ptr: packed.as_ptr(), side: 1, k: width as isize, panel: (k * width) as isize }
            }
            None => Panels { ptr, side: col_stride, k: row_stride, panel: width as isize * col_stride },
        }
    }

    /// Step `p` of panel `panel`.
    fn at(&self, panel: usize, p: usize) -> *const T {
        self.ptr.wrapping_offset(panel as isize * self.panel + p as isize * self.k)
    }
}

// SAFETY: panels are only read, while their operand is borrowed or their packed copy alive, and
// their elements are Sync.
unsafe impl<T: Sync> Sync for Panels<T> {}

/// `operand` (k x sides) as panels of `width` sides, one after the other, each all of k deep; the last
/// one is filled up with zeros.
fn pack_panels<T: Float>(operand: Strided<T>, width: usize) -> Result<Buffer<T>, AllocError> {
    let (k, sides) = (operand.rows, operand.cols);
    // An operand that is a broadcast may be larger than any memory.
    let len = sides.next_multiple_of(width).saturating_mul(k).saturating_add(PADDING);
    let mut packed = Buffer::new(len)?;
    // A task packs this many steps of one panel.
    let depth = (par::GRAIN / width).max(1);
    let blocks = k.div_ceil(depth);
    let out = Out::new(&mut packed);
    par::for_each(sides.div_ceil(width) * blocks, |task| {
        let (panel, p) = (task / blocks, task % blocks * depth);
        let (depth, used) = (depth.min(k - p), width.min(sides - panel * width));
        let start = (panel * k + p) * width;
        // SAFETY: tasks have different panels or different steps.
        let to = unsafe { out.slice(start..start + depth * width) };
        if used < width {
            to.fill(T::ZERO);
        }
        let from = operand.part(p, depth, panel * width, used);
        // SAFETY: the part lies within the operand, and `to` has `depth` rows of `width`.
        T::dispatch(unsafe { Gather::new(from, to.as_mut_ptr(), width) });
    });
    Ok(packed)
}
