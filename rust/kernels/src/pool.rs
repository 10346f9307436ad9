//! Two-dimensional pooling: the maximum or the mean of windows, channel by channel.
//!
//! Images are NHWC, so channels are the lanes. Positions in the padding do not exist: they are never
//! the maximum, and the mean does not count them.

mod pairs;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::element::Float;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, Pace};
use crate::simd::Vector;

pub(crate) use pairs::leaders;

/// The sizes of a pooling: input `[batch, in_height, in_width, channels]`, output `[batch,
/// out_height, out_width, channels]`.
///
/// ```
/// use autodan_kernels::pool::{Pool2d, max_forward};
///
/// let pool = Pool2d {
///     batch: 1, in_height: 1, in_width: 4, channels: 1, out_height: 1, out_width: 2,
///     window: [1, 2], strides: [1, 2], padding: [[0, 0], [0, 0]],
/// };
/// let mut y = [0.0f32; 2];
/// max_forward(&pool, &[1.0, 2.0, 4.0, 3.0], &mut y);
/// assert_eq!(y, [2.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Images.
    pub batch: usize,
    /// Rows of an input image.
    pub in_height: usize,
    /// Columns of an input image.
    pub in_width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Rows of an output image.
    pub out_height: usize,
    /// Columns of an output image.
    pub out_width: usize,
    /// Rows and columns of a window.
    pub window: [usize; 2],
    /// How far the window moves, down and across; at least 1.
    pub strides: [usize; 2],
    /// Rows and columns around the input: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
}

/// What a window makes of its elements.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Max,
    Average,
}

/// The maximum of every window; NaN if there is one in it, minus infinity where a window lies in the
/// padding alone.
///
/// # Panics
/// When lengths do not fit the sizes in `p`.
pub fn max_forward<T: Float>(p: &Pool2d, x: &[T], y: &mut [T]) {
    p.forward(Mode::Max, x, y);
}

/// The gradient of [`max_forward`], from its input and its output's gradient: overwrites `dx`.
///
/// The gradient of a window goes to its maximum, the first one in row-major order where several are
/// equal, and to its first NaN where there is one.
///
/// # Panics
/// When lengths do not fit the sizes in `p`.
pub fn max_backward<T: Float>(p: &Pool2d, x: &[T], dy: &[T], dx: &mut [T]) {
    assert_eq!(x.len(), dx.len(), "wrong input size");
    p.backward(Mode::Max, x, dy, dx);
}

/// The mean of every window's elements; 0 where a window lies in the padding alone.
///
/// # Panics
/// When lengths do not fit the sizes in `p`.
pub fn average_forward<T: Float>(p: &Pool2d, x: &[T], y: &mut [T]) {
    p.forward(Mode::Average, x, y);
}

/// The gradient of [`average_forward`], from its output's gradient: overwrites `dx`.
///
/// # Panics
/// When lengths do not fit the sizes in `p`.
pub fn average_backward<T: Float>(p: &Pool2d, dy: &[T], dx: &mut [T]) {
    p.backward(Mode::Average, &[], dy, dx);
}

impl Pool2d {
    fn check(&self, x: usize, y: usize) {
        assert!(self.strides.iter().all(|&n| n > 0), "strides are at least 1");
        assert_eq!(x, self.batch * self.in_height * self.in_width * self.channels, "wrong input size");
        assert_eq!(y, self.batch * self.out_height * self.out_width * self.channels, "wrong output size");
    }

    /// The input positions of a window in one dimension.
    #[inline(always)]
    fn span(&self, dim: usize, output: usize) -> Range<usize> {
        let side = [self.in_height, self.in_width][dim];
        let (start, padding) = (output * self.strides[dim], self.padding[dim][0]);
        let end = start.saturating_add(self.window[dim]).saturating_sub(padding).min(side);
        start.saturating_sub(padding).min(end)..end
    }

    fn forward<T: Float>(&self, mode: Mode, x: &[T], y: &mut [T]) {
        self.check(x.len(), y.len());
        if self.is_pairs() {
            return self.forward_pairs(mode, x, y);
        }
        let row = self.out_width * self.channels;
        if row == 0 {
            return;
        }
        // Whole output rows; the work of a row is its windows.
        let work = row.saturating_mul(self.window[0]).saturating_mul(self.window[1]);
        par::for_each_chunk(y, row * (1 + 2 * par::GRAIN / work.max(1)), |start, y| {
            for (i, y) in y.chunks_exact_mut(row).enumerate() {
                T::dispatch(Forward { pool: self, mode, x, line: start / row + i, y });
            }
        });
    }

    fn backward<T: Float>(&self, mode: Mode, x: &[T], dy: &[T], dx: &mut [T]) {
        self.check(dx.len(), dy.len());
        if dy.is_empty() || dx.is_empty() {
            return dx.fill(T::ZERO);
        }
        if self.is_pairs() {
            return self.backward_pairs(mode, x, dy, dx);
        }
        let overlap = self.strides[0] < self.window[0] || self.strides[1] < self.window[1];
        let image = self.in_height * self.in_width * self.channels;
        let out = Out::new(dx);
        let task = |b: usize, outputs: Range<usize>| {
            // The input rows of these windows, and those between them and the next.
            let first = if outputs.start == 0 { 0 } else { self.band_start(outputs.start) };
            let end =
                if outputs.end == self.out_height { self.in_height } else { self.band_start(outputs.end) };
            let row = self.in_width * self.channels;
            // SAFETY: bands of different tasks do not overlap: images are apart, and inside one the
            // bands of an image that is cut start where the last one ended.
            let dx = unsafe { out.slice(b * image + first * row..b * image + end * row) };
            dx.fill(T::ZERO);
            for p in outputs {
                let line = b * self.out_height + p;
                T::dispatch(Backward { pool: self, mode, x, dy, line, dx, first, overlap });
            }
        };
        if overlap {
            // Windows of different rows share inputs: their order is kept within an image.
            par::for_each(self.batch, |b| task(b, 0..self.out_height));
        } else {
            let row = self.out_width * self.channels;
            let work = row.saturating_mul(self.window[0]).saturating_mul(self.window[1]);
            let rows = 1 + par::GRAIN / work.max(1);
            let parts = self.out_height.div_ceil(rows);
            par::for_each(self.batch * parts, |i| {
                let start = i % parts * rows;
                task(i / parts, start..self.out_height.min(start + rows));
            });
        }
    }

    /// The first input row of the band that belongs to output row `p`, when windows do not overlap.
    fn band_start(&self, p: usize) -> usize {
        (p * self.strides[0]).saturating_sub(self.padding[0][0]).min(self.in_height)
    }
}

/// One output row.
struct Forward<'a, T> {
    pool: &'a Pool2d,
    mode: Mode,
    x: &'a [T],
    /// Its number, counted through the batch.
    line: usize,
    y: &'a mut [T],
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Forward { pool, mode, x, line, y } = self;
        let (image, rows) = (line / pool.out_height, pool.span(0, line % pool.out_height));
        let mut pace = Pace::default();
        for (q, y) in y.chunks_exact_mut(pool.channels).enumerate() {
            let window = Window::new(pool, x, image, &rows, pool.span(1, q));
            pace.step(window.len() * pool.channels);
            for channel in (0..pool.channels).step_by(V::LEN) {
                let lanes = V::LEN.min(pool.channels - channel);
                let value = match mode {
                    Mode::Max => window.fold::<V>(channel, lanes, V::splat(T::LOWEST), |a, x| a.maximum(x)),
                    Mode::Average => {
                        let sum = window.fold::<V>(channel, lanes, V::zero(), |a, x| a.add(x));
                        sum.mul(V::constant(1.0 / window.len().max(1) as f64))
                    }
                };
                store(value, &mut y[channel..channel + lanes]);
            }
        }
    }
}

/// One output row's contribution to the input's gradient.
struct Backward<'a, T> {
    pool: &'a Pool2d,
    mode: Mode,
    x: &'a [T],
    dy: &'a [T],
    line: usize,
    /// Input rows of the image from `first` on.
    dx: &'a mut [T],
    first: usize,
    /// Whether inputs are in several windows, so that contributions must be added.
    overlap: bool,
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Backward { pool, mode, x, dy, line, dx, first, overlap } = self;
        let channels = pool.channels;
        let (image, rows) = (line / pool.out_height, pool.span(0, line % pool.out_height));
        let dy = &dy[line * pool.out_width * channels..];
        let mut pace = Pace::default();
        for (q, dy) in dy.chunks_exact(channels).enumerate().take(pool.out_width) {
            let cols = pool.span(1, q);
            pace.step(rows.len() * cols.len() * channels);
            let window = match mode {
                Mode::Max => Some(Window::new(pool, x, image, &rows, cols.clone())),
                Mode::Average => None,
            };
            let share = V::constant(1.0 / (rows.len() * cols.len()).max(1) as f64);
            for channel in (0..channels).step_by(V::LEN) {
                let lanes = V::LEN.min(channels - channel);
                let dy = load::<V>(&dy[channel..channel + lanes]);
                let best = window.as_ref().map(|window| window.maximum::<V>(channel, lanes));
                // Where the gradient has not found its element: the first one like the maximum.
                let mut open = V::zero().eq(V::zero());
                for y in rows.clone() {
                    for x in cols.clone() {
                        let at = ((y - first) * pool.in_width + x) * channels + channel;
                        let dx = &mut dx[at..at + lanes];
                        let gradient = match (&window, best) {
                            (Some(window), Some(best)) => {
                                let value = window.at::<V>(y - rows.start, x - cols.start, channel, lanes);
                                // A NaN in the window is its maximum.
                                let like = V::mask_or(value.eq(best), value.is_nan());
                                let found = V::mask_and(open, like);
                                open = V::mask_and(open, V::mask_not(like));
                                V::select(found, dy, V::zero())
                            }
                            _ => dy.mul(share),
                        };
                        store(if overlap { load::<V>(dx).add(gradient) } else { gradient }, dx);
                    }
                }
            }
        }
    }
}

/// The elements of a window that exist.
struct Window<'a, T> {
    x: &'a [T],
    rows: usize,
    cols: usize,
    row: usize,
    pixel: usize,
}

impl<'a, T: Float> Window<'a, T> {
    #[inline(always)]
    fn new(pool: &Pool2d, x: &'a [T], image: usize, rows: &Range<usize>, cols: Range<usize>) -> Self {
        let start = ((image * pool.in_height + rows.start) * pool.in_width + cols.start) * pool.channels;
        Window {
            x: &x[start.min(x.len())..],
            rows: rows.len(),
            cols: cols.len(),
            row: pool.in_width * pool.channels,
            pixel: pool.channels,
        }
    }

    /// The number of elements of one channel.
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// One element of `lanes` channels.
    #[inline(always)]
    fn at<V: Vector<Scalar = T>>(&self, row: usize, col: usize, channel: usize, lanes: usize) -> V {
        let at = row * self.row + col * self.pixel + channel;
        load::<V>(&self.x[at..at + lanes])
    }

    /// `f(state, element)` over the window in row-major order, for `lanes` channels.
    #[inline(always)]
    fn fold<V: Vector<Scalar = T>>(
        &self,
        channel: usize,
        lanes: usize,
        start: V,
        f: impl Fn(V, V) -> V,
    ) -> V {
        let mut state = start;
        for y in 0..self.rows {
            for x in 0..self.cols {
                state = f(state, self.at::<V>(y, x, channel, lanes));
            }
        }
        state
    }

    /// The maximum, NaN if there is one; minus infinity of nothing.
    #[inline(always)]
    fn maximum<V: Vector<Scalar = T>>(&self, channel: usize, lanes: usize) -> V {
        self.fold::<V>(channel, lanes, V::splat(T::LOWEST), |a, x| a.maximum(x))
    }
}

/// The elements of `from` (at most a vector of them), and 0 in the other lanes.
#[inline(always)]
fn load<V: Vector>(from: &[V::Scalar]) -> V {
    // SAFETY: as many lanes as there are elements.
    unsafe {
        if from.len() >= V::LEN { V::load(from.as_ptr()) } else { V::load_partial(from.as_ptr(), from.len()) }
    }
}

/// Writes the first lanes to `to` (at most a vector of them).
#[inline(always)]
fn store<V: Vector>(value: V, to: &mut [V::Scalar]) {
    // SAFETY: as many lanes as there are elements.
    unsafe {
        if to.len() >= V::LEN {
            value.store(to.as_mut_ptr())
        } else {
            value.store_partial(to.as_mut_ptr(), to.len())
        }
    }
}
