//! Two-dimensional convolution (cross-correlation, as everywhere in deep learning).
//!
//! Images are [batch, height, width, channels], kernels [height, width, in channels / groups, out
//! channels]. Convolution is linear in each operand, and its two gradients are the other two sides of
//! one trilinear form: each one's gradients are the other ops, so derivatives of any order exist.

use std::sync::Arc;

use autodan_kernels::activate::Activation;
use autodan_kernels::conv::{self, Conv2d as Geometry};

use crate::error::{Error, Result, show_shape};
use crate::layout::{Shape, checked_len};
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::binary::promote;
use crate::ops::{activate, binary, cast, unary};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// How the borders of an image are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// No padding: windows lie within the image.
    Valid,
    /// As many windows as `ceil(size / stride)`; a surplus row or column goes to the bottom and the
    /// right.
    Same,
    /// `[[top, bottom], [left, right]]`.
    Explicit([[usize; 2]; 2]),
}

/// One axis of a sliding window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) size: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
}

impl Window {
    /// The padding before and after an axis (0: height, 1: width) of images of this shape, and the
    /// number of windows on it.
    ///
    /// # Errors
    /// [`Error::Shape`] when the window is larger than the padded axis.
    pub(crate) fn place(
        &self,
        op: &'static str,
        images: &[usize],
        padding: Padding,
        axis: usize,
    ) -> Result<([usize; 2], usize)> {
        let n = images[1 + axis];
        let reach = (self.size - 1)
            .checked_mul(self.dilation)
            .and_then(|reach| reach.checked_add(1))
            .ok_or_else(|| {
                let Window { size, dilation, .. } = self;
                Error::value(
                    op,
                    format!("a window of {size} with dilation {dilation} exceeds the address space"),
                )
            })?;
        let pads = match padding {
            Padding::Valid => [0, 0],
            Padding::Same => {
                let windows = n.div_ceil(self.stride);
                let total =
                    (windows.max(1) - 1).saturating_mul(self.stride).saturating_add(reach).saturating_sub(n);
                if n == 0 { [0, 0] } else { [total / 2, total - total / 2] }
            }
            Padding::Explicit(pads) => pads[axis],
        };
        let padded = n.checked_add(pads[0]).and_then(|n| n.checked_add(pads[1])).ok_or_else(|| {
            Error::value(op, format!("a side of {n} with padding {pads:?} exceeds the address space"))
        })?;
        if padded < reach {
            if padding == Padding::Same {
                return Ok((pads, 0));
            }
            let name = ["height", "width"][axis];
            return Err(Error::shape(
                op,
                format!(
                    "a window with a {name} of {reach} does not fit an input of shape {}, whose {name} is {padded} \
                     (padding included); use padding=\"same\", a smaller window, or fewer pooling layers before",
                    show_shape(images)
                ),
            ));
        }
        Ok((pads, (padded - reach) / self.stride + 1))
    }
}

/// Refuses strides and dilations of 0 and windows of no elements.
pub(crate) fn check_positive(op: &'static str, name: &str, values: [usize; 2]) -> Result<()> {
    if values.contains(&0) {
        return Err(Error::value(op, format!("{name} {values:?} must be at least 1")));
    }
    Ok(())
}

/// The most elements that padding may make of a small image: kernels copy bands of padded images.
const MAX_PADDED: usize = 1 << 26;

/// Refuses padding (or the dilation that "same" padding is for) that makes a padded image of this height,
/// width and number of channels out of all proportion to the image.
fn check_padded(op: &'static str, images: &[usize], padded: [usize; 3]) -> Result<()> {
    let (len, image) = (checked_len(op, &padded)?, checked_len(op, &images[1..])?);
    if len > MAX_PADDED.max(image.saturating_mul(16)) {
        let message = format!(
            "padding makes images of {len} elements, {}, of those of shape {}; use a smaller padding or dilation",
            show_shape(&padded),
            show_shape(&images[1..])
        );
        return Err(Error::value(op, message));
    }
    Ok(())
}

/// The attributes that all three ops share. Padding is explicit here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    strides: [usize; 2],
    dilation: [usize; 2],
    padding: [[usize; 2]; 2],
    groups: usize,
}

impl Attributes {
    /// The attributes of a convolution of `x` with `kernel`, for `op`.
    pub(super) fn new(
        op: &'static str,
        x: &Tensor,
        kernel: &Tensor,
        strides: [usize; 2],
        padding: Padding,
        dilation: [usize; 2],
        groups: usize,
    ) -> Result<Attributes> {
        let (xs, ws) = (x.shape(), kernel.shape());
        let (&[_, _, _, channels], &[kernel_height, kernel_width, kernel_channels, filters]) = (xs, ws)
        else {
            return Err(Error::shape(
                op,
                format!(
                    "expected images of shape (batch, height, width, channels) and a kernel of shape (height, width, in, \
                     out), got {} and {}",
                    show_shape(xs),
                    show_shape(ws)
                ),
            ));
        };
        check_positive(op, "strides", strides)?;
        check_positive(op, "dilation", dilation)?;
        check_positive(op, "kernel size", [kernel_height, kernel_width])?;
        if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            let message = format!(
                "groups={groups} must divide both the {channels} input channels and the {filters} filters"
            );
            return Err(Error::value(op, message));
        }
        if kernel_channels != channels / groups {
            return Err(Error::shape(
                op,
                format!(
                    "the input of shape {} has {channels} channels in {groups} group(s), but the kernel of shape {} takes \
                     {kernel_channels} per group; check input_shape or the order of the axes (channels come last)",
                    show_shape(xs),
                    show_shape(ws)
                ),
            ));
        }
        let place = |axis: usize, size: usize| {
            Window { size, stride: strides[axis], dilation: dilation[axis] }.place(op, xs, padding, axis)
        };
        let (vertical, _) = place(0, kernel_height)?;
        let (horizontal, _) = place(1, kernel_width)?;
        let padding = [vertical, horizontal];
        let padded = |axis: usize| xs[1 + axis] + padding[axis][0] + padding[axis][1];
        check_padded(op, xs, [padded(0), padded(1), channels.max(filters)])?;
        // Beyond the padded image all strides are alike, and all dilations of a single tap.
        let strides = [0, 1].map(|axis| strides[axis].min(padded(axis).max(1)));
        let dilation = [0, 1].map(|axis| if ws[axis] == 1 { 1 } else { dilation[axis] });
        Ok(Attributes { strides, dilation, padding, groups })
    }

    /// The multiplications and additions of a convolution, those with padding too; of a gradient as many.
    pub(super) fn operations(&self, x: &[usize], w: &[usize]) -> usize {
        let g = self.geometry(x, w);
        let windows = g.batch * g.out_height * g.out_width;
        2 * windows * g.kernel_height * g.kernel_width * (g.in_channels / g.groups) * g.out_channels
    }

    /// The kernels' description for operands of these shapes, checked by [`conv2d`].
    pub(super) fn geometry(&self, x: &[usize], w: &[usize]) -> Geometry {
        let windows = |axis: usize| {
            let n = x[1 + axis] + self.padding[axis][0] + self.padding[axis][1];
            let reach = (w[axis] - 1) * self.dilation[axis] + 1;
            if n < reach { 0 } else { (n - reach) / self.strides[axis] + 1 }
        };
        Geometry {
            batch: x[0],
            in_height: x[1],
            in_width: x[2],
            in_channels: x[3],
            out_height: windows(0),
            out_width: windows(1),
            out_channels: w[3],
            kernel_height: w[0],
            kernel_width: w[1],
            strides: self.strides,
            dilation: self.dilation,
            padding: self.padding,
            groups: self.groups,
        }
    }
}

/// `y = conv(x, w)`.
#[derive(Debug)]
struct Conv2d(Attributes);

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let g = self.0.geometry(inputs[0].shape, inputs[1].shape);
        one(inputs[0].dtype, &[g.batch, g.out_height, g.out_width, g.out_channels])
    }

    fn operations(&self, inputs: &[SpecRef<'_>], _outputs: &[SpecRef<'_>]) -> usize {
        self.0.operations(inputs[0].shape, inputs[1].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.0.geometry(inputs[0].shape(), inputs[1].shape());
        with_float!("conv2d", inputs[0].dtype(), T => {
            conv::forward(&g, &inputs[0].contiguous::<T>()?, &inputs[1].contiguous()?, outputs[0].get()?)?;
        });
        Ok(())
    }

    fn then(&self, next: &dyn Op, inputs: &[SpecRef<'_>], others: &[SpecRef<'_>]) -> Option<Arc<dyn Op>> {
        let ([x, w], [bias]) = (inputs, others) else { return None };
        let fits = binary::is_add(next) && bias.shape == &w.shape[3..];
        (fits && self.0.geometry(x.shape, w.shape).takes_bias()).then(|| {
            Arc::new(BiasedConv2d { attributes: self.0, activation: Activation::Linear }) as Arc<dyn Op>
        })
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        gradients(self.0, context, context.grad()?)
    }
}

/// `y = activation(conv(x, w) + bias)`, the bias and activation in the convolution's own pass.
#[derive(Clone, Copy, Debug)]
struct BiasedConv2d {
    attributes: Attributes,
    activation: Activation,
}

impl Op for BiasedConv2d {
    fn name(&self) -> &'static str {
        "conv2d_bias"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        Conv2d(self.attributes).infer(inputs)
    }

    fn operations(&self, inputs: &[SpecRef<'_>], outputs: &[SpecRef<'_>]) -> usize {
        2 * outputs[0].len() + self.attributes.operations(inputs[0].shape, inputs[1].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.attributes.geometry(inputs[0].shape(), inputs[1].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (x, w) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous()?);
            let relu = self.activation == Activation::Relu;
            conv::forward_bias(&g, &x, &w, &inputs[2].contiguous()?, relu, outputs[0].get()?)?;
        });
        Ok(())
    }

    fn then(&self, next: &dyn Op, _inputs: &[SpecRef<'_>], _others: &[SpecRef<'_>]) -> Option<Arc<dyn Op>> {
        let fits = self.activation == Activation::Linear && unary::is_relu(next);
        fits.then(|| Arc::new(BiasedConv2d { activation: Activation::Relu, ..*self }) as Arc<dyn Op>)
    }

    fn saves(&self) -> Saves {
        if self.activation == Activation::Linear { Saves::INPUTS } else { Saves::ALL }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let y = if self.activation == Activation::Linear { None } else { Some(context.output(0)?) };
        let [g, bias] = activate::gradients(self.activation, y.as_ref(), context.grad()?, context.needs(2))?;
        let mut all = gradients(self.attributes, context, &g)?;
        all.push(Some(bias));
        Ok(all)
    }
}

/// The gradients with respect to x and w, the first two inputs of an op, from that of the convolution.
pub(super) fn gradients(attributes: Attributes, context: &Backward<'_>, dy: &Tensor) -> Result<Gradients> {
    let (x, w) = (Shape::from_slice(context.input_shape(0)), Shape::from_slice(context.input_shape(1)));
    Ok(Gradients::from_iter([
        context.when(0, || apply(Conv2dBackwardData { attributes, x }, &[dy, &context.input(1)?]))?,
        context.when(1, || apply(Conv2dBackwardWeights { attributes, w }, &[&context.input(0)?, dy]))?,
    ]))
}

/// `dx` from `dy` and `w`.
#[derive(Debug)]
struct Conv2dBackwardData {
    attributes: Attributes,
    x: Shape,
}

impl Op for Conv2dBackwardData {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.x)
    }

    fn operations(&self, inputs: &[SpecRef<'_>], _outputs: &[SpecRef<'_>]) -> usize {
        self.attributes.operations(&self.x, inputs[1].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.attributes.geometry(&self.x, inputs[1].shape());
        with_float!("conv2d", inputs[0].dtype(), T => {
            conv::backward_data(&g, &inputs[0].contiguous::<T>()?, &inputs[1].contiguous()?, outputs[0].get()?)?;
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = context.grad()?;
        let w = Shape::from_slice(context.input_shape(1));
        Ok(Gradients::from_iter([
            context.when(0, || apply(Conv2d(self.attributes), &[g, &context.input(1)?]))?,
            context.when(1, || {
                apply(Conv2dBackwardWeights { attributes: self.attributes, w }, &[g, &context.input(0)?])
            })?,
        ]))
    }
}

/// `dw` from `x` and `dy`.
#[derive(Debug)]
struct Conv2dBackwardWeights {
    attributes: Attributes,
    w: Shape,
}

impl Op for Conv2dBackwardWeights {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.w)
    }

    fn operations(&self, inputs: &[SpecRef<'_>], _outputs: &[SpecRef<'_>]) -> usize {
        self.attributes.operations(inputs[0].shape, &self.w)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.attributes.geometry(inputs[0].shape(), &self.w);
        with_float!("conv2d", inputs[0].dtype(), T => {
            conv::backward_weights(&g, &inputs[0].contiguous::<T>()?, &inputs[1].contiguous()?, outputs[0].get()?)?;
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = context.grad()?;
        let x = Shape::from_slice(context.input_shape(0));
        Ok(Gradients::from_iter([
            context.when(0, || {
                apply(Conv2dBackwardData { attributes: self.attributes, x }, &[&context.input(1)?, g])
            })?,
            context.when(1, || apply(Conv2d(self.attributes), &[&context.input(0)?, g]))?,
        ]))
    }
}

/// The convolution of images [n, h, w, c] with kernels [kh, kw, c / groups, filters]:
/// `y[n, i, j, f] = sum(x[n, i * sh + p * dh - top, j * sw + q * dw - left, k] * w[p, q, k, f])`.
///
/// # Errors
/// [`Error::Shape`] when the operands do not have four dimensions, their channels do not match, or
/// the window is larger than the image; [`Error::Value`] for strides, dilations or groups below 1.
pub fn conv2d(
    x: &Tensor,
    kernel: &Tensor,
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
) -> Result<Tensor> {
    let attributes = Attributes::new("conv2d", x, kernel, strides, padding, dilation, groups)?;
    let (x, kernel) = promote(x, kernel)?;
    let dtype = x.dtype().to_float();
    apply(Conv2d(attributes), &[&cast(&x, dtype)?, &cast(&kernel, dtype)?])
}

/// `activation(conv2d(x, kernel) + bias)` with one bias for each filter; the activation is "linear", "relu",
/// "tanh" or "sigmoid". The first two, and the bias, cost no pass over the memory.
///
/// # Errors
/// As [`conv2d`] and [`bias_activation`](crate::ops::bias_activation).
#[allow(clippy::too_many_arguments)]
pub fn conv2d_bias(
    x: &Tensor,
    kernel: &Tensor,
    bias: &Tensor,
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    activation: &str,
) -> Result<Tensor> {
    let op = "conv2d_bias";
    let attributes = Attributes::new(op, x, kernel, strides, padding, dilation, groups)?;
    let kind = activate::parse(op, activation)?;
    check_bias(op, kernel, bias)?;
    let fused = matches!(kind, Activation::Linear | Activation::Relu);
    if !fused || !attributes.geometry(x.shape(), kernel.shape()).takes_bias() {
        let y = conv2d(x, kernel, strides, padding, dilation, groups)?;
        return activate::bias_activation(&y, bias, activation);
    }
    let [x, kernel, bias] = activate::operands(x, kernel, bias)?;
    apply(BiasedConv2d { attributes, activation: kind }, &[&x, &kernel, &bias])
}

/// Refuses a bias that has not one value for each filter of a checked kernel.
pub(super) fn check_bias(op: &'static str, kernel: &Tensor, bias: &Tensor) -> Result<()> {
    if bias.shape() == &kernel.shape()[3..] {
        return Ok(());
    }
    let message = format!(
        "the bias has shape {} but the kernel has shape {}; it needs one value for each filter",
        bias.show_shape(),
        kernel.show_shape()
    );
    Err(Error::shape(op, message))
}
