//! A convolution whose output is only ever seen through its bias, an activation and pooling by 2 x 2.
//!
//! The convolution's output is four times as large as what is kept of it, and in training three passes
//! over it and three over its gradient wait for memory. Here each task computes a few of its rows into
//! scratch that stays in the nearest caches, and makes one pass over them; for the gradient it keeps one
//! byte for each window: which of the four was the maximum.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::correlate::Rows;
use crate::conv::{Conv2d, quads};
use crate::element::Float;
use crate::gemm::plan::TASK;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, GRAIN, Pace};
use crate::pool::leaders;
use crate::reduce::sum;
use crate::rows::{load, store};
use crate::simd::Vector;
use crate::view::View;

/// The most tasks that an output is cut into for the sake of balance; of gradients, whose sums are to be
/// few against the input, too.
const MAX_TASKS: usize = 64;

/// Elements of the convolution that are computed at a time: 64 kB of float32.
const SCRATCH: usize = 16 * 1024;

/// What is added to a window's byte when no gradient passes the activation.
const CLOSED: f64 = 4.0;

/// Pooled rows and columns: windows of 2 x 2 side by side; an odd last row or column is in none.
pub(super) fn pooled(c: &Conv2d) -> [usize; 2] {
    [c.out_height / 2, c.out_width / 2]
}

pub(super) fn check(c: &Conv2d, pooled_len: usize, places: usize, bias: usize) {
    let [height, width] = pooled(c);
    assert_eq!(pooled_len, c.batch * height * width * c.out_channels, "wrong output size");
    assert_eq!(places, pooled_len, "one byte for each output");
    assert_eq!(bias, c.out_channels, "one bias for each channel");
}

/// `y` = the maximum of each 2 x 2 window of `max(x * w + bias, 0)`, or of `x * w + bias` without `relu`;
/// `places`: for [`pooled_backward`], which of the four it was. As [`super::forward`],
/// [`crate::activate::bias_activation`] and [`crate::pool::max_forward`] one after the other.
///
/// ```
/// use autodan_kernels::conv::{Conv2d, forward_pooled};
///
/// let conv = Conv2d {
///     batch: 1, in_height: 2, in_width: 3, in_channels: 1,
///     out_height: 2, out_width: 2, out_channels: 1,
///     kernel_height: 1, kernel_width: 2,
///     strides: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 0]], groups: 1,
/// };
/// let (mut y, mut places) = ([0.0f32], [0]);
/// let x = [1.0, 2.0, 3.0, 4.0, 0.0, 0.0];
/// forward_pooled(&conv, true, &x, &[1.0, 1.0], &[0.5], &mut y, &mut places)?;
/// assert_eq!((y, places), ([5.5], [1]));
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for packed weights or scratch.
///
/// # Panics
/// When lengths do not fit the sizes in `c`.
pub fn forward_pooled<T: Float>(
    c: &Conv2d,
    relu: bool,
    x: &[T],
    w: &[T],
    bias: &[T],
    y: &mut [T],
    places: &mut [u8],
) -> Result<(), AllocError> {
    c.check(x.len(), w.len(), c.output_pixels() * c.out_channels);
    check(c, y.len(), places.len(), bias.len());
    if y.is_empty() || (quads::fits(c) && quads::forward(c, relu, x, w, bias, y, places)?) {
        return Ok(());
    }
    let [height, width] = pooled(c);
    // What is in no window is not computed.
    let even = Conv2d { out_height: 2 * height, out_width: 2 * width, ..*c };
    let correlation = even.correlation(x, w, None, Out::new(&mut []));
    let weights = correlation.pack()?;
    let panels = correlation.panels(&weights);
    let (total, row) = (c.batch * height, width * c.out_channels);
    let lines = (TASK / correlation.row_work().saturating_mul(2).max(1)).max(total / MAX_TASKS);
    let lines = lines.clamp(1, total);
    let most = (SCRATCH / (4 * row)).clamp(1, lines.min(height));
    let (y, places) = (Out::new(y), Out::new(places));
    par::try_for_each(total.div_ceil(lines), |task| {
        let mut scratch = Buffer::new(most * 4 * row)?;
        let mut rows = Rows::new(&correlation, &weights, 2 * most)?;
        let (mut line, end) = (task * lines, total.min((task + 1) * lines));
        while line < end {
            let (image, p) = (line / height, line % height);
            let count = most.min(end - line).min(height - p);
            rows.compute(image, 2 * p..2 * (p + count), 0..panels, scratch.as_mut_ptr());
            let range = line * row..(line + count) * row;
            // SAFETY: tasks have lines of their own, and each takes each of its lines once.
            let (y, places) = unsafe { (y.slice(range.clone()), places.slice(range)) };
            let z = &scratch[..4 * y.len()];
            if relu {
                T::dispatch(Shrink::<T, true> { z, bias, row, y, places });
            } else {
                T::dispatch(Shrink::<T, false> { z, bias, row, y, places });
            }
            line += count;
        }
        Ok(())
    })
}

/// Bias, activation and maximum of pairs of rows, `row` elements of the result each.
struct Shrink<'a, T, const RELU: bool> {
    z: &'a [T],
    bias: &'a [T],
    row: usize,
    y: &'a mut [T],
    places: &'a mut [u8],
}

impl<T: Float, const RELU: bool> Kernel<T> for Shrink<'_, T, RELU> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Shrink { z, bias, row, y, places } = self;
        let channels = bias.len();
        let mut pace = Pace::default();
        let rows = z.chunks_exact(4 * row).zip(y.chunks_exact_mut(row)).zip(places.chunks_exact_mut(row));
        for ((z, y), places) in rows {
            let (top, bottom) = z.split_at(2 * row);
            let pairs = top.chunks_exact(2 * channels).zip(bottom.chunks_exact(2 * channels));
            let outputs = y.chunks_exact_mut(channels).zip(places.chunks_exact_mut(channels));
            for ((top, bottom), (y, places)) in pairs.zip(outputs) {
                pace.step(4 * channels);
                let ((x0, x1), (x2, x3)) = (top.split_at(channels), bottom.split_at(channels));
                for c in (0..channels).step_by(V::LEN) {
                    let bias = load(bias, c, V::zero());
                    // An infinite bias makes an opposite sum NaN, which is then the largest: so each has its own.
                    let (x0, x1) = (load(x0, c, V::zero()).add(bias), load(x1, c, V::zero()).add(bias));
                    let (x2, x3) = (load(x2, c, V::zero()).add(bias), load(x3, c, V::zero()).add(bias));
                    // Relu does not change which one passes it as the largest: once, instead of four times.
                    let (largest, place) = first_largest([x0, x1, x2, x3]);
                    store(y, c, if RELU { largest.maximum(V::zero()) } else { largest });
                    store_places::<V>(places, c, place, closed::<V, RELU>(largest));
                }
            }
        }
    }
}

/// Where the activation lets nothing of a window's maximum through.
#[inline(always)]
pub(super) fn closed<V: Vector, const RELU: bool>(largest: V) -> V::Mask {
    let zero = V::zero();
    if RELU { V::mask_not(largest.gt(zero)) } else { zero.lt(zero) }
}

/// Which element of a window is the largest, lane by lane, as [`Vector::store_places`] takes it.
pub(super) struct Place<V: Vector> {
    pub(super) right: [V::Mask; 2],
    pub(super) below: V::Mask,
}

/// The first largest element, or the first NaN, and its place.
#[inline(always)]
fn first_largest<V: Vector>(window: [V; 4]) -> (V, Place<V>) {
    let [first, second, third] = leaders(window);
    let largest = V::select(second, window[2], V::select(first, window[1], window[0]));
    let below = V::mask_or(second, third);
    (V::select(third, window[3], largest), Place { right: [first, third], below })
}

/// The gradients of [`forward_pooled`] from that of its output and its bytes: `dz` with respect to the
/// convolution's output, of which all is overwritten, and `dbias`.
///
/// # Errors
/// [`AllocError`] when there is no memory for partial sums.
///
/// # Panics
/// When lengths do not fit the sizes in `c`.
pub fn pooled_backward<T: Float>(
    c: &Conv2d,
    dy: &[T],
    places: &[u8],
    dz: &mut [T],
    dbias: &mut [T],
) -> Result<(), AllocError> {
    check(c, dy.len(), places.len(), dbias.len());
    assert_eq!(dz.len(), c.output_pixels() * c.out_channels, "wrong input size");
    if dy.is_empty() {
        dz.fill(T::ZERO);
        dbias.fill(T::ZERO);
        return Ok(());
    }
    let (channels, [height, width]) = (c.out_channels, pooled(c));
    let (all, row) = (c.batch * height, width * channels);
    let lines = (GRAIN / (4 * row)).max(all.div_ceil(MAX_TASKS)).max(1);
    let tasks = all.div_ceil(lines);
    // For each task the totals and the sums of a row.
    let mut totals = Buffer::new(2 * tasks * channels)?;
    let (sums, dz) = (Out::new(&mut totals), Out::new(dz));
    par::for_each(tasks, |task| {
        let part = |k: usize| (k * tasks + task) * channels..(k * tasks + task + 1) * channels;
        // SAFETY: parts differ, and each task runs once.
        let (total, run) = unsafe { (sums.slice(part(0)), sums.slice(part(1))) };
        let lines = task * lines..all.min((task + 1) * lines);
        T::dispatch(Spread { c, dy, places, lines, dz, total, run });
    });
    sum(View::new(&totals, 0, &[tasks, channels], &[channels as isize, 1]), &[0], dbias)
}

/// The gradients of pooled rows, counted through the batch.
struct Spread<'a, T> {
    c: &'a Conv2d,
    dy: &'a [T],
    places: &'a [u8],
    lines: Range<usize>,
    dz: Out<'a, T>,
    total: &'a mut [T],
    /// Scratch for the sums of a row.
    run: &'a mut [T],
}

impl<T: Float> Kernel<T> for Spread<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let Spread { c: conv, dy, places, lines, dz, total, run } = self;
        let (channels, [height, width]) = (conv.out_channels, pooled(conv));
        let (row, full) = (width * channels, conv.out_width * channels);
        let closed = V::constant(CLOSED);
        let mut pace = Pace::default();
        total.fill(T::ZERO);
        for line in lines {
            let (image, p) = (line / height, line % height);
            // The last window of an image also has the row below it, if there is one.
            let rows = if p == height - 1 { conv.out_height - 2 * p } else { 2 };
            let start = (image * conv.out_height + 2 * p) * full;
            // SAFETY: the rows of different lines do not overlap, and each line is taken once.
            let dz = unsafe { dz.slice(start..start + rows * full) };
            let (top, rest) = dz.split_at_mut(full);
            let (bottom, below) = rest.split_at_mut(full);
            let (top, beside) = top.split_at_mut(2 * row);
            beside.fill(T::ZERO);
            let (bottom, beside) = bottom.split_at_mut(2 * row);
            beside.fill(T::ZERO);
            below.fill(T::ZERO);
            run.fill(T::ZERO);
            let at = line * row..(line + 1) * row;
            let pixels = dy[at.clone()].chunks_exact(channels).zip(places[at].chunks_exact(channels));
            let pairs = top.chunks_exact_mut(2 * channels).zip(bottom.chunks_exact_mut(2 * channels));
            for ((dy, places), (top, bottom)) in pixels.zip(pairs) {
                pace.step(4 * channels);
                let ((z0, z1), (z2, z3)) = (top.split_at_mut(channels), bottom.split_at_mut(channels));
                for c in (0..channels).step_by(V::LEN) {
                    let place: V = load_bytes(places, c);
                    let gradient = gradient(place, load(dy, c, V::zero()));
                    let place = V::select(place.lt(closed), place, place.sub(closed));
                    store(z0, c, V::select(place.eq(V::zero()), gradient, V::zero()));
                    store(z1, c, V::select(place.eq(V::one()), gradient, V::zero()));
                    store(z2, c, V::select(place.eq(V::constant(2.0)), gradient, V::zero()));
                    store(z3, c, V::select(place.eq(V::constant(3.0)), gradient, V::zero()));
                    store(run, c, load(run, c, V::zero()).add(gradient));
                }
            }
            for c in (0..channels).step_by(V::LEN) {
                store(total, c, load(total, c, V::zero()).add(load(run, c, V::zero())));
            }
        }
    }
}

/// What passes the activation of the gradients of windows with these bytes.
#[inline(always)]
pub(super) fn gradient<V: Vector>(place: V, dy: V) -> V {
    // A product, so that an infinite gradient that is stopped is NaN as after any relu.
    V::select(place.lt(V::constant(CLOSED)), V::one(), V::zero()).mul(dy)
}

/// Writes the windows' bytes to `y` from `i` on, as far as it goes.
#[inline(always)]
fn store_places<V: Vector>(y: &mut [u8], i: usize, Place { right, below }: Place<V>, closed: V::Mask) {
    let y = &mut y[i..];
    if y.len() >= V::LEN {
        // SAFETY: LEN elements are left.
        return unsafe { V::store_places(right, below, closed, y.as_mut_ptr()) };
    }
    let mut bytes = [0; 16];
    const { assert!(V::LEN <= 16) };
    // SAFETY: there are at least LEN bytes.
    unsafe { V::store_places(right, below, closed, bytes.as_mut_ptr()) };
    y.copy_from_slice(&bytes[..y.len()]);
}

/// The bytes of `x` from `i` on, and 0 in the lanes beyond its end.
#[inline(always)]
fn load_bytes<V: Vector>(x: &[u8], i: usize) -> V {
    let x = &x[i..];
    // SAFETY: what is read is left in x.
    unsafe {
        if x.len() >= V::LEN { V::load_bytes(x.as_ptr()) } else { V::load_bytes_partial(x.as_ptr(), x.len()) }
    }
}
