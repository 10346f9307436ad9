//! Two-dimensional convolution and its gradients.
//!
//! Images are NHWC, kernels HWIO: output channels are the lanes of the vectors everywhere. Nothing is
//! unrolled into patches; forward and backward are the contraction of `gemm::kernel` over pixels
//! where they lie (`correlate`, `weights`).

mod correlate;
mod depthwise;
mod halo;
mod lanes;
mod pooled;
mod quads;
mod routed;
mod scatter;
#[cfg(test)]
mod tests;
mod weights;

use crate::buffer::AllocError;
use crate::element::Float;
use crate::gemm::kernel::Finish;
use crate::gemm::{Matrix, gemm, gemm_bias};
use crate::out::Out;
use crate::view::len;
use correlate::{Correlation, Tap, Weights};
use halo::Images;
use lanes::{Across, Summed};
pub use pooled::{forward_pooled, pooled_backward};
pub use routed::pooled_backward_weights;
use scatter::Scatter;

/// The sizes of a convolution: input `[batch, in_height, in_width, in_channels]`, kernel
/// `[kernel_height, kernel_width, in_channels / groups, out_channels]`, output `[batch, out_height,
/// out_width, out_channels]`.
///
/// Output pixel (p, q) sees the input at `p * strides[0] + y * dilation[0] - padding[0][0]` for kernel
/// row y, and likewise for columns; beyond the edges the input is zero.
///
/// ```
/// use autodan_kernels::conv::{Conv2d, forward};
///
/// let conv = Conv2d {
///     batch: 1, in_height: 1, in_width: 4, in_channels: 1,
///     out_height: 1, out_width: 4, out_channels: 1,
///     kernel_height: 1, kernel_width: 2,
///     strides: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 1]], groups: 1,
/// };
/// let mut y = [0.0f32; 4];
/// forward(&conv, &[1.0, 2.0, 3.0, 4.0], &[1.0, 10.0], &mut y)?;
/// assert_eq!(y, [21.0, 32.0, 43.0, 4.0]);
/// # Ok::<(), autodan_kernels::buffer::AllocError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Rows of an input image.
    pub in_height: usize,
    /// Columns of an input image.
    pub in_width: usize,
    /// Channels of an input pixel: a multiple of `groups`.
    pub in_channels: usize,
    /// Rows of an output image.
    pub out_height: usize,
    /// Columns of an output image.
    pub out_width: usize,
    /// Channels of an output pixel: a multiple of `groups`.
    pub out_channels: usize,
    /// Rows of the kernel.
    pub kernel_height: usize,
    /// Columns of the kernel.
    pub kernel_width: usize,
    /// How far the kernel moves from pixel to pixel, down and across; at least 1.
    pub strides: [usize; 2],
    /// The distance of the kernel's taps, down and across; at least 1.
    pub dilation: [usize; 2],
    /// Zeros around the input: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    /// Groups of channels that do not see each other; at least 1.
    pub groups: usize,
}

/// The most multiply-adds between two checkpoints of a task: a few milliseconds. Pieces of this size do not
/// change a sum.
const PIECE: usize = 1 << 26;

/// The longest contraction in one chain of sums, which is also the longest without a checkpoint: kernels
/// with more taps times channels are summed in parts.
const LONGEST: usize = 1 << 20;

/// How many of the things that cost `work` each are a piece: a multiple of `unit`.
fn piece(work: usize, unit: usize) -> usize {
    (PIECE / work.max(1)).max(1).next_multiple_of(unit)
}

impl Conv2d {
    fn check(&self, x: usize, w: usize, y: usize) {
        assert!(self.groups > 0, "no groups");
        assert!(
            self.in_channels.is_multiple_of(self.groups) && self.out_channels.is_multiple_of(self.groups),
            "channels are no multiple of the groups"
        );
        assert!(
            self.strides.iter().chain(&self.dilation).all(|&n| n > 0),
            "strides and dilation are at least 1"
        );
        let input = [self.batch, self.in_height, self.in_width, self.in_channels];
        let output = [self.batch, self.out_height, self.out_width, self.out_channels];
        let kernel =
            [self.kernel_height, self.kernel_width, self.in_channels / self.groups, self.out_channels];
        assert_eq!(Some(x), len(&input), "wrong input size");
        assert_eq!(Some(y), len(&output), "wrong output size");
        assert_eq!(Some(w), len(&kernel), "wrong kernel size");
        // Positions are signed; one that wrapped around would be read out of bounds.
        let sides = [(self.out_height, self.kernel_height), (self.out_width, self.kernel_width)];
        for (dim, (outputs, taps)) in sides.into_iter().enumerate() {
            let moved = outputs.saturating_sub(1) as i128 * self.strides[dim] as i128;
            let reach = taps.saturating_sub(1) as i128 * self.dilation[dim] as i128;
            let padding = self.padding[dim].iter().map(|&n| n as i128).sum::<i128>();
            let inside = moved.saturating_add(reach).saturating_add(padding) < isize::MAX as i128;
            assert!(inside || x + y == 0, "positions out of range");
        }
    }

    /// Whether it is one matrix product over all pixels.
    fn is_pointwise(&self) -> bool {
        (self.kernel_height, self.kernel_width, self.groups) == (1, 1, 1)
            && self.strides == [1, 1]
            && (self.out_height, self.out_width) == (self.in_height, self.in_width)
            && self.padding[0][0] == 0
            && self.padding[1][0] == 0
    }

    /// Whether every channel has a kernel of its own.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Whether [`forward_bias`] can do it.
    pub fn takes_bias(&self) -> bool {
        !self.is_depthwise()
    }

    fn output_pixels(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }
}

/// `y = x * w` (cross-correlation, as in every deep-learning library), overwritten.
///
/// # Errors
/// [`AllocError`] when there is no memory for packed weights.
///
/// # Panics
/// When lengths do not fit the sizes in `c`.
pub fn forward<T: Float>(c: &Conv2d, x: &[T], w: &[T], y: &mut [T]) -> Result<(), AllocError> {
    convolve(c, x, w, None, y)
}

/// `y = x * w + bias`, with one bias for each output channel, and 0 in place of what is negative if `relu`; as
/// [`forward`] otherwise. The bias is added as the sums leave the registers.
///
/// # Errors
/// [`AllocError`] when there is no memory for packed weights.
///
/// # Panics
/// When lengths do not fit the sizes in `c`, and unless [`Conv2d::takes_bias`].
pub fn forward_bias<T: Float>(
    c: &Conv2d,
    x: &[T],
    w: &[T],
    bias: &[T],
    relu: bool,
    y: &mut [T],
) -> Result<(), AllocError> {
    assert_eq!(bias.len(), c.out_channels, "wrong number of biases");
    assert!(c.takes_bias(), "depthwise convolutions take no bias");
    convolve(c, x, w, Some((bias, relu)), y)
}

fn convolve<T: Float>(
    c: &Conv2d,
    x: &[T],
    w: &[T],
    bias: Option<(&[T], bool)>,
    y: &mut [T],
) -> Result<(), AllocError> {
    c.check(x.len(), w.len(), y.len());
    if c.is_pointwise() {
        let (pixels, inputs, outputs) = (c.output_pixels(), c.in_channels, c.out_channels);
        let x = Matrix::new(x, 0, pixels, inputs, inputs as isize, 1);
        let w = Matrix::new(w, 0, inputs, outputs, outputs as isize, 1);
        return match bias {
            Some((bias, relu)) => gemm_bias(x, w, bias, relu, y),
            None => gemm(x, w, y),
        };
    }
    c.correlation(x, w, bias, Out::new(y)).run()
}

/// The gradient of [`forward`] with respect to `x`, from that of its output: overwrites `dx`.
///
/// # Errors
/// [`AllocError`] when there is no memory for packed weights.
///
/// # Panics
/// When lengths do not fit the sizes in `c`.
pub fn backward_data<T: Float>(c: &Conv2d, dy: &[T], w: &[T], dx: &mut [T]) -> Result<(), AllocError> {
    c.check(dx.len(), w.len(), dy.len());
    if dx.is_empty() {
        // An image without rows permits distances of taps that no number holds.
        return Ok(());
    }
    if c.is_pointwise() {
        let (pixels, inputs, outputs) = (c.output_pixels(), c.in_channels, c.out_channels);
        let dy = Matrix::new(dy, 0, pixels, outputs, outputs as isize, 1);
        return gemm(dy, Matrix::new(w, 0, outputs, inputs, 1, outputs as isize), dx);
    }
    let (depth, width) = (c.out_channels / c.groups, c.in_channels / c.groups);
    let out = Out::new(dx);
    let [down, across] = c.strides;
    let phase = |y: usize, x: usize| Correlation {
        images: Images { data: dy, height: c.out_height, width: c.out_width, channels: c.out_channels },
        batch: c.batch,
        strides: [1, 1],
        taps: [c.taps_back(0, y), c.taps_back(1, x)],
        weights: Weights {
            data: w,
            kernel_width: c.kernel_width,
            tap: width * c.out_channels,
            group: depth,
            input: 1,
            output: c.out_channels,
        },
        groups: c.groups,
        depth,
        width,
        rows: (c.in_height - y).div_ceil(down),
        cols: (c.in_width - x).div_ceil(across),
        out,
        first: (y * c.in_width + x) * c.in_channels,
        image: c.in_height * c.in_width * c.in_channels,
        row: down * c.in_width * c.in_channels,
        pixel: across * c.in_channels,
        finish: None,
    };
    if (down, across) == (1, 1) {
        let whole = phase(0, 0);
        if let Some(whole) = Across::new(&whole, true) {
            return whole.run();
        }
    }
    if let Some(scatter) = Scatter::new(c, dy, w) {
        return scatter.run(dx);
    }
    for at in 0..down.min(c.in_height) * across.min(c.in_width) {
        phase(at / across.min(c.in_width), at % across.min(c.in_width)).run()?;
    }
    Ok(())
}

impl Conv2d {
    /// The convolution, with its bias and whether negative outputs are to be 0, as a correlation.
    fn correlation<'a, T: Float>(
        &self,
        x: &'a [T],
        w: &'a [T],
        bias: Option<(&'a [T], bool)>,
        out: Out<'a, T>,
    ) -> Correlation<'a, T> {
        let taps = |dim: usize, kernel: usize| {
            let at = |k: usize| (k * self.dilation[dim]) as isize - self.padding[dim][0] as isize;
            (0..kernel).map(|k| Tap { at: at(k), kernel: k }).collect()
        };
        let (depth, width) = (self.in_channels / self.groups, self.out_channels / self.groups);
        Correlation {
            images: Images {
                data: x,
                height: self.in_height,
                width: self.in_width,
                channels: self.in_channels,
            },
            batch: self.batch,
            strides: self.strides,
            taps: [taps(0, self.kernel_height), taps(1, self.kernel_width)],
            weights: Weights {
                data: w,
                kernel_width: self.kernel_width,
                tap: depth * self.out_channels,
                group: width,
                input: self.out_channels,
                output: 1,
            },
            groups: self.groups,
            depth,
            width,
            rows: self.out_height,
            cols: self.out_width,
            out,
            first: 0,
            image: self.out_height * self.out_width * self.out_channels,
            row: self.out_width * self.out_channels,
            pixel: self.out_channels,
            finish: bias.map(|(bias, relu)| Finish { bias: bias.as_ptr(), relu }),
        }
    }

    /// The taps through which inputs at `phase` modulo the stride see the output, in output
    /// positions relative to theirs divided by the stride; the kernel turned round, so ascending.
    fn taps_back(&self, dim: usize, phase: usize) -> Vec<Tap> {
        let kernel = [self.kernel_height, self.kernel_width][dim];
        let stride = self.strides[dim] as isize;
        let distance = |k: usize| (phase + self.padding[dim][0]) as isize - (k * self.dilation[dim]) as isize;
        (0..kernel)
            .rev()
            .filter(|&k| distance(k) % stride == 0)
            .map(|k| Tap { at: distance(k) / stride, kernel: k })
            .collect()
    }
}

/// The gradient of [`forward`] with respect to `w`, from that of its output: overwrites `dw`.
///
/// # Errors
/// [`AllocError`] when there is no memory for the parts of the sum.
///
/// # Panics
/// When lengths do not fit the sizes in `c`.
pub fn backward_weights<T: Float>(c: &Conv2d, x: &[T], dy: &[T], dw: &mut [T]) -> Result<(), AllocError> {
    c.check(x.len(), dw.len(), dy.len());
    if let Some(summed) = Summed::new(c, x, dy) {
        return summed.run(dw);
    }
    weights::WeightGradient { conv: c, x, dy }.run(dw)
}
