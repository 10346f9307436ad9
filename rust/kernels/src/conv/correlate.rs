//! Correlation: the form that a convolution and its data gradient are both brought into.
//!
//! `out[b, p, q, o] = sum over taps (y, x) and channels i of in[b, p sy + y, q sx + x, i] w[y, x, i, o]`
//!
//! where the input is zero beyond its edges. Forward, the taps are the kernel's positions less the
//! padding. Backward with stride 1, they are the same kernel turned round; with a stride, inputs at
//! the same position modulo the stride see the same taps, so each such *phase* is a correlation of
//! the output's gradient with stride 1, written to every stride-th pixel.
//!
//! The microkernel takes a stretch of an output row as its rows and output channels as its columns.
//! Pixels are read where they are ([`super::halo`] sees to the edges); neighbouring taps of a kernel
//! row are neighbours in memory, so that a kernel row is one run of the contraction.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::depthwise::Channels;
use crate::conv::halo::{Bands, Images};
use crate::conv::lanes::Across;
use crate::conv::{LONGEST, piece};
use crate::element::Float;
use crate::gemm::kernel::{Ahead, Block, Finish, Multiply, PADDING, Run};
use crate::gemm::pack::{Gather, Strided};
use crate::gemm::plan::{TASK, Tiling};
use crate::out::Out;
use crate::par::{self, Pace};

/// The most tasks that an output is cut into for the sake of balance.
const MAX_TASKS: usize = 64;

/// One coordinate of a tap: where it reads the input, and its index in the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tap {
    pub(super) at: isize,
    pub(super) kernel: usize,
}

/// The weights of all taps in memory: matrices of input by output channels.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, T> {
    pub(super) data: &'a [T],
    pub(super) kernel_width: usize,
    /// The distances of taps, groups, input channels and output channels.
    pub(super) tap: usize,
    pub(super) group: usize,
    pub(super) input: usize,
    pub(super) output: usize,
}

/// A correlation and where its output goes.
pub(super) struct Correlation<'a, T> {
    pub(super) images: Images<'a, T>,
    pub(super) batch: usize,
    pub(super) strides: [usize; 2],
    /// In ascending order of position.
    pub(super) taps: [Vec<Tap>; 2],
    pub(super) weights: Weights<'a, T>,
    pub(super) groups: usize,
    /// Input and output channels of a group.
    pub(super) depth: usize,
    pub(super) width: usize,
    /// Output rows and columns.
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) out: Out<'a, T>,
    /// Where the first output is, and the distances of images, rows and pixels.
    pub(super) first: usize,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) pixel: usize,
    /// What is added to the output's channels, except to those of depthwise convolutions.
    pub(super) finish: Option<Finish<T>>,
}

impl<T: Float> Correlation<'_, T> {
    /// Computes the output.
    pub(super) fn run(&self) -> Result<(), AllocError> {
        let total = self.batch * self.rows;
        if self.is_empty() {
            return Ok(());
        }
        if let Some(across) = Across::new(self, false) {
            return across.run();
        }
        let weights = self.pack()?;
        let work = self.row_work();
        let rows = (TASK / work.max(1)).max(total / MAX_TASKS).clamp(1, total);
        let parts = total.div_ceil(rows);
        // Few rows of many channels: tasks take some of the panels.
        let panels = self.panels(&weights);
        let enough = (total.saturating_mul(work) / TASK).clamp(1, 8);
        let splits = if self.is_depthwise() { 1 } else { enough.div_ceil(parts).min(panels) };
        let split = panels.div_ceil(splits);
        par::try_for_each(parts * panels.div_ceil(split), |task| {
            let (part, first) = (task % parts, task / parts * split);
            let lines = part * rows..total.min((part + 1) * rows);
            self.lines(lines, first..panels.min(first + split), &weights)
        })
    }

    /// Whether there is nothing to compute.
    pub(super) fn is_empty(&self) -> bool {
        self.batch * self.rows == 0 || self.cols == 0 || self.groups * self.width == 0
    }

    /// The multiply-adds of an output row.
    pub(super) fn row_work(&self) -> usize {
        let taps = self.taps[0].len() * self.taps[1].len();
        let work = [self.cols, self.groups, self.width, taps, self.depth];
        work.into_iter().fold(1usize, usize::saturating_mul)
    }

    fn is_depthwise(&self) -> bool {
        self.depth == 1 && self.width == 1 && self.groups > 1
    }

    /// The panels of output channels of a group.
    pub(super) fn panels(&self, weights: &Packed<T>) -> usize {
        self.width.div_ceil(weights.tiling.nr)
    }

    /// The kernel's rows through which output row `p` sees the image.
    pub(super) fn inside(&self, p: usize) -> Range<usize> {
        let start = p as isize * self.strides[0] as isize;
        let count = |end: isize| self.taps[0].partition_point(|tap| start + tap.at < end);
        count(0)..count(self.images.height as isize)
    }

    /// What the taps of output position 0 to `count` span in one dimension.
    pub(super) fn span(&self, dim: usize, outputs: Range<usize>) -> Range<isize> {
        let stride = self.strides[dim] as isize;
        match (self.taps[dim].first(), self.taps[dim].last()) {
            (Some(first), Some(last)) => {
                outputs.start as isize * stride + first.at..(outputs.end as isize - 1) * stride + last.at + 1
            }
            _ => 0..0,
        }
    }

    /// One task: these output rows, counted through the batch, and these panels of every group.
    fn lines(
        &self,
        lines: Range<usize>,
        panels: Range<usize>,
        weights: &Packed<T>,
    ) -> Result<(), AllocError> {
        let mut rows = Rows::new(self, weights, lines.len())?;
        let mut line = lines.start;
        while line < lines.end {
            let (image, p) = (line / self.rows, line % self.rows);
            let end = self.rows.min(p + lines.end - line);
            let output = self.first + image * self.image + p * self.row;
            rows.compute(image, p..end, panels.clone(), self.out.ptr().wrapping_add(output));
            line += end - p;
        }
        Ok(())
    }

    /// One panel of output channels for all rows of a band.
    fn panel(&self, band: &Band<T>, group: usize, panel: usize, runs: &[Run], weights: &Packed<T>) {
        let Tiling { mr, nr, .. } = weights.tiling;
        let taps = self.taps[0].len() * self.taps[1].len();
        let index = group * self.width.div_ceil(nr) + panel;
        let a_row = (self.strides[1] * self.images.channels) as isize;
        let column = group * self.width + panel * nr;
        let contraction = taps * self.depth;
        let parts = runs.len().div_ceil(contraction.div_ceil(LONGEST).max(1)).max(1);
        let work = nr.saturating_mul(contraction.min(LONGEST));
        let pixels = piece(work, mr).min(self.cols.next_multiple_of(mr));
        let lines = piece(work.saturating_mul(pixels), 1);
        let step = |rows: Range<usize>, pixel: usize, runs: &[Run], accumulate: bool, last: bool| {
            let start = rows.start * self.strides[0] * band.row + group * self.depth;
            let output = rows.start * self.row + pixel * self.pixel + column;
            let block = Block {
                runs,
                a: band.input.wrapping_add(start).wrapping_offset(pixel as isize * a_row),
                a_row,
                a_group: 3 * a_row,
                a_k: 1,
                a_tile: mr as isize * a_row,
                b: weights.panels.as_ptr().wrapping_add(index * taps * self.depth * nr),
                b_k: nr as isize,
                b_panel: 0,
                b_padded: true,
                c: band.output.wrapping_add(output),
                c_row: self.pixel,
                lines: rows.len(),
                a_line: (self.strides[0] * band.row) as isize,
                c_line: self.row,
                rows: pixels.min(self.cols - pixel),
                cols: nr.min(self.width - panel * nr),
                mr,
                nr,
                by_panel: true,
                accumulate,
                ahead: Ahead::NOTHING,
                finish: self.finish.filter(|_| last).map(|finish| finish.at(column)),
            };
            // SAFETY: the band holds what the taps of its rows reach, the packed weights end with
            // padding, and the caller has this part of the output to itself.
            T::dispatch(unsafe { Multiply::new(block) });
        };
        let mut pace = Pace::default();
        let mut p = 0;
        while p < band.rows {
            // Rows at the edges of an image see the input through fewer taps.
            let taps = self.inside(band.first + p);
            let same = |&q: &usize| self.inside(band.first + q) == taps;
            let rows = p..(p + 1..band.rows.min(p + lines)).take_while(same).last().map_or(p + 1, |q| q + 1);
            p = rows.end;
            let each = runs.len() / self.taps[0].len().max(1);
            let runs = &runs[taps.start * each..taps.end * each];
            for pixel in (0..self.cols).step_by(pixels) {
                // Without taps there is one step, which writes the zeros.
                for first in (0..runs.len().max(1)).step_by(parts) {
                    pace.step(work.saturating_mul(pixels * rows.len()));
                    let last = first + parts >= runs.len();
                    let part = &runs[first..runs.len().min(first + parts)];
                    step(rows.clone(), pixel, part, first > 0, last);
                }
            }
        }
    }

    /// All channels of a band's rows, each with its own kernel.
    fn depthwise(&self, band: &Band<T>, taps: &[Run]) {
        let pixels = piece(taps.len().saturating_mul(self.groups), 4);
        let mut pace = Pace::default();
        for p in 0..band.rows {
            let inside = self.inside(band.first + p);
            let each = taps.len() / self.taps[0].len().max(1);
            let taps = &taps[inside.start * each..inside.end * each];
            for pixel in (0..self.cols).step_by(pixels) {
                let x_pixel = self.strides[1] * self.images.channels;
                let channels = Channels {
                    taps,
                    x: band.input.wrapping_add(p * self.strides[0] * band.row + pixel * x_pixel),
                    x_pixel,
                    w: self.weights.data.as_ptr(),
                    y: band.output.wrapping_add(p * self.row + pixel * self.pixel),
                    y_pixel: self.pixel,
                    pixels: pixels.min(self.cols - pixel),
                    channels: self.groups,
                };
                pace.step(channels.pixels * taps.len() * self.groups);
                // SAFETY: as in `panel`; a tap's weights are one for each channel.
                T::dispatch(unsafe { crate::conv::depthwise::Forward::new(channels) });
            }
        }
    }

    /// The runs of the contraction: offsets in a band whose rows are at distance `row`, and in a
    /// panel of packed weights (depthwise: in the weights themselves).
    fn runs(&self, row: usize, nr: usize) -> Vec<Run> {
        let [ys, xs] = &self.taps;
        let (Some(top), Some(left)) = (ys.first(), xs.first()) else { return Vec::new() };
        let at = |y: &Tap, x: &Tap| {
            (y.at - top.at) * row as isize + (x.at - left.at) * self.images.channels as isize
        };
        if self.is_depthwise() {
            let weight =
                |y: &Tap, x: &Tap| (y.kernel * self.weights.kernel_width + x.kernel) * self.weights.tap;
            let tap = |y, x| Run { a: at(y, x), b: weight(y, x) as isize, len: 1 };
            return ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))).map(|(y, x)| tap(y, x)).collect();
        }
        let step = (self.depth * nr) as isize;
        let neighbours = self.groups == 1 && xs.windows(2).all(|pair| pair[1].at == pair[0].at + 1);
        let mut runs = Vec::new();
        for (i, y) in ys.iter().enumerate() {
            let first = (i * xs.len()) as isize * step;
            if neighbours {
                runs.push(Run { a: at(y, left), b: first, len: xs.len() * self.depth });
            } else {
                let tap = |(j, x)| Run { a: at(y, x), b: first + j as isize * step, len: self.depth };
                runs.extend(xs.iter().enumerate().map(tap));
            }
        }
        runs
    }

    /// The weights as the microkernel reads them.
    pub(super) fn pack(&self) -> Result<Packed<T>, AllocError> {
        let tiling = Tiling::<T>::new(self.cols, self.width);
        let panels = if self.is_depthwise() { Buffer::new(0)? } else { self.pack_panels(tiling.nr)? };
        Ok(Packed { panels, tiling })
    }

    /// The weights as panels of `nr` output channels: for each group and panel, the taps in order,
    /// for each the input channels in order.
    fn pack_panels(&self, nr: usize) -> Result<Buffer<T>, AllocError> {
        let [ys, xs] = &self.taps;
        let (taps, panels) = (ys.len() * xs.len(), self.width.div_ceil(nr));
        let size = taps * self.depth * nr;
        let packed_len = self.groups * panels * size;
        let mut packed = Buffer::new(packed_len + PADDING)?;
        let out = Out::new(&mut packed);
        let weights = self.weights;
        let one = |index: usize| {
            let (group, first) = (index / panels, index % panels * nr);
            // SAFETY: panels do not overlap.
            let to = unsafe { out.slice(index * size..(index + 1) * size) };
            let cols = nr.min(self.width - first);
            if cols < nr {
                to.fill(T::ZERO);
            }
            let mut pace = Pace::default();
            for (i, tap) in to.chunks_exact_mut((self.depth * nr).max(1)).enumerate() {
                pace.step(self.depth * nr);
                let (y, x) = (ys[i / xs.len()].kernel, xs[i % xs.len()].kernel);
                let start = (y * weights.kernel_width + x) * weights.tap
                    + group * weights.group
                    + first * weights.output;
                let last = start + (self.depth - 1) * weights.input + (cols - 1) * weights.output;
                assert!(last < weights.data.len(), "a tap reaches out of the weights");
                let from = Strided {
                    ptr: weights.data.as_ptr().wrapping_add(start),
                    rows: self.depth,
                    cols,
                    row_stride: weights.input as isize,
                    col_stride: weights.output as isize,
                };
                // SAFETY: the last element is within the weights; `tap` has `depth` rows of `nr`.
                T::dispatch(unsafe { Gather::new(from, tap.as_mut_ptr(), nr) });
            }
        };
        // A few thousand elements are packed sooner than a worker is there.
        if packed_len <= par::GRAIN {
            (0..self.groups * panels).for_each(one);
        } else {
            par::for_each(self.groups * panels, one);
        }
        Ok(packed)
    }
}

/// The weights in panels of output channels (none of depthwise kernels, which are read in place), and the
/// register tile that they are packed for.
pub(super) struct Packed<T: Float> {
    panels: Buffer<T>,
    tiling: Tiling<T>,
}

/// What computes output rows, so many at once, one task's: it keeps the scratch.
pub(super) struct Rows<'a, T: Float> {
    correlation: &'a Correlation<'a, T>,
    weights: &'a Packed<T>,
    bands: Bands<'a, T>,
    runs: Vec<Run>,
}

impl<'a, T: Float> Rows<'a, T> {
    pub(super) fn new(
        correlation: &'a Correlation<'a, T>,
        weights: &'a Packed<T>,
        most: usize,
    ) -> Result<Rows<'a, T>, AllocError> {
        let (rows, cols) = (correlation.rows, correlation.cols);
        let tallest = correlation.span(0, 0..most.min(rows)).len();
        let (y, x) = (correlation.span(0, 0..rows), correlation.span(1, 0..cols));
        let bands = Bands::new(correlation.images, y, x, tallest)?;
        let runs = correlation.runs(bands.row(), weights.tiling.nr);
        Ok(Rows { correlation, weights, bands, runs })
    }

    /// Computes these panels of the output rows `rows` of an image; the first pixel is written to `to`, the
    /// others at the distances of the output.
    pub(super) fn compute(&mut self, image: usize, rows: Range<usize>, panels: Range<usize>, to: *mut T) {
        let correlation = self.correlation;
        let band = Band {
            input: self.bands.get(image, correlation.span(0, rows.clone())),
            row: self.bands.row(),
            output: to,
            first: rows.start,
            rows: rows.len(),
        };
        if correlation.is_depthwise() {
            correlation.depthwise(&band, &self.runs);
            return;
        }
        for group in 0..correlation.groups {
            for panel in panels.clone() {
                correlation.panel(&band, group, panel, &self.runs, self.weights);
            }
        }
    }
}

/// Consecutive output rows of an image: their input and output.
struct Band<T> {
    input: *const T,
    /// The distance of input rows.
    row: usize,
    output: *mut T,
    /// The first output row in its image.
    first: usize,
    rows: usize,
}
