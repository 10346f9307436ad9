//! Correlations with images as the lanes.

use std::ops::Range;

use super::{IMAGES, MAX_CHANNELS, MAX_PLANES, Planes, fills_lanes, images_of};
use crate::buffer::{AllocError, Buffer};
use crate::conv::correlate::Correlation;
use crate::element::Float;
use crate::gemm::kernel::{Block, Multiply, Run};
use crate::gemm::pack::transpose;
use crate::gemm::plan::{TASK, Tiling};
use crate::isa::Kernel;
use crate::par::{self, Pace};
use crate::simd::Vector;

/// The tasks that are enough for balance; groups are cut into parts only where there are fewer.
const ENOUGH_TASKS: usize = 16;

/// A correlation that is computed this way.
pub(in crate::conv) struct Across<'a, T> {
    correlation: &'a Correlation<'a, T>,
    /// The columns that the taps reach, and the rows that those of one output row do.
    x: Range<isize>,
    reach: usize,
    /// The most output rows at a time.
    band: usize,
}

/// Output columns that see the image through the same columns of the kernel.
struct Stretch {
    pixels: Range<usize>,
    /// For every row of the kernel.
    runs: Vec<Run>,
}

impl<'a, T: Float> Across<'a, T> {
    /// `None` for correlations that take another way.
    pub(in crate::conv) fn new(correlation: &'a Correlation<'a, T>) -> Option<Self> {
        let c = correlation;
        let dense = c.groups == 1 && c.strides == [1, 1] && (c.pixel, c.row) == (c.width, c.cols * c.width);
        let some = !c.is_empty() && c.depth > 0 && c.taps.iter().all(|taps| !taps.is_empty());
        if !dense || !some || c.width > MAX_CHANNELS || !fills_lanes(c.batch) {
            return None;
        }
        let (x, reach) = (c.span(1, 0..c.cols), c.span(0, 0..1).len());
        let input = c.depth.checked_mul(x.len())?.checked_mul(IMAGES)?;
        let output = c.width.checked_mul(c.cols)?.checked_mul(IMAGES)?;
        let rows = MAX_PLANES.checked_sub(input.checked_mul(reach - 1)?)? / input.checked_add(output)?;
        (rows > 0).then_some(Across { correlation, x, reach, band: rows.min(c.rows) })
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

    /// These output rows of these images.
    fn rows(&self, images: Range<usize>, rows: Range<usize>, weights: &[T]) -> Result<(), AllocError> {
        let c = self.correlation;
        let band = self.band.min(rows.len());
        let mut input = Planes::new(c.depth, band + self.reach - 1, self.x.len())?;
        let mut output = Planes::new(c.width, band, c.cols)?;
        let tiling = Tiling::<T>::new(c.width, c.cols * IMAGES);
        let stretches = self.stretches(&input, (tiling.nr / IMAGES).max(1));
        for start in rows.clone().step_by(band) {
            let rows = start..rows.end.min(start + band);
            input.enter(c.images, images.clone(), c.span(0, rows.clone()), &self.x);
            if let Some(finish) = c.finish {
                let plane = output.plane();
                for (o, plane) in output.data.chunks_exact_mut(plane).enumerate() {
                    // SAFETY: there is a bias for each output channel.
                    plane.fill(unsafe { *finish.bias.add(o) });
                }
            }
            let mut pace = Pace::default();
            for p in rows.clone() {
                pace.step(c.row_work().saturating_mul(IMAGES));
                self.row(&stretches, p, p - start, weights, &input, &mut output, &tiling);
            }
            let relu = c.finish.is_some_and(|finish| finish.relu);
            T::dispatch(Leave { correlation: c, images: images.clone(), rows, planes: &output, relu });
        }
        Ok(())
    }

    /// Output row `p`, which is row `line` of the planes.
    #[allow(clippy::too_many_arguments)]
    fn row(
        &self,
        stretches: &[Stretch],
        p: usize,
        line: usize,
        weights: &[T],
        input: &Planes<T>,
        output: &mut Planes<T>,
        tiling: &Tiling<T>,
    ) {
        let c = self.correlation;
        let inside = c.inside(p);
        let (c_line, plane) = (line * output.row(), output.plane());
        for Stretch { pixels, runs } in stretches {
            let each = runs.len() / c.taps[0].len();
            let block = Block {
                runs: &runs[inside.start * each..inside.end * each],
                a: weights.as_ptr(),
                a_row: 1,
                a_group: 3,
                a_k: c.width as isize,
                a_tile: tiling.mr as isize,
                b: input.data.as_ptr().wrapping_add(line * input.row() + pixels.start * IMAGES),
                b_k: if self.by_column() { IMAGES } else { input.plane() } as isize,
                b_panel: tiling.nr as isize,
                b_padded: false,
                c: output.data.as_mut_ptr().wrapping_add(c_line + pixels.start * IMAGES),
                c_row: plane,
                lines: 1,
                a_line: 0,
                c_line: 0,
                rows: c.width,
                cols: pixels.len() * IMAGES,
                mr: tiling.mr,
                nr: tiling.nr,
                by_panel: true,
                // The planes hold the bias.
                accumulate: c.finish.is_some(),
                finish: None,
            };
            // SAFETY: the planes hold what the taps of these rows and columns reach, the weights are packed for
            // all taps, and the output is ours.
            T::dispatch(unsafe { Multiply::new(block) });
        }
    }

    /// Whether runs of the contraction go along the columns of the kernel, for one input channel; otherwise they
    /// go along the input channels.
    fn by_column(&self) -> bool {
        let c = self.correlation;
        c.depth == 1 && c.taps[1].windows(2).all(|pair| pair[1].at == pair[0].at + 1)
    }

    /// The output's columns, cut at multiples of `unit`.
    fn stretches(&self, input: &Planes<T>, unit: usize) -> Vec<Stretch> {
        let c = self.correlation;
        let [ys, xs] = &c.taps;
        let (top, left) = (ys[0].at, xs[0].at);
        let runs = |x: Range<usize>| -> Vec<Run> {
            let at = |y: usize, x: usize| {
                (ys[y].at - top) * input.row() as isize + (xs[x].at - left) * IMAGES as isize
            };
            let weight = |y: usize, x: usize| ((y * xs.len() + x) * c.depth * c.width) as isize;
            let run = |y, x, len| Run { a: weight(y, x), b: at(y, x), len };
            if self.by_column() {
                return (0..ys.len()).map(|y| run(y, x.start.min(xs.len() - 1), x.len())).collect();
            }
            (0..ys.len())
                .flat_map(|y| x.clone().map(move |x| (y, x)))
                .map(|(y, x)| run(y, x, c.depth))
                .collect()
        };
        let mut cut: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for start in (0..c.cols).step_by(unit) {
            let pixels = start..c.cols.min(start + unit);
            // The columns of the kernel through which one of them sees the image.
            let end = xs.partition_point(|tap| (start as isize + tap.at) < c.images.width as isize);
            let first = xs.partition_point(|tap| (pixels.end as isize - 1 + tap.at) < 0);
            let taps = first.min(end)..end;
            match cut.last_mut().filter(|(_, last)| *last == taps) {
                Some((joined, _)) => joined.end = pixels.end,
                None => cut.push((pixels, taps)),
            }
        }
        cut.into_iter().map(|(pixels, taps)| Stretch { pixels, runs: runs(taps) }).collect()
    }
}

/// Output rows from planes to images.
struct Leave<'a, T: Float> {
    correlation: &'a Correlation<'a, T>,
    images: Range<usize>,
    rows: Range<usize>,
    planes: &'a Planes<T>,
    relu: bool,
}

impl<T: Float> Kernel<T> for Leave<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Leave { correlation: c, images, rows, planes, relu } = self;
        let plane = planes.plane();
        let mut pace = Pace::default();
        for (line, p) in rows.enumerate() {
            pace.step(c.cols * c.width * IMAGES);
            let from = planes.data[line * planes.row()..].as_ptr();
            let to = c.out.ptr().wrapping_add(images.start * c.image + p * c.row);
            // SAFETY: the planes have the row, the output has it in each of the images, and the caller has it to
            // itself.
            unsafe {
                if c.width == 1 {
                    transpose::<V>(from, IMAGES as isize, c.cols, images.len(), to, c.image);
                } else {
                    for q in 0..c.cols {
                        let (from, to) = (from.add(q * IMAGES), to.add(q * c.width));
                        transpose::<V>(from, plane as isize, c.width, images.len(), to, c.image);
                    }
                }
            }
            if relu {
                for image in 0..images.len() {
                    // SAFETY: as above.
                    let row = unsafe { std::slice::from_raw_parts_mut(to.add(image * c.image), c.row) };
                    for i in (0..row.len()).step_by(V::LEN) {
                        let x = crate::rows::load(row, i, V::zero()).maximum(V::zero());
                        crate::rows::store(row, i, x);
                    }
                }
            }
        }
    }
}
