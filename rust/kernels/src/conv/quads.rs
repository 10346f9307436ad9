//! Pooled convolutions of one channel by 3 x 3: windows in registers, from the image to the maximum.
//!
//! The four outputs of a window, for two vectors of channels, are eight sums; the nine taps' weights stay in 18
//! registers, and each of the 16 pixels that the window sees is broadcast once, for up to four outputs. Nothing
//! that is larger than its pooled self is written anywhere.
//!
//! **Only numbers.** Where no sum can be NaN, the larger of two and which one it is are one instruction each; with
//! NaN in mind they are three. So operands are looked at first, and those that are not [`Moderate`] are left to the
//! general way.
//!
//! **Order of summation.** As everywhere: each output is one chain over the taps, from zero, in order. Rows of
//! padding are multiplied here and skipped elsewhere: their products are zeros, which change no sum.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::AllocError;
use crate::conv::halo::{Bands, Images};
use crate::conv::pooled::{Place, closed, pooled};
use crate::conv::{Conv2d, PIECE};
use crate::element::Float;
use crate::gemm::plan::TASK;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, Pace};
use crate::simd::Vector;

/// Output channels come in so many: whole vectors of every instruction set.
const LANES: usize = 16;

/// Multiply-adds for each pooled output: four sums of nine.
const WORK: usize = 4 * 9;

/// The most tasks that an output is cut into for the sake of balance.
const MAX_TASKS: usize = 64;

/// Pooled outputs of one band: they stay in the second-level cache while all channels pass, and it is not long
/// until the next checkpoint.
const BAND: usize = 64 * 1024;

/// Whether [`forward`] can do it.
pub(super) fn fits(c: &Conv2d) -> bool {
    let row = pooled(c)[1].saturating_mul(c.out_channels);
    c.routes_gradients()
        && c.in_channels == 1
        && c.out_channels.is_multiple_of(LANES)
        && row.saturating_mul(WORK) <= PIECE
}

/// As [`super::forward_pooled`], whose checks it relies on, for an output that is not empty: whether it could. If
/// operands are not [`Moderate`], the output is unspecified.
pub(super) fn forward<T: Float>(
    c: &Conv2d,
    relu: bool,
    x: &[T],
    w: &[T],
    bias: &[T],
    y: &mut [T],
    places: &mut [u8],
) -> Result<bool, AllocError> {
    if !(T::dispatch(Moderate(w)) && T::dispatch(Moderate(bias))) {
        return Ok(false);
    }
    let [height, width] = pooled(c);
    let (total, row) = (c.batch * height, width * c.out_channels);
    let lines = (TASK / (WORK * row)).max(total / MAX_TASKS).clamp(1, total);
    let most = (BAND / row).clamp(1, lines.min(height));
    let images = Images { data: x, height: c.in_height, width: c.in_width, channels: 1 };
    let (y, places) = (Out::new(y), Out::new(places));
    let moderate = AtomicBool::new(true);
    par::try_for_each(total.div_ceil(lines), |task| {
        let tallest = c.reads(0, 0..2 * most).len();
        let mut bands = Bands::new(images, c.reads(0, 0..2 * height), c.reads(1, 0..2 * width), tallest)?;
        let mut pace = Pace::default();
        let (mut line, end) = (task * lines, total.min((task + 1) * lines));
        while line < end && moderate.load(Ordering::Relaxed) {
            let (image, p) = (line / height, line % height);
            let count = most.min(end - line).min(height - p);
            pace.step(WORK * count * row);
            let rows = c.reads(0, 2 * p..2 * (p + count));
            let inside =
                |row: isize| (image * c.in_height + row.clamp(0, c.in_height as isize) as usize) * c.in_width;
            if !T::dispatch(Moderate(&x[inside(rows.start)..inside(rows.end)])) {
                moderate.store(false, Ordering::Relaxed);
                break;
            }
            let range = line * row..(line + count) * row;
            let input = bands.get(image, rows);
            // SAFETY: tasks have lines of their own, and each takes each of its lines once.
            let (y, places) = unsafe { (y.slice(range.clone()), places.slice(range)) };
            let windows = Windows { input, row: bands.row(), width, w, bias, y, places };
            if relu {
                T::dispatch(Quads::<T, true>(windows));
            } else {
                T::dispatch(Quads::<T, false>(windows));
            }
            line += count;
        }
        Ok(())
    })?;
    Ok(moderate.into_inner())
}

/// Whether all of these are numbers, so small that nine products of two and a third number have a finite sum.
struct Moderate<'a, T>(&'a [T]);

impl<T: Float> Kernel<T> for Moderate<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) -> bool {
        let most = V::constant(1e18);
        let vectors = self.0.chunks_exact(V::LEN);
        let rest = vectors.remainder();
        // SAFETY: as many lanes as there are elements.
        let mut all = unsafe { V::load_partial(rest.as_ptr(), rest.len()) }.abs().le(most);
        for x in vectors {
            // SAFETY: there are LEN elements.
            all = V::mask_and(all, unsafe { V::load(x.as_ptr()) }.abs().le(most));
        }
        V::select(all, V::one(), V::zero()).reduce_minimum() == T::ONE
    }
}

/// Rows of windows of one image, and what is made of them.
struct Windows<'a, T> {
    /// What the first window sees, in rows at the distance `row`.
    input: *const T,
    row: usize,
    width: usize,
    w: &'a [T],
    bias: &'a [T],
    y: &'a mut [T],
    places: &'a mut [u8],
}

struct Quads<'a, T, const RELU: bool>(Windows<'a, T>);

impl<T: Float, const RELU: bool> Kernel<T> for Quads<'_, T, RELU> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(mut self) {
        const { assert!(LANES.is_multiple_of(V::LEN)) };
        let (mut column, channels) = (0, self.0.bias.len());
        while column < channels {
            // Only 32 registers hold two vectors of all weights.
            if V::LEN == LANES && channels - column >= 2 * LANES {
                self.columns::<V, 2>(column);
                column += 2 * V::LEN;
            } else {
                self.columns::<V, 1>(column);
                column += V::LEN;
            }
        }
    }
}

impl<T: Float, const RELU: bool> Quads<'_, T, RELU> {
    /// `N` vectors of output channels from `column` on.
    #[inline(always)]
    fn columns<V: Vector<Scalar = T>, const N: usize>(&mut self, column: usize) {
        let Windows { input, row, width, w, bias, ref mut y, ref mut places } = self.0;
        let channels = bias.len();
        assert!(column + N * V::LEN <= channels && w.len() == 9 * channels && places.len() == y.len());
        let (mut weights, mut biases) = ([[V::zero(); N]; 9], [V::zero(); N]);
        for j in 0..N {
            let lanes = column + j * V::LEN;
            // SAFETY: there are as many weights for each tap, and biases, as channels.
            unsafe {
                biases[j] = V::load(bias.as_ptr().add(lanes));
                for tap in 0..9 {
                    weights[tap][j] = V::load(w.as_ptr().add(tap * channels + lanes));
                }
            }
        }
        for line in 0..y.len() / (width * channels) {
            let first = line * width * channels + column;
            let mut pixel = input.wrapping_add(2 * line * row);
            let (mut y, mut places) =
                (y.as_mut_ptr().wrapping_add(first), places.as_mut_ptr().wrapping_add(first));
            for _ in 0..width {
                let mut sums = [[V::zero(); N]; 4];
                // A pixel's row and column, and the outputs that see it, each through which tap. Spelled out, because
                // sums and weights that a variable indexes would be in memory.
                macro_rules! pixels {
                    ($($y:literal $x:literal: $($output:literal $tap:literal),+;)+) => {$({
                        // SAFETY: the band holds what the kernel reads for its windows.
                        let x = V::splat(unsafe { *pixel.wrapping_add($y * row + $x) });
                        $(for j in 0..N {
                            sums[$output][j] = x.mul_add(weights[$tap][j], sums[$output][j]);
                        })+
                    })+};
                }
                pixels! {
                    0 0: 0 0;
                    0 1: 0 1, 1 0;
                    0 2: 0 2, 1 1;
                    0 3: 1 2;
                    1 0: 0 3, 2 0;
                    1 1: 0 4, 1 3, 2 1, 3 0;
                    1 2: 0 5, 1 4, 2 2, 3 1;
                    1 3: 1 5, 3 2;
                    2 0: 0 6, 2 3;
                    2 1: 0 7, 1 6, 2 4, 3 3;
                    2 2: 0 8, 1 7, 2 5, 3 4;
                    2 3: 1 8, 3 5;
                    3 0: 2 6;
                    3 1: 2 7, 3 6;
                    3 2: 2 8, 3 7;
                    3 3: 3 8;
                }
                for j in 0..N {
                    let [s0, s1, s2, s3] = sums;
                    let bias = biases[j];
                    // Before the maximum: what differs by a little may be equal after it.
                    let window = [s0[j].add(bias), s1[j].add(bias), s2[j].add(bias), s3[j].add(bias)];
                    let (largest, Place { right, below }) = first_largest(window);
                    let (y, places) = (y.wrapping_add(j * V::LEN), places.wrapping_add(j * V::LEN));
                    // SAFETY: the output and the bytes have as many channels for each window.
                    unsafe {
                        if RELU {
                            largest.max(V::zero()).store(y);
                        } else {
                            largest.store(y);
                        }
                        V::store_places(right, below, closed::<V, RELU>(largest), places);
                    }
                }
                pixel = pixel.wrapping_add(2);
                (y, places) = (y.wrapping_add(channels), places.wrapping_add(channels));
            }
        }
    }
}

/// The first largest of four numbers, and its place.
#[inline(always)]
fn first_largest<V: Vector>([x0, x1, x2, x3]: [V; 4]) -> (V, Place<V>) {
    // `max` returns its second operand where both are equal.
    let (upper, lower) = (x1.max(x0), x3.max(x2));
    (lower.max(upper), Place { right: [x1.gt(x0), x3.gt(x2)], below: lower.gt(upper) })
}
