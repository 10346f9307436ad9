//! The weight gradient of a first layer behind its pooling, without the gradient of its output.
//!
//! Of the four outputs in a window only the largest has a gradient, and which one that is differs from
//! channel to channel. So instead of four multiply-adds for each tap, three of them with zeros, there is one,
//! with the pixels that the channels' maxima saw: four candidates for each tap, two pixels of one row and the
//! two below them, from which every lane takes its own ([`Vector::pick`]). What is four times as large as the
//! pooled gradient is neither written nor read.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::Conv2d;
use crate::conv::halo::{Bands, Images};
use crate::conv::pooled::{check, gradient, pooled};
use crate::element::Float;
use crate::gemm::plan::TASK;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, Pace};
use crate::reduce::sum;
use crate::rows::{load, store};
use crate::simd::{MOST_APART, Vector};
use crate::view::View;

/// The side of the kernels that it is made for: their taps are that many registers squared.
const SIDE: usize = 3;

/// The most chunks of the batch that have sums of their own.
const MAX_CHUNKS: usize = 32;

/// Elements of the pooled gradient that are worked through at once: they stay in the second-level cache while
/// all input channels pass.
const BAND: usize = 64 * 1024;

impl Conv2d {
    /// Whether [`pooled_backward_weights`] can do it.
    ///
    /// ```
    /// use autodan_kernels::conv::Conv2d;
    ///
    /// let first_layer = Conv2d {
    ///     batch: 32, in_height: 28, in_width: 28, in_channels: 1,
    ///     out_height: 26, out_width: 26, out_channels: 32,
    ///     kernel_height: 3, kernel_width: 3,
    ///     strides: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 0]], groups: 1,
    /// };
    /// assert!(first_layer.routes_gradients());
    /// assert!(!Conv2d { in_channels: 64, ..first_layer }.routes_gradients());
    /// ```
    pub fn routes_gradients(&self) -> bool {
        (self.kernel_height, self.kernel_width, self.groups) == (SIDE, SIDE, 1)
            && (self.strides, self.dilation) == ([1, 1], [1, 1])
            && (1..=MOST_APART).contains(&self.in_channels)
    }

    /// What the kernel reads for these output rows (dimension 0) or columns.
    pub(super) fn reads(&self, dim: usize, outputs: Range<usize>) -> Range<isize> {
        let before = self.padding[dim][0] as isize;
        outputs.start as isize - before..(outputs.end + SIDE - 1) as isize - before
    }
}

/// The gradients of [`super::forward_pooled`] with respect to the weights and the bias, from that of its
/// output and its bytes: what [`super::pooled_backward`] and [`super::backward_weights`] compute one after
/// the other.
///
/// ```
/// use autodan_kernels::conv::{Conv2d, forward_pooled, pooled_backward_weights};
///
/// let conv = Conv2d {
///     batch: 1, in_height: 4, in_width: 4, in_channels: 1,
///     out_height: 2, out_width: 2, out_channels: 1,
///     kernel_height: 3, kernel_width: 3,
///     strides: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 0]], groups: 1,
/// };
/// let x: Vec<f32> = (0..16).map(|i| i as f32).collect();
/// let (mut y, mut places) = ([0.0], [0]);
/// forward_pooled(&conv, true, &x, &[1.0; 9], &[0.0], &mut y, &mut places)?;
/// let (mut dw, mut dbias) = ([0.0; 9], [0.0]);
/// pooled_backward_weights(&conv, &x, &[2.0], &places, &mut dw, &mut dbias)?;
/// // The last window has the largest sum: the pixels that it saw, doubled.
/// assert_eq!(dw, [10.0, 12.0, 14.0, 18.0, 20.0, 22.0, 26.0, 28.0, 30.0]);
/// assert_eq!(dbias, [2.0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for partial sums or scratch.
///
/// # Panics
/// When lengths do not fit the sizes in `c`, and unless [`Conv2d::routes_gradients`].
pub fn pooled_backward_weights<T: Float>(
    c: &Conv2d,
    x: &[T],
    dy: &[T],
    places: &[u8],
    dw: &mut [T],
    dbias: &mut [T],
) -> Result<(), AllocError> {
    assert!(c.routes_gradients(), "only for small kernels and few channels");
    c.check(x.len(), dw.len(), c.output_pixels() * c.out_channels);
    check(c, dy.len(), places.len(), dbias.len());
    if dy.is_empty() {
        dw.fill(T::ZERO);
        dbias.fill(T::ZERO);
        return Ok(());
    }
    let [height, width] = pooled(c);
    let (total, row) = (c.batch * height, width * c.out_channels);
    // A lookup and a multiply-add are worth about three multiply-adds of a dense product.
    let work = total.saturating_mul(width).saturating_mul(3 * dw.len());
    let chunk = total.div_ceil((work / TASK).clamp(1, MAX_CHUNKS));
    let chunks = total.div_ceil(chunk);
    let most = (BAND / row).clamp(1, height.min(chunk));
    let size = dw.len() + dbias.len();
    let mut partial = Buffer::new(chunks * size)?;
    let sums = Out::new(&mut partial);
    let images = Images { data: x, height: c.in_height, width: c.in_width, channels: c.in_channels };
    par::try_for_each(chunks, |task| {
        // SAFETY: parts differ, and each task runs once.
        let sums = unsafe { sums.slice(task * size..(task + 1) * size) };
        sums.fill(T::ZERO);
        let tallest = c.reads(0, 0..2 * most).len();
        let mut bands = Bands::new(images, c.reads(0, 0..2 * height), c.reads(1, 0..2 * width), tallest)?;
        let (mut line, end) = (task * chunk, total.min((task + 1) * chunk));
        while line < end {
            let (image, p) = (line / height, line % height);
            let count = most.min(end - line).min(height - p);
            let range = line * row..(line + count) * row;
            let band = Band {
                input: bands.get(image, c.reads(0, 2 * p..2 * (p + count))),
                row: bands.row(),
                inputs: c.in_channels,
                dy: &dy[range.clone()],
                places: &places[range],
                width,
                outputs: c.out_channels,
            };
            T::dispatch(Route { band, sums });
            line += count;
        }
        Ok(())
    })?;
    let strides = [size as isize, 1];
    sum(View::new(&partial, 0, &[chunks, dw.len()], &strides), &[0], dw)?;
    sum(View::new(&partial, dw.len(), &[chunks, dbias.len()], &strides), &[0], dbias)
}

/// Rows of windows of one image: what the convolution reads for them, their gradient and their bytes.
struct Band<'a, T> {
    input: *const T,
    /// The distance of input rows.
    row: usize,
    inputs: usize,
    dy: &'a [T],
    places: &'a [u8],
    width: usize,
    outputs: usize,
}

/// Adds a band's gradients to `sums`, those of the weights and then those of the bias.
struct Route<'a, T> {
    band: Band<'a, T>,
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Route<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Route { band, sums } = self;
        let mut pace = Pace::default();
        for column in (0..band.outputs).step_by(V::LEN) {
            for input in 0..band.inputs {
                pace.step(band.dy.len());
                match band.inputs {
                    1 => channels::<V, 1>(&band, input, column, sums),
                    2 => channels::<V, 2>(&band, input, column, sums),
                    _ => channels::<V, MOST_APART>(&band, input, column, sums),
                }
            }
        }
    }
}

/// One of `INPUTS` channels and a vector of output channels from `column` on; the bias goes with the first input.
///
/// There is no call in the loop, across which no register would keep its sum.
#[inline(always)]
fn channels<V: Vector, const INPUTS: usize>(
    band: &Band<V::Scalar>,
    input: usize,
    column: usize,
    sums: &mut [V::Scalar],
) {
    let &Band { row, width, outputs, .. } = band;
    let lanes = (outputs - column).min(V::LEN);
    let mut dw = [[V::zero(); SIDE]; SIDE];
    let mut dbias = V::zero();
    for line in 0..band.dy.len() / (width * outputs) {
        let mut pixel = band.input.wrapping_add(2 * line * row + input);
        let first = line * width * outputs + column;
        let (mut dy, mut places) =
            (band.dy.as_ptr().wrapping_add(first), band.places.as_ptr().wrapping_add(first));
        for _ in 0..width {
            // SAFETY: the window has as many channels.
            let (gradients, place) = unsafe {
                if lanes == V::LEN {
                    (V::load(dy), V::load_bytes(places))
                } else {
                    (V::load_partial(dy, lanes), V::load_bytes_partial(places, lanes))
                }
            };
            let gradients = gradient(place, gradients);
            dbias = dbias.add(gradients);
            for x in 0..SIDE {
                for y in 0..SIDE {
                    let top = pixel.wrapping_add(y * row + x * INPUTS);
                    // SAFETY: the band holds what the kernel reads for its windows: a tap's pixel for their
                    // first outputs, the one to its right, and the two below.
                    let pixels = unsafe { place.pick::<INPUTS>(top, top.wrapping_add(row)) };
                    dw[y][x] = gradients.mul_add(pixels, dw[y][x]);
                }
            }
            pixel = pixel.wrapping_add(2 * INPUTS);
            (dy, places) = (dy.wrapping_add(outputs), places.wrapping_add(outputs));
        }
    }
    let (weights, biases) = sums.split_at_mut(sums.len() - outputs);
    let add = |to: &mut [V::Scalar], more: V| {
        store(to, column, load(to, column, V::zero()).add(more));
    };
    // Loops of constant length, which are unrolled: an array that is indexed by a variable is in memory.
    for y in 0..SIDE {
        for x in 0..SIDE {
            let tap = ((y * SIDE + x) * INPUTS + input) * outputs;
            add(&mut weights[tap..tap + outputs], dw[y][x]);
        }
    }
    if input == 0 {
        add(biases, dbias);
    }
}
