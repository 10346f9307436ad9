//! The microkernel: a tile of the output held in registers while the contraction runs through it.
//!
//! Matrix products and convolutions are the same loop nest over memory: *rows* of the output take
//! their factor from the *broadcast operand* `a` (one element for all lanes), *columns* from the
//! *vector operand* `b` (whose columns are contiguous), and the contraction index walks through both
//! in a list of [`Run`]s, inside each of which both addresses are affine:
//!
//! | | rows | columns | runs |
//! |---|---|---|---|
//! | matrix product | rows of A | columns of B | one |
//! | convolution | pixels of an output row | output channels | one for each kernel row (or tap) |
//! | its weight gradient | kernel column x input channel | output channels | one for each output row |
//!
//! So an image is never unrolled into a matrix of patches. A tile of `rows` x `nv` vectors keeps its
//! sums in registers; for each step of the contraction it loads `nv` vectors, broadcasts `rows`
//! elements and does their product's fused multiply-adds. The largest tiles fill the register file
//! ([`Limits`]): 6 x 4 vectors of AVX-512 keep 24 sums, four vectors and one broadcast in 32
//! registers, and need ten loads for 24 multiply-adds; 14 x 2 are for outputs two vectors wide.
//!
//! **Order of summation.** Every element of the output is one chain over the contraction index, from
//! zero, in order; the tile that it falls into and where its operands lie make no difference.

use std::marker::PhantomData;

use crate::element::Float;
use crate::isa::Kernel;
use crate::simd::{Vector, prefetch_for_write, prefetch_l2};

/// The most vectors that a tile is wide.
pub(crate) const MAX_VECTORS: usize = 4;

/// Readable elements after the last one of a packed vector operand: a vector less one.
pub(crate) const PADDING: usize = 15;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A stretch of the contraction: `len` steps that start at these offsets from the tile's operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) a: isize,
    pub(crate) b: isize,
    pub(crate) len: usize,
}

/// A block of the output and what it is computed from: what a [`Multiply`] does.
///
/// Element (i, j) of line l is the sum over the runs, and `k` inside each, of `a[l * a_line + tile(i) +
/// run.a + row(i % mr) + k * a_k]` times `b[panel(j) + run.b + k * b_k + j % nr]`, with `tile(i) = (i /
/// mr) * a_tile`, `row(r) = (r / 3) * a_group + (r % 3) * a_row` and `panel(j) = (j / nr) * b_panel`.
/// Either `a_row` is 1 and `a_group` 3, or `a_k` is 1.
#[derive(Clone, Copy)]
pub(crate) struct Block<'r, T> {
    pub(crate) runs: &'r [Run],
    pub(crate) a: *const T,
    pub(crate) a_row: isize,
    /// The distance of every third row: three times `a_row`, except where rows are not all alike.
    pub(crate) a_group: isize,
    pub(crate) a_k: isize,
    pub(crate) a_tile: isize,
    pub(crate) b: *const T,
    pub(crate) b_k: isize,
    pub(crate) b_panel: isize,
    /// Whether whole vectors of `b` may be read where its columns end: packed panels are padded to
    /// `nr` columns, and a packed buffer by [`PADDING`] elements.
    pub(crate) b_padded: bool,
    pub(crate) c: *mut T,
    pub(crate) c_row: usize,
    /// Blocks that differ in where they are only, and their distances: the rows of an image.
    pub(crate) lines: usize,
    pub(crate) a_line: isize,
    pub(crate) c_line: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Rows of a tile and columns of a panel, as [`super::plan::Tiling`] chose them.
    pub(crate) mr: usize,
    pub(crate) nr: usize,
    /// Whether the tiles of a panel follow each other (the panel stays in the first-level cache),
    /// or the panels of a row tile (the tile's operand stays, and the output is written in order).
    pub(crate) by_panel: bool,
    /// Whether the sums are added to `c` or replace it.
    pub(crate) accumulate: bool,
    /// What is done to finished sums on their way to `c`.
    pub(crate) finish: Option<Finish<T>>,
    /// What is read after this block, to be asked for meanwhile.
    pub(crate) ahead: Ahead<T>,
}

/// A stretch of memory that is asked for little by little, so many cache lines after each run of each tile:
/// asked for all at once it would be served before the multiply-adds go on, and left to itself it is read in
/// pieces of many rows by turns, which the processor does not foresee.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<T> {
    pub(crate) at: *const T,
    pub(crate) lines: usize,
}

impl<T> Ahead<T> {
    /// Nothing is asked for.
    pub(crate) const NOTHING: Ahead<T> = Ahead { at: std::ptr::null(), lines: 0 };

    /// Asks for the next lines.
    #[inline(always)]
    fn ask(&mut self) {
        for _ in 0..self.lines {
            prefetch_l2(self.at);
            self.at = self.at.wrapping_byte_add(LINE);
        }
    }
}

/// What a layer does to the sums of a product: it adds a bias for each column, and may drop what is negative.
#[derive(Clone, Copy)]
pub(crate) struct Finish<T> {
    /// That of the block's first column.
    pub(crate) bias: *const T,
    pub(crate) relu: bool,
}

// SAFETY: the bias is only read, while it is borrowed by the kernel that made this, and is Sync.
unsafe impl<T: Sync> Sync for Finish<T> {}

impl<T> Finish<T> {
    /// For the columns from `column` on.
    pub(crate) fn at(self, column: usize) -> Self {
        Finish { bias: self.bias.wrapping_add(column), ..self }
    }
}

/// How many rows a tile of so many vectors may have (0: no such tile), and the vector's length.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) lanes: usize,
    pub(crate) rows: [usize; MAX_VECTORS + 1],
}

impl Limits {
    /// The limits of `T` on the active instruction set.
    pub(crate) fn of<T: Float>() -> Limits {
        struct Get;
        impl<T: Float> Kernel<T> for Get {
            type Output = Limits;
            #[inline(always)]
            fn run<V: Vector<Scalar = T>>(self) -> Limits {
                Limits { lanes: V::LEN, rows: Tiles::<V>::ROWS }
            }
        }
        T::dispatch(Get)
    }
}

struct Tiles<V>(PhantomData<V>);

impl<V: Vector> Tiles<V> {
    /// Whether a vector is one register, which is aligned to its size; the portable one is an array,
    /// several registers wide.
    const REGISTERS: bool = align_of::<V>() == size_of::<V>();

    const ROWS: [usize; MAX_VECTORS + 1] = match (Self::REGISTERS, V::LEN) {
        (true, 16) => [0, 14, 14, 9, 6],
        (true, _) => [0, 6, 6, 4, 0],
        (false, _) => [0, 4, 0, 0, 0],
    };

    /// Steps of the contraction in one round of the innermost loop: several in the forms that do the bulk
    /// of the work. Without optimisation every temporary has a place of its own on the stack, which more
    /// steps would overflow.
    const fn round(partial: bool) -> usize {
        if partial || !Self::REGISTERS || cfg!(debug_assertions) { 1 } else { 4 }
    }

    /// The widest tile that may have `rows` rows; the widest of the highest if none may.
    #[inline(always)]
    const fn vectors(rows: usize) -> usize {
        let rows = if rows < Self::ROWS[1] { rows } else { Self::ROWS[1] };
        let mut nv = MAX_VECTORS;
        while nv > 1 && Self::ROWS[nv] < rows {
            nv -= 1;
        }
        nv
    }
}

/// The body once for every constant `I` less than a bound, without a loop, so that arrays which it indexes
/// are registers.
macro_rules! unrolled {
    ($i:ident, $n:expr, $body:block) => {
        unrolled!(@ $i $n; $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $i:ident $n:expr; $body:block; $($value:literal)*) => {
        $({
            const $i: usize = $value;
            if const { $i < $n } $body
        })*
    };
}

pub(crate) use unrolled;

/// Computes a [`Block`].
///
/// It computes the same values for any `mr` and `nr`, whatever the instruction set that it finds
/// itself running on; those of [`super::plan::Tiling`] make it fast.
pub(crate) struct Multiply<'r, T>(Block<'r, T>);

impl<'r, T: Float> Multiply<'r, T> {
    /// # Safety
    /// All elements of `a` and `b` that the block's formula names are readable, with `b_padded` also
    /// [`PADDING`] elements after each; the `rows` x `cols` elements of `c`, at distance `c_row`, of every
    /// line are writable and in nobody else's use; a bias has `cols` readable elements.
    #[inline(always)]
    pub(crate) unsafe fn new(block: Block<'r, T>) -> Self {
        Multiply(block)
    }
}

impl<T: Float> Kernel<T> for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let mut block = self.0;
        let mut ahead = block.ahead;
        let (tiles, panels) = (block.rows.div_ceil(block.mr), block.cols.div_ceil(block.nr));
        let (outer, inner) = if block.by_panel { (panels, tiles) } else { (tiles, panels) };
        for _ in 0..block.lines {
            for x in 0..outer {
                for y in 0..inner {
                    let (i, j) = if block.by_panel { (y, x) } else { (x, y) };
                    // SAFETY: promised to `Multiply::new`.
                    unsafe { panel_tile::<V>(&block, i, j, &mut ahead) };
                }
            }
            block.a = block.a.wrapping_offset(block.a_line);
            block.c = block.c.wrapping_add(block.c_line);
        }
    }
}

/// Tile `i` of panel `j`, in one piece if the registers of `V` hold it.
///
/// # Safety
/// As [`Multiply::new`].
#[inline(always)]
unsafe fn panel_tile<V: Vector>(block: &Block<V::Scalar>, i: usize, j: usize, ahead: &mut Ahead<V::Scalar>) {
    let rows = block.mr.min(block.rows - i * block.mr);
    let cols = block.nr.min(block.cols - j * block.nr);
    let widest = Tiles::<V>::vectors(rows) * V::LEN;
    let highest = Tiles::<V>::ROWS[Tiles::<V>::vectors(rows)];
    // Rows that do not fit one tile are cut between groups of three.
    let highest = if highest < rows { highest / 3 * 3 } else { highest };
    let mut col = 0;
    while col < cols {
        let mut row = 0;
        let mut width = widest.min(cols - col);
        if !block.b_padded && width > V::LEN {
            // Whole vectors first: the part of one is a tile of its own.
            width -= width % V::LEN;
        }
        while row < rows {
            let height = highest.min(rows - row);
            let tile = Tile {
                block,
                a: block.a.wrapping_offset(i as isize * block.a_tile + (row / 3) as isize * block.a_group),
                b: block.b.wrapping_offset(j as isize * block.b_panel + col as isize),
                c: block.c.wrapping_add((i * block.mr + row) * block.c_row + j * block.nr + col),
                column: j * block.nr + col,
                last: width - (width.div_ceil(V::LEN) - 1) * V::LEN,
            };
            // SAFETY: promised by the caller; the tile lies within the block.
            unsafe { tile.run::<V>(height, width.div_ceil(V::LEN), ahead) };
            row += height;
        }
        col += width;
    }
}

/// One tile: its operands' first elements, and the lanes in use of its last vector.
struct Tile<'b, 'r, T> {
    block: &'b Block<'r, T>,
    a: *const T,
    b: *const T,
    c: *mut T,
    /// Its first column in the block.
    column: usize,
    last: usize,
}

impl<T: Float> Tile<'_, '_, T> {
    /// # Safety
    /// As [`Multiply::new`], for these rows and vectors.
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = T>>(&self, rows: usize, vectors: usize, ahead: &mut Ahead<T>) {
        // One instance of the tile for each size that the registers hold.
        macro_rules! tiles {
            ($nv:literal: $($mr:literal)*) => {
                match rows {
                    // SAFETY: promised by the caller.
                    $($mr if const { $mr <= Tiles::<V>::ROWS[$nv] } => unsafe { self.form::<V, $mr, $nv>(ahead) },)*
                    _ => unreachable!("a tile that no registers hold"),
                }
            };
        }
        match vectors {
            1 => tiles!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            2 => tiles!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            3 => tiles!(3: 1 2 3 4 5 6 7 8 9),
            _ => tiles!(4: 1 2 3 4 5 6),
        }
    }

    /// # Safety
    /// As [`Multiply::new`], for these rows and vectors.
    #[inline(always)]
    unsafe fn form<V: Vector<Scalar = T>, const MR: usize, const NV: usize>(&self, ahead: &mut Ahead<T>) {
        let unit = (self.block.a_row, self.block.a_group) == (1, 3);
        let partial = NV == 1 && self.last < V::LEN && !self.block.b_padded;
        // SAFETY: promised by the caller.
        unsafe {
            match (unit, partial) {
                (true, false) => self.contract::<V, MR, NV, true, false>(ahead),
                (true, true) => self.contract::<V, MR, NV, true, true>(ahead),
                (false, false) => self.contract::<V, MR, NV, false, false>(ahead),
                (false, true) => self.contract::<V, MR, NV, false, true>(ahead),
            }
        }
    }

    /// `UNIT`: the rows' elements of `a` are neighbours, so that one address serves all of them.
    /// `PARTIAL`: the vector of `b` must not be read beyond the lanes in use.
    ///
    /// # Safety
    /// As [`Multiply::new`], for these rows and vectors.
    #[inline(always)]
    unsafe fn contract<
        V: Vector<Scalar = T>,
        const MR: usize,
        const NV: usize,
        const UNIT: bool,
        const PARTIAL: bool,
    >(
        &self,
        ahead: &mut Ahead<T>,
    ) {
        let block = self.block;
        let b_k = block.b_k;
        if block.accumulate {
            for i in 0..MR {
                for j in 0..NV {
                    prefetch_for_write(self.c.wrapping_add(i * block.c_row + j * V::LEN));
                }
            }
        }
        let round = Tiles::<V>::round(PARTIAL);
        let mut sums = [[V::zero(); NV]; MR];
        for run in block.runs {
            let mut a = Rows::<T, UNIT>::new(self.a.wrapping_offset(run.a), block);
            let mut b = self.b.wrapping_offset(run.b);
            for _ in 0..run.len / round {
                unrolled!(U, Tiles::<V>::round(PARTIAL), {
                    let b = b.wrapping_offset(U as isize * b_k);
                    // SAFETY: promised by the caller.
                    unsafe { self.step::<V, MR, NV, UNIT, PARTIAL>(&a, U as isize, b, &mut sums) };
                });
                a.advance(round as isize);
                b = b.wrapping_offset(round as isize * b_k);
            }
            if const { Tiles::<V>::round(PARTIAL) > 1 } {
                for _ in 0..run.len % round {
                    // SAFETY: promised by the caller.
                    unsafe { self.step::<V, MR, NV, UNIT, PARTIAL>(&a, 0, b, &mut sums) };
                    a.advance(1);
                    b = b.wrapping_offset(b_k);
                }
            }
            ahead.ask();
        }
        let mut accumulate = block.accumulate;
        if let Some(Finish { bias, relu }) = block.finish {
            let mut biases = [V::zero(); NV];
            unrolled!(J, NV, {
                // SAFETY: the caller promises a bias for the tile's columns.
                biases[J] = unsafe { self.load::<V, NV>(bias.wrapping_add(self.column), J) };
            });
            unrolled!(I, MR, {
                unrolled!(J, NV, {
                    if accumulate {
                        // SAFETY: the caller promises the tile of `c`.
                        let old = unsafe { self.load::<V, NV>(self.c.wrapping_add(I * block.c_row), J) };
                        sums[I][J] = old.add(sums[I][J]);
                    }
                    let sum = sums[I][J].add(biases[J]);
                    sums[I][J] = if relu { sum.maximum(V::zero()) } else { sum };
                });
            });
            accumulate = false;
        }
        unrolled!(I, MR, {
            unrolled!(J, NV, {
                let row = self.c.wrapping_add(I * block.c_row);
                // SAFETY: the caller promises the tile of `c`; only lanes in use are touched.
                unsafe {
                    let sum =
                        if accumulate { self.load::<V, NV>(row, J).add(sums[I][J]) } else { sums[I][J] };
                    if J < NV - 1 || self.last == V::LEN {
                        sum.store(row.wrapping_add(J * V::LEN));
                    } else {
                        sum.store_partial(row.wrapping_add(J * V::LEN), self.last);
                    }
                }
            });
        });
    }

    /// Vector `j` of a row of the tile: its lanes in use.
    ///
    /// # Safety
    /// They are readable.
    #[inline(always)]
    unsafe fn load<V: Vector<Scalar = T>, const NV: usize>(&self, row: *const T, j: usize) -> V {
        let at = row.wrapping_add(j * V::LEN);
        // SAFETY: promised by the caller.
        unsafe {
            if j < NV - 1 || self.last == V::LEN { V::load(at) } else { V::load_partial(at, self.last) }
        }
    }

    /// The step of the contraction that is `step` steps from `a`, with the vectors at `b`.
    ///
    /// # Safety
    /// As [`Multiply::new`], for these rows and vectors.
    #[inline(always)]
    unsafe fn step<
        V: Vector<Scalar = T>,
        const MR: usize,
        const NV: usize,
        const UNIT: bool,
        const PARTIAL: bool,
    >(
        &self,
        a: &Rows<T, UNIT>,
        step: isize,
        b: *const T,
        sums: &mut [[V; NV]; MR],
    ) {
        let mut vectors = [V::zero(); NV];
        unrolled!(J, NV, {
            let at = b.wrapping_add(J * V::LEN);
            // SAFETY: the caller promises the columns of this step, padded unless PARTIAL.
            vectors[J] = unsafe { if PARTIAL { V::load_partial(at, self.last) } else { V::load(at) } };
        });
        unrolled!(I, MR, {
            // SAFETY: the caller promises the rows of this step.
            let x = V::splat(unsafe { *a.at(I, step) });
            unrolled!(J, NV, {
                sums[I][J] = x.mul_add(vectors[J], sums[I][J]);
            });
        });
    }
}

/// Where a tile's rows of the broadcast operand are: `UNIT`, neighbours of each other, else with
/// neighbours along the contraction. Either way elements are reached by constant distances from few
/// registers, so that the multiply-adds have the processor to themselves.
struct Rows<T, const UNIT: bool> {
    /// The first row of every group of three (`UNIT`: the first row).
    groups: [*const T; 5],
    row: isize,
    step: isize,
}

impl<T, const UNIT: bool> Rows<T, UNIT> {
    #[inline(always)]
    fn new(first: *const T, block: &Block<T>) -> Self {
        let (row, step) = if UNIT { (1, block.a_k) } else { (block.a_row, 1) };
        let group = |n: isize| first.wrapping_offset(n * block.a_group);
        Rows { groups: [first, group(1), group(2), group(3), group(4)], row, step }
    }

    #[inline(always)]
    fn at(&self, row: usize, step: isize) -> *const T {
        if UNIT {
            self.groups[0].wrapping_offset(step * self.step).wrapping_add(row)
        } else {
            self.groups[row / 3].wrapping_offset((row % 3) as isize * self.row).wrapping_offset(step)
        }
    }

    #[inline(always)]
    fn advance(&mut self, steps: isize) {
        let distance = steps * self.step;
        let [a, b, c, d, e] = self.groups.map(|group| opaque(group.wrapping_offset(distance)));
        self.groups = [a, b, c, d, e];
    }
}

/// `ptr`, of which the compiler forgets how it was computed: it would otherwise reach all rows from
/// one register, by a chain of additions.
#[inline(always)]
fn opaque<T>(mut ptr: *const T) -> *const T {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: no instruction.
    unsafe {
        let mut address = ptr.expose_provenance();
        std::arch::asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
        ptr = std::ptr::with_exposed_provenance(address);
    }
    ptr
}
