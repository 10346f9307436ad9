//! The gradient with respect to the weights, with images as the lanes.
//!
//! Each weight has a vector of sums, one for each image of a group, over the pixels of all groups; its gradient
//! is the sum of those. A few rows at a time, which stay in the first-level cache, pass all weights.

use std::ops::Range;

use super::{Group, IMAGES, MAX_ELEMENTS, fills_lanes, images_of, is_worth};
use crate::buffer::{AllocError, Buffer};
use crate::conv::Conv2d;
use crate::conv::halo::Images;
use crate::element::Float;
use crate::gemm::kernel::unrolled;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, Pace};
use crate::reduce::sum;
use crate::simd::Vector;
use crate::view::View;

/// The most chunks of the batch that have sums of their own, and the most elements that these take.
const MAX_CHUNKS: usize = 32;
const MAX_SUMS: usize = 4 << 20;

/// The most elements of a band, where rows permit: the first-level cache.
const BAND: usize = 10 * 1024;

/// The least columns of a kernel that make tiles high enough.
const MIN_TAPS: usize = 3;

/// The most taps of a register tile.
const TAPS: usize = 5;

/// The most output channels of a register tile: as many as 32 registers hold sums of, or 16.
const fn most_outputs<V: Vector>() -> usize {
    if V::LEN == 16 { 3 } else { 2 }
}

/// A weight gradient that is computed this way.
pub(in crate::conv) struct Summed<'a, T> {
    conv: &'a Conv2d,
    x: &'a [T],
    dy: &'a [T],
    /// Output rows of a band.
    band: usize,
}

impl<'a, T: Float> Summed<'a, T> {
    /// `None` for gradients that take another way.
    pub(in crate::conv) fn new(conv: &'a Conv2d, x: &'a [T], dy: &'a [T]) -> Option<Self> {
        let c = conv;
        let dense = (c.groups, c.strides, c.dilation[1]) == (1, [1, 1], 1);
        let taps = c.kernel_height.checked_mul(c.kernel_width)?;
        let worth = c.kernel_width >= MIN_TAPS && is_worth::<T>(taps, c.in_channels, c.out_channels);
        let size = taps.checked_mul(c.in_channels)?.checked_mul(c.out_channels)?;
        if !dense || !worth || !fills_lanes(c.batch) || dy.is_empty() || size > MAX_SUMS / IMAGES {
            return None;
        }
        let reach = (c.kernel_height - 1).checked_mul(c.dilation[0])?;
        let [input, output] = Self::row_lens(c);
        let (input, output) = (input?, output?);
        let halo = input.checked_mul(reach)?;
        let most = MAX_ELEMENTS.checked_sub(halo)? / input.checked_add(output)?;
        let band = (BAND.saturating_sub(halo) / (input + output)).clamp(1, c.out_height);
        (most > 0).then_some(Summed { conv, x, dy, band })
    }

    /// The elements of a row of a group, of input and gradient.
    fn row_lens(c: &Conv2d) -> [Option<usize>; 2] {
        let reached = c.out_width.checked_add(c.kernel_width - 1);
        [
            reached.and_then(|n| n.checked_mul(c.in_channels)).and_then(|n| n.checked_mul(IMAGES)),
            c.out_width.checked_mul(c.out_channels).and_then(|n| n.checked_mul(IMAGES)),
        ]
    }

    /// Overwrites `dw`.
    pub(in crate::conv) fn run(&self, dw: &mut [T]) -> Result<(), AllocError> {
        let groups = self.conv.batch.div_ceil(IMAGES);
        let most = (MAX_SUMS / (dw.len() * IMAGES)).clamp(1, MAX_CHUNKS);
        let chunk = groups.div_ceil(most);
        let (chunks, size) = (groups.div_ceil(chunk), dw.len() * IMAGES);
        let mut sums = Buffer::new(chunks * size)?;
        let out = Out::new(&mut sums);
        par::try_for_each(chunks, |task| {
            // SAFETY: chunks have sums of their own, and each task runs once.
            let sums = unsafe { out.slice(task * size..(task + 1) * size) };
            self.groups(task * chunk..groups.min((task + 1) * chunk), sums)
        })?;
        let shape = [chunks, dw.len(), IMAGES];
        sum(View::new(&sums, 0, &shape, &[size as isize, IMAGES as isize, 1]), &[0, 2], dw)
    }

    /// The sums over these groups of images.
    fn groups(&self, groups: Range<usize>, sums: &mut [T]) -> Result<(), AllocError> {
        let c = self.conv;
        let [top, left] = [c.padding[0][0] as isize, c.padding[1][0] as isize];
        let reach = (c.kernel_height - 1) * c.dilation[0];
        let x = -left..(c.out_width + c.kernel_width - 1) as isize - left;
        let mut input = Group::new(self.band + reach, x.len(), c.in_channels)?;
        let mut gradient = Group::new(self.band, c.out_width, c.out_channels)?;
        let images = Images { data: self.x, height: c.in_height, width: c.in_width, channels: c.in_channels };
        let gradients =
            Images { data: self.dy, height: c.out_height, width: c.out_width, channels: c.out_channels };
        sums.fill(T::ZERO);
        let mut pace = Pace::default();
        for group in groups {
            let group = images_of(group, c.batch);
            for start in (0..c.out_height).step_by(self.band) {
                let rows = start..c.out_height.min(start + self.band);
                pace.step(rows.len() * c.out_width * sums.len());
                let y = start as isize - top..(rows.end + reach) as isize - top;
                input.enter(images, group.clone(), y, &x);
                let y = rows.start as isize..rows.end as isize;
                gradient.enter(gradients, group.clone(), y, &(0..c.out_width as isize));
                T::dispatch(Accumulate { conv: c, rows, input: &input, gradient: &gradient, sums });
            }
        }
        Ok(())
    }
}

/// Adds what a band of rows contributes to the sums.
struct Accumulate<'a, T: Float> {
    conv: &'a Conv2d,
    /// The band's output rows.
    rows: Range<usize>,
    input: &'a Group<T>,
    gradient: &'a Group<T>,
    /// `[kernel row][kernel column][input channel][output channel][image]`.
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Accumulate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Accumulate { conv: c, rows, input, gradient, sums } = self;
        let (padding, tap) = (c.padding[0][0], c.in_channels * c.out_channels * IMAGES);
        for ky in 0..c.kernel_height {
            // The output rows that see a row of the image through this one of the kernel.
            let down = ky * c.dilation[0];
            let first = padding.saturating_sub(down).clamp(rows.start, rows.end);
            let end = (c.in_height + padding).saturating_sub(down).clamp(first, rows.end);
            let (x, dy) = ((first - rows.start + down) * input.row(), (first - rows.start) * gradient.row());
            for (kx, i) in
                (0..c.kernel_width).step_by(TAPS).flat_map(|kx| (0..c.in_channels).map(move |i| (kx, i)))
            {
                for o in (0..c.out_channels).step_by(most_outputs::<V>()) {
                    let at = (ky * c.kernel_width + kx) * tap + (i * c.out_channels + o) * IMAGES;
                    let tile = Tile {
                        x: input.data.as_ptr().wrapping_add(x + kx * input.pixel() + i * IMAGES),
                        x_row: input.row(),
                        x_pixel: input.pixel(),
                        dy: gradient.data.as_ptr().wrapping_add(dy + o * IMAGES),
                        dy_row: gradient.row(),
                        dy_pixel: gradient.pixel(),
                        rows: end - first,
                        cols: c.out_width,
                        sums: sums[at..].as_mut_ptr(),
                        tap,
                    };
                    // SAFETY: the groups have these rows, the input's with the kernel's columns after each, and
                    // there are sums for all taps and channels.
                    unsafe {
                        tile.run::<V>(
                            TAPS.min(c.kernel_width - kx),
                            most_outputs::<V>().min(c.out_channels - o),
                        )
                    };
                }
            }
        }
    }
}

/// Taps of a kernel row and output channels, whose sums are in registers.
struct Tile<T> {
    x: *const T,
    x_row: usize,
    x_pixel: usize,
    dy: *const T,
    dy_row: usize,
    dy_pixel: usize,
    rows: usize,
    cols: usize,
    sums: *mut T,
    /// The distance of the sums of neighbouring taps.
    tap: usize,
}

impl<T: Float> Tile<T> {
    /// # Safety
    /// All rows can be read, those of `x` with `taps` columns beside them; the sums of the tile, a vector each,
    /// can be read and written.
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = T>>(&self, taps: usize, outputs: usize) {
        macro_rules! tiles {
            ($($taps:literal: $($outputs:literal)*;)*) => {
                match (taps, outputs) {
                    // SAFETY: promised by the caller.
                    $($(($taps, $outputs) if const { $outputs <= most_outputs::<V>() } => unsafe { self.add::<V, $taps, $outputs>() },)*)*
                    _ => unreachable!("a larger tile"),
                }
            };
        }
        tiles!(1: 1 2 3; 2: 1 2 3; 3: 1 2 3; 4: 1 2 3; 5: 1 2 3;);
    }

    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn add<V: Vector<Scalar = T>, const TAPS: usize, const OUTPUTS: usize>(&self) {
        let mut sums = [[V::zero(); OUTPUTS]; TAPS];
        unrolled!(K, TAPS, {
            unrolled!(O, OUTPUTS, {
                // SAFETY: promised by the caller.
                sums[K][O] = unsafe { V::load(self.sums.add(K * self.tap + O * IMAGES)) };
            });
        });
        for row in 0..self.rows {
            let (mut x, mut dy) =
                (self.x.wrapping_add(row * self.x_row), self.dy.wrapping_add(row * self.dy_row));
            for _ in 0..self.cols {
                for image in (0..IMAGES).step_by(V::LEN) {
                    let mut gradients = [V::zero(); OUTPUTS];
                    unrolled!(O, OUTPUTS, {
                        // SAFETY: promised by the caller.
                        gradients[O] = unsafe { V::load(dy.wrapping_add(O * IMAGES + image)) };
                    });
                    unrolled!(K, TAPS, {
                        // SAFETY: promised by the caller.
                        let x = unsafe { V::load(x.wrapping_add(K * self.x_pixel + image)) };
                        unrolled!(O, OUTPUTS, {
                            sums[K][O] = x.mul_add(gradients[O], sums[K][O]);
                        });
                    });
                }
                x = x.wrapping_add(self.x_pixel);
                dy = dy.wrapping_add(self.dy_pixel);
            }
        }
        unrolled!(K, TAPS, {
            unrolled!(O, OUTPUTS, {
                // SAFETY: promised by the caller.
                unsafe { sums[K][O].store(self.sums.add(K * self.tap + O * IMAGES)) };
            });
        });
    }
}
