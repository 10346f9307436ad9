//! The gradient with respect to the weights: `dw[y, x, i, o] = sum over pixels of in[.., i] dy[.., o]`.
//!
//! The microkernel takes the input channels of a kernel row as its rows (neighbours in memory),
//! output channels as its columns, and output pixels as the contraction, one run for each output
//! row. The output is small and the contraction long, so it is cut: chunks of output rows, counted
//! through the batch, have sums of their own, which are then added in order. The chunks are a
//! function of the shape.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::depthwise::{Backward, Channels};
use crate::conv::halo::{Bands, Images};
use crate::conv::{Conv2d, piece};
use crate::element::Float;
use crate::gemm::kernel::{Ahead, Block, Multiply, Run};
use crate::gemm::plan::{TASK, Tiling};
use crate::out::Out;
use crate::par::{self, Pace};

/// The most chunks, and the most elements that their sums take.
const MAX_CHUNKS: usize = 16;
const MAX_PARTIAL: usize = 4 << 20;

/// Input and output rows of this many elements are worked through at once: they stay in the
/// second-level cache while all weights pass.
const BAND: usize = 64 * 1024;

pub(super) struct WeightGradient<'a, T> {
    pub(super) conv: &'a Conv2d,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
}

impl<T: Float> WeightGradient<'_, T> {
    pub(super) fn run(&self, dw: &mut [T]) -> Result<(), AllocError> {
        let conv = self.conv;
        let lines = conv.batch * conv.out_height;
        if dw.is_empty() || lines * conv.out_width == 0 {
            dw.fill(T::ZERO);
            return Ok(());
        }
        let work = lines.saturating_mul(conv.out_width).saturating_mul(dw.len());
        let most = MAX_CHUNKS.min(MAX_PARTIAL / dw.len()).min(lines);
        let chunk = lines.div_ceil((work / (2 * TASK)).min(most).max(1));
        let chunks = lines.div_ceil(chunk);
        let depth = conv.in_channels / conv.groups;
        let rows = if self.is_merged() { conv.kernel_width * depth } else { depth };
        let tiling = match self.is_square() {
            true => Tiling::<T>::whole(conv.kernel_height * rows, conv.out_channels),
            false => Tiling::<T>::new(rows, conv.out_channels / conv.groups),
        };
        // Few chunks: tasks take some of the kernel's rows and panels.
        let units = match self.is_depthwise() {
            true => 1,
            false => conv.groups * self.kernel_rows() * (conv.out_channels / conv.groups).div_ceil(tiling.nr),
        };
        let enough = (work / (2 * TASK)).clamp(1, MAX_CHUNKS / 2);
        let split = units.div_ceil(enough.div_ceil(chunks).min(units));
        let mut partial = Buffer::<T>::new(if chunks > 1 { chunks * dw.len() } else { 0 })?;
        let size = dw.len();
        let (one, many) = (Out::new(dw), Out::new(&mut partial));
        par::try_for_each(chunks * units.div_ceil(split), |task| {
            let (part, first) = (task % chunks, task / chunks * split);
            let to = match chunks {
                1 => one.ptr(),
                _ => many.ptr().wrapping_add(part * size),
            };
            let lines = part * chunk..lines.min((part + 1) * chunk);
            // SAFETY: tasks have different chunks or different units, and `to` has room for all
            // weights.
            unsafe { self.lines(lines, first..units.min(first + split), &tiling, to) }
        })?;
        if chunks > 1 {
            par::for_each_chunk(dw, par::GRAIN, |start, dw| {
                dw.copy_from_slice(&partial[start..start + dw.len()]);
                for chunk in partial.chunks_exact(size).skip(1) {
                    dw.iter_mut().zip(&chunk[start..]).for_each(|(sum, &x)| *sum = sum.add(x));
                }
            });
        }
        Ok(())
    }

    /// Whether the channels of neighbouring taps are neighbours in memory.
    fn is_merged(&self) -> bool {
        self.conv.groups == 1 && (self.conv.dilation[1] == 1 || self.conv.kernel_width == 1)
    }

    /// Whether a tile takes all taps: those of one channel, three in a row, are groups of the microkernel's
    /// rows. (One kernel row alone is too small a tile to hide the latency of its sums.)
    fn is_square(&self) -> bool {
        let conv = self.conv;
        self.is_merged()
            && (conv.kernel_width, conv.in_channels, conv.strides[1]) == (3, 1, 1)
            && (2..=3).contains(&conv.kernel_height)
    }

    /// The kernel's rows that are units of their own.
    fn kernel_rows(&self) -> usize {
        if self.is_square() { 1 } else { self.conv.kernel_height }
    }

    fn is_depthwise(&self) -> bool {
        self.conv.is_depthwise()
    }

    /// One task: the sums over these output rows, counted through the batch, for these units (a
    /// group, kernel row and panel each).
    ///
    /// # Safety
    /// `to` is writable for all weights, and nobody else uses those of these units.
    unsafe fn lines(
        &self,
        lines: Range<usize>,
        units: Range<usize>,
        tiling: &Tiling<T>,
        to: *mut T,
    ) -> Result<(), AllocError> {
        let conv = self.conv;
        let (images, x) = (self.images(), self.span(1, 0..conv.out_width));
        let line = images.channels * images.width * conv.strides[0] + conv.out_width * conv.out_channels;
        let most = (BAND / line.max(1)).clamp(1, conv.out_height).min(lines.len());
        let tallest = self.span(0, 0..most).len();
        let mut bands = Bands::new(images, self.span(0, 0..conv.out_height), x, tallest)?;
        let runs: Vec<Run> = (0..most)
            .map(|p| Run {
                a: (p * conv.strides[0] * bands.row()) as isize,
                b: (p * conv.out_width * conv.out_channels) as isize,
                len: conv.out_width,
            })
            .collect();
        let mut at = lines.start;
        while at < lines.end {
            let (image, p) = (at / conv.out_height, at % conv.out_height);
            let end = conv.out_height.min(p + most).min(p + lines.end - at);
            let band = Band {
                input: bands.get(image, self.span(0, p..end)),
                row: bands.row(),
                gradient: &self.dy[at * conv.out_width * conv.out_channels..],
                runs: &runs[..end - p],
                accumulate: at > lines.start,
            };
            // SAFETY: promised by the caller.
            unsafe {
                if self.is_depthwise() {
                    self.depthwise(&band, to);
                } else {
                    units.clone().for_each(|unit| self.unit(&band, unit, tiling, to));
                }
            }
            at += end - p;
        }
        Ok(())
    }

    fn images(&self) -> Images<'_, T> {
        let conv = self.conv;
        Images { data: self.x, height: conv.in_height, width: conv.in_width, channels: conv.in_channels }
    }

    /// What the kernel reads for these output positions in one dimension.
    fn span(&self, dim: usize, outputs: Range<usize>) -> Range<isize> {
        let conv = self.conv;
        let kernel = [conv.kernel_height, conv.kernel_width][dim];
        let (stride, padding) = (conv.strides[dim] as isize, conv.padding[dim][0] as isize);
        let reach = ((kernel - 1) * conv.dilation[dim]) as isize;
        outputs.start as isize * stride - padding..(outputs.end as isize - 1) * stride - padding + reach + 1
    }

    /// # Safety
    /// As `lines`.
    unsafe fn unit(&self, band: &Band<T>, unit: usize, tiling: &Tiling<T>, to: *mut T) {
        let conv = self.conv;
        let Tiling { mr, nr, .. } = *tiling;
        let (depth, width) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
        let panels = width.div_ceil(nr);
        let kernel_rows = self.kernel_rows();
        let (panel, y, group) = (unit % panels, unit / panels % kernel_rows, unit / panels / kernel_rows);
        let (taps, rows) = match (self.is_merged(), self.is_square()) {
            (_, true) => (1, conv.kernel_height * conv.kernel_width),
            (true, _) => (1, conv.kernel_width * depth),
            _ => (conv.kernel_width, depth),
        };
        let a_group = if self.is_square() { (conv.dilation[0] * band.row) as isize } else { 3 };
        let column = group * width + panel * nr;
        let pixels = band.runs.len() * conv.out_width;
        let part = piece(nr.saturating_mul(pixels), mr);
        let mut pace = Pace::default();
        for (x, row) in (0..taps).flat_map(|x| (0..rows).step_by(part).map(move |row| (x, row))) {
            let input = y * conv.dilation[0] * band.row + x * conv.dilation[1] * conv.in_channels + row;
            pace.step(part.min(rows - row) * nr * pixels);
            let block = Block {
                runs: band.runs,
                a: band.input.wrapping_add(input + group * depth),
                a_row: 1,
                a_group,
                a_k: (conv.strides[1] * conv.in_channels) as isize,
                a_tile: mr as isize,
                b: band.gradient.as_ptr().wrapping_add(column),
                b_k: conv.out_channels as isize,
                b_panel: 0,
                b_padded: false,
                c: to.wrapping_add(((y * conv.kernel_width + x) * depth + row) * conv.out_channels + column),
                c_row: conv.out_channels,
                lines: 1,
                a_line: 0,
                c_line: 0,
                rows: part.min(rows - row),
                cols: nr.min(width - panel * nr),
                mr,
                nr,
                by_panel: true,
                accumulate: band.accumulate,
                ahead: Ahead::NOTHING,
                finish: None,
            };
            // SAFETY: the band holds what the kernel reads for its rows, the gradient has those
            // rows, and the caller has the unit's weights to itself.
            T::dispatch(unsafe { Multiply::new(block) });
        }
    }

    /// # Safety
    /// As `lines`, for all weights.
    unsafe fn depthwise(&self, band: &Band<T>, to: *mut T) {
        let conv = self.conv;
        if !band.accumulate {
            for i in 0..conv.kernel_height * conv.kernel_width * conv.out_channels {
                // SAFETY: the caller has room for all weights.
                unsafe { *to.add(i) = T::ZERO };
            }
        }
        let tap = |y: usize, x: usize| Run {
            a: (y * conv.dilation[0] * band.row + x * conv.dilation[1] * conv.in_channels) as isize,
            b: ((y * conv.kernel_width + x) * conv.out_channels) as isize,
            len: 1,
        };
        let taps: Vec<Run> = (0..conv.kernel_height * conv.kernel_width)
            .map(|i| tap(i / conv.kernel_width, i % conv.kernel_width))
            .collect();
        let part = piece(conv.out_width.saturating_mul(conv.out_channels), 1);
        let mut pace = Pace::default();
        for (run, taps) in band.runs.iter().flat_map(|run| taps.chunks(part).map(move |taps| (run, taps))) {
            pace.step(taps.len() * conv.out_width * conv.out_channels);
            let row = Channels {
                taps,
                x: band.input.wrapping_offset(run.a),
                x_pixel: conv.strides[1] * conv.in_channels,
                w: to,
                y: band.gradient.as_ptr().wrapping_offset(run.b).cast_mut(),
                y_pixel: conv.out_channels,
                pixels: conv.out_width,
                channels: conv.out_channels,
            };
            // SAFETY: as in `unit`; the gradient is only read.
            T::dispatch(unsafe { Backward::new(row, to) });
        }
    }
}

/// Consecutive output rows of an image: what the kernel reads for them, and their gradient.
struct Band<'a, T> {
    input: *const T,
    /// The distance of input rows.
    row: usize,
    gradient: &'a [T],
    runs: &'a [Run],
    accumulate: bool,
}
