//! Correlations with images as the lanes.
//!
//! A tile is a few neighbouring pixels of an output row and all output channels: as many sums as registers hold.
//! The input channels of neighbouring taps of a kernel row follow each other, so that a kernel row is one run of
//! the contraction, which loads a vector for each pixel and multiplies it by a weight for each channel.

use std::ops::Range;

use super::{Group, IMAGES, MAX_ELEMENTS, MAX_TILE, fills_lanes, images_of, is_worth};
use crate::buffer::{AllocError, Buffer};
use crate::conv::correlate::Correlation;
use crate::element::Float;
use crate::gemm::kernel::unrolled;
use crate::gemm::pack::{Gather, Strided};
use crate::gemm::plan::TASK;
use crate::isa::Kernel;
use crate::par::{self, Pace};
use crate::simd::Vector;

/// The tasks that are enough for balance; groups are cut into parts only where there are fewer.
const ENOUGH_TASKS: usize = 4;

/// A correlation that is computed this way.
pub(in crate::conv) struct Across<'a, T> {
    correlation: &'a Correlation<'a, T>,
    /// The columns that the taps reach, and the rows that those of one output row do.
    x: Range<isize>,
    reach: usize,
    /// The most output rows at a time.
    band: usize,
    /// Whether zeros beside the images are no factors, as in a data gradient; forward they are, so that an
    /// infinite weight makes them NaN.
    skips: bool,
}

impl<'a, T: Float> Across<'a, T> {
    /// `None` for correlations that take another way.
    pub(in crate::conv) fn new(correlation: &'a Correlation<'a, T>, skips: bool) -> Option<Self> {
        let c = correlation;
        let [ys, xs] = &c.taps;
        let dense = c.groups == 1 && c.strides == [1, 1] && (c.pixel, c.row) == (c.width, c.cols * c.width);
        let neighbours = xs.windows(2).all(|pair| pair[1].at == pair[0].at + 1);
        let worth = is_worth::<T>(ys.len().saturating_mul(xs.len()), c.depth, c.width);
        if !dense || !neighbours || !worth || c.is_empty() || !fills_lanes(c.batch) {
            return None;
        }
        let (x, reach) = (c.span(1, 0..c.cols), c.span(0, 0..1).len());
        let tile = (xs.len() + tile_pixels(c.width) - 1).checked_mul(ys.len())?.checked_mul(c.depth)?;
        if tile > MAX_TILE / IMAGES {
            return None;
        }
        let input = c.depth.checked_mul(x.len())?.checked_mul(IMAGES)?;
        let output = c.row.checked_mul(IMAGES)?;
        let rows = MAX_ELEMENTS.checked_sub(input.checked_mul(reach - 1)?)? / input.checked_add(output)?;
        (rows > 0).then_some(Across { correlation, x, reach, band: rows.min(c.rows), skips })
    }

    /// Computes the output.
    pub(in crate::conv) fn run(&self) -> Result<(), AllocError> {
        let c = self.correlation;
        let groups = c.batch.div_ceil(IMAGES);
        let work = c.row_work().saturating_mul(c.rows).saturating_mul(IMAGES);
        let parts = (ENOUGH_TASKS / groups).min(work / TASK).clamp(1, c.rows);
        let lines = c.rows.div_ceil(parts);
        let parts = c.rows.div_ceil(lines);
        let weights = self.pack()?;
        par::try_for_each(groups * parts, |task| {
            let first = task % parts * lines;
            self.rows(images_of(task / parts, c.batch), first..c.rows.min(first + lines), &weights)
        })
    }

    /// The weights of all taps in order, the output channels of an input channel side by side.
    fn pack(&self) -> Result<Buffer<T>, AllocError> {
        let (c, w) = (self.correlation, self.correlation.weights);
        let [ys, xs] = &c.taps;
        let mut packed = Buffer::new(ys.len() * xs.len() * c.depth * c.width)?;
        for (i, to) in packed.chunks_exact_mut(c.width).enumerate() {
            let (tap, input) = (i / c.depth, i % c.depth);
            let (y, x) = (ys[tap / xs.len()].kernel, xs[tap % xs.len()].kernel);
            let from = (y * w.kernel_width + x) * w.tap + input * w.input;
            to.iter_mut().enumerate().for_each(|(o, to)| *to = w.data[from + o * w.output]);
        }
        Ok(packed)
    }

    /// One task: these output rows of these images.
    fn rows(&self, images: Range<usize>, rows: Range<usize>, weights: &[T]) -> Result<(), AllocError> {
        let c = self.correlation;
        let band = self.band.min(rows.len());
        let mut input = Group::new(band + self.reach - 1, self.x.len(), c.depth)?;
        let mut output = Group::new(band, c.cols, c.width)?;
        for start in rows.clone().step_by(band) {
            let rows = start..rows.end.min(start + band);
            input.enter(c.images, images.clone(), c.span(0, rows.clone()), &self.x);
            let len = rows.len() * c.row;
            T::dispatch(Convolve { across: self, rows, input: &input, weights, output: &mut output });
            let from = Strided {
                ptr: output.data.as_ptr(),
                rows: images.len(),
                cols: len,
                row_stride: 1,
                col_stride: IMAGES as isize,
            };
            let to = c.out.ptr().wrapping_add(images.start * c.image + start * c.row);
            // SAFETY: the group has these elements, the output these rows of each image, and no other task has
            // them.
            T::dispatch(unsafe { Gather::new(from, to, c.image) });
        }
        Ok(())
    }

    /// The columns of the kernel through which one of these pixels sees the image.
    #[inline(always)]
    fn columns(&self, pixels: Range<usize>) -> Range<usize> {
        let (taps, width) = (&self.correlation.taps[1], self.correlation.images.width as isize);
        if !self.skips {
            return 0..taps.len();
        }
        let left = taps[0].at + pixels.end as isize - 1;
        let start = (-left).clamp(0, taps.len() as isize) as usize;
        let end = (width - taps[0].at - pixels.start as isize).clamp(0, taps.len() as isize) as usize;
        start.min(end)..end
    }
}

/// The sums of a band of output rows.
struct Convolve<'a, T: Float> {
    across: &'a Across<'a, T>,
    rows: Range<usize>,
    input: &'a Group<T>,
    weights: &'a [T],
    output: &'a mut Group<T>,
}

/// The pixels of a tile with so many channels: a power of two, as many as 32 registers hold the sums of.
const fn tile_pixels(channels: usize) -> usize {
    if channels > 3 { 4 } else { 8 }
}

/// As [`tile_pixels`], for the registers that there are.
const fn most_pixels<V: Vector>(channels: usize) -> usize {
    if V::LEN == 16 { tile_pixels(channels) } else { tile_pixels(channels) / 2 }
}

impl<T: Float> Kernel<T> for Convolve<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Convolve { across, rows, input, weights, output } = self;
        let c = across.correlation;
        let (ys, kernel_row) = (&c.taps[0], c.taps[1].len() * c.depth * c.width);
        let mut pace = Pace::default();
        for (line, p) in rows.enumerate() {
            let down = c.inside(p);
            let mut q = 0;
            while q < c.cols {
                let mut pixels = most_pixels::<V>(c.width);
                while pixels > c.cols - q {
                    pixels /= 2;
                }
                let taps = across.columns(q..q + pixels);
                let len = taps.len() * c.depth;
                pace.step(down.len() * len * pixels * c.width * IMAGES);
                let x = line * input.row() + (q + taps.start) * input.pixel();
                let y = line * output.row() + q * output.pixel();
                for image in (0..IMAGES).step_by(V::LEN) {
                    let tile = Tile {
                        correlation: c,
                        down: down.clone(),
                        len,
                        x: input.data.as_ptr().wrapping_add(x + image),
                        // That of the image's rows; the first kernel row sees the one at x.
                        x_row: input.row(),
                        first: ys[0].at,
                        x_pixel: input.pixel(),
                        w: weights.as_ptr().wrapping_add(taps.start * c.depth * c.width),
                        w_row: kernel_row,
                        y: output.data.as_mut_ptr().wrapping_add(y + image),
                    };
                    // SAFETY: the group holds what these taps of the pixels reach, the weights are those of all
                    // taps, the band has the pixels, and there is a bias for each channel.
                    unsafe { tile.run::<V>(pixels) };
                }
                q += pixels;
            }
        }
    }
}

/// Neighbouring pixels and all their channels.
struct Tile<'a, T> {
    correlation: &'a Correlation<'a, T>,
    /// The kernel's rows.
    down: Range<usize>,
    /// Steps of a kernel row.
    len: usize,
    x: *const T,
    x_row: usize,
    /// Where the first kernel row is.
    first: isize,
    x_pixel: usize,
    w: *const T,
    w_row: usize,
    y: *mut T,
}

impl<T: Float> Tile<'_, T> {
    /// # Safety
    /// What the taps reach of the first pixel from `x` on, and of the others beside it, is readable, as are the
    /// weights and biases; the pixels at `y` are writable and in nobody else's use.
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = T>>(&self, pixels: usize) {
        macro_rules! tiles {
            ($($channels:literal: $($pixels:literal)*;)*) => {
                match (self.correlation.width, pixels) {
                    $($(
                        // SAFETY: promised by the caller.
                        ($channels, $pixels) if const { $pixels <= most_pixels::<V>($channels) } => unsafe {
                            self.sum::<V, $pixels, $channels>()
                        },
                    )*)*
                    _ => unreachable!("a tile that no registers hold"),
                }
            };
        }
        tiles!(1: 1 2 4 8; 2: 1 2 4 8; 3: 1 2 4 8; 4: 1 2 4; 5: 1 2 4; 6: 1 2 4;);
    }

    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn sum<V: Vector<Scalar = T>, const PIXELS: usize, const CHANNELS: usize>(&self) {
        let mut sums = [[V::zero(); CHANNELS]; PIXELS];
        for down in self.down.clone() {
            let row = (self.correlation.taps[0][down].at - self.first) as usize;
            let mut x = self.x.wrapping_add(row * self.x_row);
            let mut w = self.w.wrapping_add(down * self.w_row);
            for _ in 0..self.len {
                let mut pixels = [V::zero(); PIXELS];
                unrolled!(P, PIXELS, {
                    // SAFETY: promised by the caller.
                    pixels[P] = unsafe { V::load(x.wrapping_add(P * self.x_pixel)) };
                });
                unrolled!(C, CHANNELS, {
                    // SAFETY: promised by the caller.
                    let weight = V::splat(unsafe { *w.wrapping_add(C) });
                    unrolled!(P, PIXELS, {
                        sums[P][C] = pixels[P].mul_add(weight, sums[P][C]);
                    });
                });
                x = x.wrapping_add(IMAGES);
                w = w.wrapping_add(CHANNELS);
            }
        }
        if let Some(finish) = self.correlation.finish {
            unrolled!(C, CHANNELS, {
                // SAFETY: promised by the caller.
                let bias = V::splat(unsafe { *finish.bias.wrapping_add(C) });
                unrolled!(P, PIXELS, {
                    let sum = sums[P][C].add(bias);
                    sums[P][C] = if finish.relu { sum.maximum(V::zero()) } else { sum };
                });
            });
        }
        unrolled!(P, PIXELS, {
            unrolled!(C, CHANNELS, {
                // SAFETY: promised by the caller.
                unsafe { sums[P][C].store(self.y.wrapping_add((P * CHANNELS + C) * IMAGES)) };
            });
        });
    }
}
