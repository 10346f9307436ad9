//! How a product is cut: into register tiles, and into tasks.

use std::marker::PhantomData;

use crate::element::Float;
use crate::gemm::kernel::{Limits, MAX_VECTORS};
use crate::par::GRAIN;

/// Multiply-adds that a processor starts before the first one's sum is ready: 4 cycles of 2.
const LATENCY: usize = 8;

/// The register tile of `T` chosen for a block of the output: `mr` rows of `nr` columns.
#[derive(Clone, Copy)]
pub(crate) struct Tiling<T> {
    pub(crate) mr: usize,
    pub(crate) nr: usize,
    element: PhantomData<T>,
}

impl<T: Float> Tiling<T> {
    /// The tile whose count and shape cost the fewest cycles for `rows` x `cols` outputs.
    ///
    /// Rows are spread evenly over the tiles (32 rows are 6 of 6, not 14 + 14 + 4). A step of a tile
    /// costs its multiply-adds, and no less than the latency that a chain of sums waits for, and its loads:
    /// they have ports of their own, but tiles with fewer of them were measured to be faster in this
    /// proportion.
    pub(crate) fn new(rows: usize, cols: usize) -> Tiling<T> {
        let limits = Limits::of::<T>();
        let mut best = (f64::INFINITY, Tiling { mr: 1, nr: limits.lanes, element: PhantomData });
        for nv in [4, 3, 2, 1].into_iter().filter(|&nv| limits.rows[nv] > 0) {
            let tiles = rows.div_ceil(limits.rows[nv]).max(1);
            let mr = rows.div_ceil(tiles).max(1);
            let step = |vectors: usize| match vectors {
                0 => 0,
                _ => (mr * vectors).max(LATENCY) + mr + vectors,
            };
            let vectors = cols.div_ceil(limits.lanes);
            let cost = tiles as f64 * ((vectors / nv) as f64 * step(nv) as f64 + step(vectors % nv) as f64);
            if cost < best.0 {
                best = (cost, Tiling { mr, nr: nv * limits.lanes, element: PhantomData });
            }
        }
        best.1
    }
}

impl<T: Float> Tiling<T> {
    /// One tile for all of `rows`, as wide as registers permit; two vectors at least where none holds
    /// them all.
    pub(crate) fn whole(rows: usize, cols: usize) -> Tiling<T> {
        let limits = Limits::of::<T>();
        let (vectors, held) = (cols.div_ceil(limits.lanes), rows.min(limits.rows[2].max(limits.rows[1])));
        let nv = (1..=vectors.clamp(1, MAX_VECTORS)).rev().find(|&nv| limits.rows[nv] >= held);
        Tiling { mr: rows, nr: nv.unwrap_or(1) * limits.lanes, element: PhantomData }
    }
}

/// How many multiply-adds a task has at least: some 10 us, against less than 1 us for a hand-off.
pub(crate) const TASK: usize = 1 << 20;

/// Products of more work than this many tasks have larger ones, which pack and read less.
const TASKS: usize = 8;

/// The most tasks that a product is cut into for the sake of balance.
const MAX_TASKS: usize = 32;

/// The largest block of a task: its rows, [`KC`] deep, fit the second-level cache (1 MB and
/// more), with room for the panel that passes and for the output.
const MAX_ROWS: usize = 192;
const MAX_COLS: usize = 1024;

/// Blocks of no more rows than this are not cut into lower ones: each would read all of the vector
/// operand for too little.
const MIN_ROWS: usize = 48;

/// Blocks of no more columns than this are not cut into narrower ones: in place, a cache line or two at a
/// time, far apart, are what memory serves slowly.
const MIN_COLS: usize = 64;

/// The most steps of the contraction in one block: enough that adding its sums to the output costs little,
/// few enough that 192 rows of the broadcast operand (384 KB of float32) stay in a second-level cache
/// while panels pass, and that a long sum is made of short ones, which errs less.
pub(crate) const KC: usize = 512;

/// How many steps of the contraction a block has, a function of their number only: equal parts of at most
/// [`KC`], in whole rounds of the microkernel, and an even number of them, as threads mostly are.
pub(crate) fn block_depth(k: usize) -> usize {
    if k <= KC { k } else { k.div_ceil(k.div_ceil(KC).next_multiple_of(2)).next_multiple_of(4) }
}

/// Whether the blocks of the contraction become the tasks, each for all of the output, instead of blocks of
/// the output, each for all of the contraction: when the output is so small that there are at least as many
/// of the former, and writing its sums for every block is little beside reading the operands.
pub(crate) fn in_slices(m: usize, k: usize, n: usize) -> bool {
    let depth = block_depth(k);
    let (outputs, read) = (m.saturating_mul(n), m.saturating_add(n).saturating_mul(depth));
    k > depth
        && read >= 2 * GRAIN
        && outputs.saturating_mul(4) <= read
        && outputs.div_ceil(MIN_ROWS * MIN_COLS) <= k.div_ceil(depth)
}

/// The blocks that tasks compute: a grid over the output, a function of its shape.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    rows: usize,
    cols: usize,
    block_rows: usize,
    block_cols: usize,
}

impl Grid {
    /// Cuts a `rows` x `cols` output with `depth` multiply-adds for each element. `packed`: each block
    /// packs its own rows.
    pub(crate) fn new<T>(rows: usize, cols: usize, depth: usize, tile: &Tiling<T>, packed: bool) -> Grid {
        let work = rows.saturating_mul(cols).saturating_mul(depth) / TASK;
        let wanted = (work.min(TASKS) + work / (2 * TASKS)).clamp(1, MAX_TASKS);
        let (mut down, mut across) = (rows.div_ceil(MAX_ROWS), cols.div_ceil(MAX_COLS));
        let side = |length: usize, parts: usize, unit: usize| length.div_ceil(parts).next_multiple_of(unit);
        let sides = |down, across| (side(rows, down, tile.mr), side(cols, across, tile.nr));
        while down * across < wanted {
            let (block_rows, block_cols) = sides(down, across);
            let (low, narrow) = (block_rows <= MIN_ROWS, block_cols <= MIN_COLS);
            // Blocks side by side would pack the same rows; otherwise cutting the longer side leaves
            // the least to read for each.
            if !narrow && (low || (block_cols >= block_rows && !packed)) {
                across += 1;
            } else if !low {
                down += 1;
            } else {
                break;
            }
        }
        let (block_rows, block_cols) = sides(down, across);
        Grid { rows, cols, block_rows, block_cols }
    }

    /// The number of blocks.
    pub(crate) fn tasks(&self) -> usize {
        self.rows.div_ceil(self.block_rows) * self.cols.div_ceil(self.block_cols)
    }

    /// First row, rows, first column and columns of block `task`; those of the same columns follow
    /// each other, so that threads share what they read of the vector operand.
    pub(crate) fn block(&self, task: usize) -> (usize, usize, usize, usize) {
        let down = self.rows.div_ceil(self.block_rows);
        let (row, col) = ((task % down) * self.block_rows, (task / down) * self.block_cols);
        (row, self.block_rows.min(self.rows - row), col, self.block_cols.min(self.cols - col))
    }
}
