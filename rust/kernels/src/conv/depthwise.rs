//! Depthwise convolution: every channel has a kernel of its own, so channels are the lanes.

use crate::element::Float;
use crate::gemm::kernel::Run;
use crate::isa::Kernel;
use crate::simd::Vector;

/// A row of output pixels, their input, and one weight for each tap and channel.
///
/// Tap `t` of pixel `q` reads `x[t.a + q * x_pixel + channel]` and `w[t.b + channel]`.
pub(super) struct Channels<'r, T> {
    pub(super) taps: &'r [Run],
    pub(super) x: *const T,
    pub(super) x_pixel: usize,
    pub(super) w: *const T,
    pub(super) y: *mut T,
    pub(super) y_pixel: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
}

/// Pixels whose sums are in registers at once, sharing the loads of weights.
const PIXELS: usize = 4;

/// Taps whose sums are in registers at once, sharing the loads of the gradient: those of a 3 x 3 kernel.
const NINE: usize = 9;

/// `y = sum over taps of x w`.
pub(super) struct Forward<'r, T>(Channels<'r, T>);

impl<'r, T: Float> Forward<'r, T> {
    /// # Safety
    /// The elements that the formula of [`Channels`] names are readable, and `y[q * y_pixel +
    /// channel]` are writable and in nobody else's use.
    #[inline(always)]
    pub(super) unsafe fn new(channels: Channels<'r, T>) -> Self {
        Forward(channels)
    }
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let row = &self.0;
        // Pixels in the outer loop, so that the output is written in order.
        for pixel in (0..row.pixels).step_by(PIXELS) {
            let pixels = PIXELS.min(row.pixels - pixel);
            for channel in (0..row.channels).step_by(V::LEN) {
                let lanes = V::LEN.min(row.channels - channel);
                // SAFETY: promised to `Forward::new`.
                unsafe {
                    match (pixels == PIXELS, lanes == V::LEN) {
                        (true, true) => pixels_forward::<V, PIXELS>(row, pixel, channel, V::LEN),
                        (true, false) => pixels_forward::<V, PIXELS>(row, pixel, channel, lanes),
                        _ => (pixel..row.pixels)
                            .for_each(|pixel| pixels_forward::<V, 1>(row, pixel, channel, lanes)),
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`Forward::new`], for `N` pixels and `lanes` channels (at most a vector).
#[inline(always)]
unsafe fn pixels_forward<V: Vector, const N: usize>(
    row: &Channels<V::Scalar>,
    pixel: usize,
    channel: usize,
    lanes: usize,
) {
    let mut sums = [V::zero(); N];
    let x = row.x.wrapping_add(pixel * row.x_pixel + channel);
    let w = row.w.wrapping_add(channel);
    // SAFETY: promised by the caller.
    unsafe {
        for tap in row.taps {
            let (x, weight) = (x.wrapping_offset(tap.a), load::<V>(w.wrapping_offset(tap.b), lanes));
            for i in 0..N {
                sums[i] = load::<V>(x.wrapping_add(i * row.x_pixel), lanes).mul_add(weight, sums[i]);
            }
        }
        for i in 0..N {
            let y = row.y.wrapping_add((pixel + i) * row.y_pixel + channel);
            if lanes == V::LEN { sums[i].store(y) } else { sums[i].store_partial(y, lanes) }
        }
    }
}

/// # Safety
/// `lanes` elements (at most a vector) are readable.
#[inline(always)]
unsafe fn load<V: Vector>(ptr: *const V::Scalar, lanes: usize) -> V {
    // SAFETY: promised by the caller.
    unsafe { if lanes == V::LEN { V::load(ptr) } else { V::load_partial(ptr, lanes) } }
}

/// Adds a row's part of the weight gradient: `w[t.b + channel] += sum over pixels of x y`.
pub(super) struct Backward<'r, T> {
    row: Channels<'r, T>,
    w: *mut T,
}

impl<'r, T: Float> Backward<'r, T> {
    /// Reads `x` and `y` of `row`; the weights are `w`.
    ///
    /// # Safety
    /// The elements that the formula of [`Channels`] names are readable, and those of `w` writable
    /// and in nobody else's use.
    #[inline(always)]
    pub(super) unsafe fn new(row: Channels<'r, T>, w: *mut T) -> Self {
        Backward { row, w }
    }
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let row = &self.row;
        for channel in (0..row.channels).step_by(V::LEN) {
            let lanes = V::LEN.min(row.channels - channel);
            for taps in row.taps.chunks(NINE) {
                // SAFETY: promised to `Backward::new`.
                unsafe {
                    match <&[Run; NINE]>::try_from(taps) {
                        Ok(taps) => self.taps::<V, NINE>(taps, channel, lanes),
                        Err(_) => taps.iter().for_each(|&tap| self.taps::<V, 1>(&[tap], channel, lanes)),
                    }
                }
            }
        }
    }
}

impl<T: Float> Backward<'_, T> {
    /// The gradients of these taps' weights, for `lanes` channels from `channel` on.
    ///
    /// # Safety
    /// As [`Backward::new`].
    #[inline(always)]
    unsafe fn taps<V: Vector<Scalar = T>, const N: usize>(
        &self,
        taps: &[Run; N],
        channel: usize,
        lanes: usize,
    ) {
        let row = &self.row;
        let mut sums = [V::zero(); N];
        for pixel in 0..row.pixels {
            // SAFETY: promised by the caller.
            unsafe {
                let y = load::<V>(row.y.cast_const().wrapping_add(pixel * row.y_pixel + channel), lanes);
                for i in 0..N {
                    let x = row.x.wrapping_offset(taps[i].a).wrapping_add(pixel * row.x_pixel + channel);
                    sums[i] = load::<V>(x, lanes).mul_add(y, sums[i]);
                }
            }
        }
        for i in 0..N {
            let w = self.w.wrapping_offset(taps[i].b).wrapping_add(channel);
            // SAFETY: promised by the caller.
            unsafe { load::<V>(w, lanes).add(sums[i]).store_partial(w, lanes) };
        }
    }
}
