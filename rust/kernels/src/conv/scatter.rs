//! The data gradient of a convolution with few input channels, which would leave lanes idle.
//!
//! For a band of output rows, the matrix product of the weights (taps and input channels by output
//! channels) and the gradient (output channels by pixels) is what every pixel hands back through every
//! tap; pixels are the lanes. Each of its rows is then added to the plane of its input channel, shifted
//! by its tap. The planes have the padding around them, so that nothing falls outside; with stride 1
//! the gradient gets rows as wide as theirs, with zeros at the end, so that a band is one addition.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::Conv2d;
use crate::element::Float;
use crate::gemm::pack::{Gather, Strided};
use crate::gemm::{Matrix, gemm};
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, Pace};
use crate::rows::{load, store};
use crate::simd::Vector;

/// The most input channels: with more, channels fill the lanes well enough.
const MAX_CHANNELS: usize = 8;

/// The most elements of an image's planes, and of a band's product (the second-level cache).
const MAX_PLANES: usize = 1 << 20;
const MAX_BAND: usize = 64 * 1024;

pub(super) struct Scatter<'a, T> {
    conv: &'a Conv2d,
    dy: &'a [T],
    w: &'a [T],
    /// Rows and columns of a plane, and the columns of the gradient's rows.
    plane: [usize; 2],
    pitch: usize,
}

impl<'a, T: Float> Scatter<'a, T> {
    /// `None` for convolutions that take another way.
    pub(super) fn new(conv: &'a Conv2d, dy: &'a [T], w: &'a [T]) -> Option<Self> {
        let c = conv;
        if c.groups > 1 || c.in_channels > MAX_CHANNELS || c.out_channels < 8 || dy.is_empty() || w.is_empty()
        {
            return None;
        }
        let side = |dim: usize, outputs: usize, taps: usize| {
            let reach =
                ((outputs - 1).checked_mul(c.strides[dim])?, (taps - 1).checked_mul(c.dilation[dim])?);
            reach.0.checked_add(reach.1)?.checked_add(1)
        };
        let plane = [side(0, c.out_height, c.kernel_height)?, side(1, c.out_width, c.kernel_width)?];
        let pitch = if c.strides[1] == 1 { plane[1] } else { c.out_width };
        let taps = c.kernel_height.checked_mul(c.kernel_width)?.checked_mul(c.in_channels)?;
        let planes = plane[0].checked_mul(plane[1])?.checked_mul(c.in_channels)?;
        let fits = planes <= MAX_PLANES && taps.checked_mul(pitch)? <= MAX_BAND;
        fits.then_some(Scatter { conv, dy, w, plane, pitch })
    }

    /// Overwrites `dx`.
    pub(super) fn run(&self, dx: &mut [T]) -> Result<(), AllocError> {
        let image = self.conv.in_height * self.conv.in_width * self.conv.in_channels;
        let out = Out::new(dx);
        par::try_for_each(self.conv.batch, |b| {
            // SAFETY: tasks have different images.
            self.image(b, unsafe { out.slice(b * image..(b + 1) * image) })
        })
    }

    fn image(&self, image: usize, dx: &mut [T]) -> Result<(), AllocError> {
        let c = self.conv;
        let (taps, channels) = (c.kernel_height * c.kernel_width * c.in_channels, c.out_channels);
        let most = (MAX_BAND / (taps.max(channels) * self.pitch)).clamp(1, c.out_height);
        let mut planes = Buffer::new(c.in_channels * self.plane[0] * self.plane[1])?;
        planes.fill(T::ZERO);
        let mut product = Buffer::new(taps * most * self.pitch)?;
        let mut gradient = Buffer::new(channels * most * self.pitch)?;
        // The ends of rows stay zero.
        gradient.fill(T::ZERO);
        let weights = Matrix::new(self.w, 0, taps, channels, channels as isize, 1);
        let mut pace = Pace::default();
        for start in (0..c.out_height).step_by(most) {
            let band = start..c.out_height.min(start + most);
            let pixels = band.len() * self.pitch;
            for (i, p) in band.clone().enumerate() {
                let first = (image * c.out_height + p) * c.out_width * channels;
                let row = &self.dy[first..first + c.out_width * channels];
                let from = Strided {
                    ptr: row.as_ptr(),
                    rows: channels,
                    cols: c.out_width,
                    row_stride: 1,
                    col_stride: channels as isize,
                };
                let to = &mut gradient[i * self.pitch..channels * pixels];
                // SAFETY: both have `out_width` elements for each channel, the last one included.
                T::dispatch(unsafe { Gather::new(from, to.as_mut_ptr(), pixels) });
            }
            let product = &mut product[..taps * pixels];
            gemm(weights, Matrix::new(&gradient, 0, channels, pixels, pixels as isize, 1), product)?;
            pace.step(product.len());
            T::dispatch(AddTaps { scatter: self, band, product, planes: &mut planes });
        }
        self.interleave(&planes, dx);
        Ok(())
    }

    /// Planes without their padding become the channels of pixels; beyond the planes, the gradient is 0.
    fn interleave(&self, planes: &[T], dx: &mut [T]) {
        let (c, [height, width]) = (self.conv, self.plane);
        let [top, left] = [c.padding[0][0], c.padding[1][0]];
        let used = c.in_width.min(width.saturating_sub(left));
        for (y, dx) in dx.chunks_exact_mut((c.in_width * c.in_channels).max(1)).enumerate() {
            let used = if top + y < height { used } else { 0 };
            let (pixels, rest) = dx.split_at_mut(used * c.in_channels);
            rest.fill(T::ZERO);
            if used == 0 {
                continue;
            }
            let start = (top + y) * width + left;
            if c.in_channels == 1 {
                pixels.copy_from_slice(&planes[start..start + used]);
                continue;
            }
            let from = Strided {
                ptr: planes[start..].as_ptr(),
                rows: used,
                cols: c.in_channels,
                row_stride: 1,
                col_stride: (height * width) as isize,
            };
            // SAFETY: every plane has `used` elements from its row's start on, and `pixels` as many pixels.
            T::dispatch(unsafe { Gather::new(from, pixels.as_mut_ptr(), c.in_channels) });
        }
    }
}

/// Adds what the output rows `band` hand back to the input's planes.
struct AddTaps<'a, T> {
    scatter: &'a Scatter<'a, T>,
    band: Range<usize>,
    /// For every tap and input channel, the pixels of the band.
    product: &'a [T],
    planes: &'a mut [T],
}

impl<T: Float> Kernel<T> for AddTaps<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let AddTaps { scatter, band, product, planes } = self;
        let (c, [height, width], pitch) = (scatter.conv, scatter.plane, scatter.pitch);
        for (row, product) in product.chunks_exact(band.len() * pitch).enumerate() {
            let (tap, channel) = (row / c.in_channels, row % c.in_channels);
            let (ky, kx) = (tap / c.kernel_width * c.dilation[0], tap % c.kernel_width * c.dilation[1]);
            let plane = &mut planes[channel * height * width..(channel + 1) * height * width];
            let start = (band.start * c.strides[0] + ky) * width + kx;
            if c.strides == [1, 1] {
                let len = (band.len() - 1) * pitch + c.out_width;
                add::<V>(&mut plane[start..start + len], &product[..len]);
                continue;
            }
            for (p, product) in product.chunks_exact(pitch).enumerate() {
                let (start, product) = (start + p * c.strides[0] * width, &product[..c.out_width]);
                if c.strides[1] == 1 {
                    add::<V>(&mut plane[start..start + c.out_width], product);
                } else {
                    let to = plane[start..].iter_mut().step_by(c.strides[1]);
                    to.zip(product).for_each(|(to, &x)| *to = to.add(x));
                }
            }
        }
    }
}

/// `to += from`, of one length.
#[inline(always)]
fn add<V: Vector>(to: &mut [V::Scalar], from: &[V::Scalar]) {
    for i in (0..to.len()).step_by(V::LEN) {
        let sum = load(to, i, V::zero()).add(load(from, i, V::zero()));
        store(to, i, sum);
    }
}
