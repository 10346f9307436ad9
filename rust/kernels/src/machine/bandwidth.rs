//! The rates at which memory of a given size is read, written anew and updated.

use std::hint::black_box;
use std::time::Duration;

use super::best;
use crate::buffer::{AllocError, Buffer};
use crate::element::Float;
use crate::isa::Kernel;
use crate::par;
use crate::simd::Vector;

/// Elements that a run moves on each thread, at least: enough that its start does not count.
const WORK: usize = 1 << 24;

/// Elements between two checkpoints.
const BLOCK: usize = 1 << 18;

/// Lengths are multiples of this: of the vectors that a step of either kernel takes.
pub(super) const UNIT: usize = 128;

/// Bytes per second that all threads read together, each from `bytes` of its own (rounded to what vectors
/// divide, a kilobyte or so at least), again and again: so the rate of the cache that holds them.
///
/// ```
/// use std::time::Duration;
/// let rate = autodan_kernels::machine::read(16 << 10, Duration::from_millis(1))?;
/// assert!(rate.is_finite() && rate > 0.0);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory of that size.
pub fn read(bytes: usize, time: Duration) -> Result<f64, AllocError> {
    let len = (bytes / 4).next_multiple_of(UNIT).max(UNIT);
    let mut memory = allocate(len)?;
    let (passes, repeats) = schedule(len);
    let work = (4 * memory.len() * passes * repeats) as f64;
    // As with the chains of the peak: eight sums, or four where a vector takes two registers.
    let eight = best(time / 2, work, || read_all::<8>(&mut memory, len));
    Ok(eight.max(best(time / 2, work, || read_all::<4>(&mut memory, len))))
}

fn read_all<const N: usize>(memory: &mut [f32], len: usize) {
    let (passes, repeats) = schedule(len);
    par::for_each_chunk(memory, len, |_, own| {
        for _ in 0..repeats {
            for data in own.chunks(BLOCK) {
                par::checkpoint();
                black_box(f32::dispatch(Read::<N> { data, passes }));
            }
        }
    });
}

/// Bytes per second of `a = b + factor * c` on all threads together, each with three arrays of its own of
/// `bytes` in all: 12 bytes for each element, as the STREAM benchmark counts (what the write reads into a
/// cache is not counted).
///
/// ```
/// use std::time::Duration;
/// let rate = autodan_kernels::machine::triad(16 << 10, Duration::from_millis(1))?;
/// assert!(rate.is_finite() && rate > 0.0);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory of that size.
pub fn triad(bytes: usize, time: Duration) -> Result<f64, AllocError> {
    // A third of a page beyond whole pages: arrays at the same place of different pages look to the
    // processor as if what is written to one were read from the others.
    const PAGE: usize = 1024;
    let len = bytes / 12 / PAGE * PAGE + PAGE / 3 / UNIT * UNIT + UNIT;
    let mut memory = allocate(3 * len)?;
    let (passes, repeats) = schedule(len);
    let work = (4 * memory.len() * passes * repeats) as f64;
    Ok(best(time, work, || {
        par::for_each_chunk(&mut memory, 3 * len, |_, own| {
            let (a, rest) = own.split_at_mut(len);
            let (b, c) = rest.split_at(len);
            for _ in 0..repeats {
                for ((a, b), c) in a.chunks_mut(BLOCK).zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK)) {
                    par::checkpoint();
                    f32::dispatch(Triad { a, b, c, factor: 0.5, passes });
                }
            }
        });
    }))
}

/// Bytes per second of `a = a * factor + term` on all threads together, each with an array of its own of
/// `bytes`: 8 bytes for each element. Unlike the triad it has read what it overwrites, so that no cache reads
/// anything beside what is counted.
///
/// ```
/// use std::time::Duration;
/// let rate = autodan_kernels::machine::update(16 << 10, Duration::from_millis(1))?;
/// assert!(rate.is_finite() && rate > 0.0);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory of that size.
pub fn update(bytes: usize, time: Duration) -> Result<f64, AllocError> {
    let len = (bytes / 4).next_multiple_of(UNIT).max(UNIT);
    let mut memory = allocate(len)?;
    let (passes, repeats) = schedule(len);
    let work = (8 * memory.len() * passes * repeats) as f64;
    Ok(best(time, work, || {
        par::for_each_chunk(&mut memory, len, |_, own| {
            for _ in 0..repeats {
                for a in own.chunks_mut(BLOCK) {
                    par::checkpoint();
                    f32::dispatch(Update { a, factor: 0.5, term: 0.25, passes });
                }
            }
        });
    }))
}

/// An array of `len` elements for each thread, with numbers in it: unwritten pages would all be one.
fn allocate(len: usize) -> Result<Buffer<f32>, AllocError> {
    let all = len.checked_mul(par::threads()).ok_or(AllocError { bytes: usize::MAX })?;
    let mut memory = Buffer::new(all)?;
    par::for_each_chunk(&mut memory, len, |_, own| {
        for part in own.chunks_mut(BLOCK) {
            par::checkpoint();
            part.fill(0.5);
        }
    });
    Ok(memory)
}

/// How often a kernel passes over a block of an array of `len` elements, and how often a run goes through
/// all blocks: short arrays again and again within a kernel, long ones block by block.
fn schedule(len: usize) -> (usize, usize) {
    let passes = (BLOCK / len).max(1);
    (passes, (WORK / len / passes).max(1))
}

/// The sum of `data`, in `N` vectors, `passes` times over.
pub(super) struct Read<'a, const N: usize> {
    pub(super) data: &'a [f32],
    pub(super) passes: usize,
}

impl<const N: usize> Kernel<f32> for Read<'_, N> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) -> f32 {
        assert!(self.data.len().is_multiple_of(UNIT) && UNIT.is_multiple_of(N * V::LEN));
        let mut sums = [V::zero(); N];
        for _ in 0..self.passes {
            // Each pass might see other numbers, as far as the compiler knows.
            let data = black_box(self.data);
            for start in (0..data.len()).step_by(N * V::LEN) {
                for i in 0..N {
                    // SAFETY: the length is a multiple of the step's.
                    sums[i] = sums[i].add(unsafe { V::load(data.as_ptr().add(start + i * V::LEN)) });
                }
            }
        }
        // The compiler would lay the lanes out for this sum, and the loop would shuffle them.
        let sums = black_box(sums);
        let mut sum = V::zero();
        for i in 0..N {
            sum = sum.add(sums[i]);
        }
        sum.reduce_add()
    }
}

/// `a = b + factor * c`, `passes` times over.
pub(super) struct Triad<'a> {
    pub(super) a: &'a mut [f32],
    pub(super) b: &'a [f32],
    pub(super) c: &'a [f32],
    pub(super) factor: f32,
    pub(super) passes: usize,
}

/// Vectors that a step of what writes takes.
const UNROLL: usize = 4;

impl Kernel<f32> for Triad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) {
        let len = self.a.len();
        assert!(self.b.len() == len && self.c.len() == len);
        assert!(len.is_multiple_of(UNIT) && UNIT.is_multiple_of(UNROLL * V::LEN));
        let factor = V::splat(self.factor);
        for _ in 0..self.passes {
            let (a, b, c) = (black_box(self.a.as_mut_ptr()), self.b.as_ptr(), self.c.as_ptr());
            for start in (0..len).step_by(UNROLL * V::LEN) {
                for i in 0..UNROLL {
                    let at = start + i * V::LEN;
                    // SAFETY: all three have `len` elements, a multiple of the step's.
                    unsafe { V::load(c.add(at)).mul_add(factor, V::load(b.add(at))).store(a.add(at)) };
                }
            }
        }
    }
}

/// `a = a * factor + term`, `passes` times over.
pub(super) struct Update<'a> {
    pub(super) a: &'a mut [f32],
    pub(super) factor: f32,
    pub(super) term: f32,
    pub(super) passes: usize,
}

impl Kernel<f32> for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) {
        let len = self.a.len();
        assert!(len.is_multiple_of(UNIT) && UNIT.is_multiple_of(UNROLL * V::LEN));
        let (factor, term) = (V::splat(self.factor), V::splat(self.term));
        for _ in 0..self.passes {
            let a = black_box(self.a.as_mut_ptr());
            for start in (0..len).step_by(UNROLL * V::LEN) {
                for i in 0..UNROLL {
                    let at = start + i * V::LEN;
                    // SAFETY: there are `len` elements, a multiple of the step's.
                    unsafe { V::load(a.add(at)).mul_add(factor, term).store(a.add(at)) };
                }
            }
        }
    }
}
