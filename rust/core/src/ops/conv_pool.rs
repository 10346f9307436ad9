//! A convolution layer and the pooling after it in one pass.
//!
//! The layer's output, four times as large as the result, never exists: see `autodan_kernels::conv`.

use autodan_kernels::conv;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::{Backward, Gradients, Op, Saves, Spec, SpecRef, Specs, apply_all};
use crate::ops::activate;
use crate::ops::conv::{Attributes, Padding, check_bias, gradients};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

const NAME: &str = "conv2d_max_pool";

/// Inputs x, w and bias; outputs the result, and for each window which element was the maximum.
#[derive(Debug)]
struct ConvPool {
    attributes: Attributes,
    relu: bool,
}

impl Op for ConvPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let g = self.attributes.geometry(inputs[0].shape, inputs[1].shape);
        let shape = [g.batch, g.out_height / 2, g.out_width / 2, g.out_channels];
        Ok(Specs::from_iter([Spec::new(inputs[0].dtype, &shape), Spec::new(DType::UInt8, &shape)]))
    }

    fn operations(&self, inputs: &[SpecRef<'_>], outputs: &[SpecRef<'_>]) -> usize {
        6 * outputs[0].len() + self.attributes.operations(inputs[0].shape, inputs[1].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let [y, places] = outputs else {
            return Err(Error::internal("conv2d_max_pool has two outputs"));
        };
        let g = self.attributes.geometry(inputs[0].shape(), inputs[1].shape());
        with_float!(NAME, inputs[0].dtype(), T => {
            let (x, w, bias) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous()?, inputs[2].contiguous()?);
            conv::forward_pooled(&g, self.relu, &x, &w, &bias, y.get()?, places.get()?)?;
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b11, outputs: 0b10 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (x, w) = (Shape::from_slice(context.input_shape(0)), Shape::from_slice(context.input_shape(1)));
        let (attributes, places) = (self.attributes, context.output(1)?.detach());
        if !context.needs(0) && attributes.geometry(&x, &w).routes_gradients() {
            let backward = ConvPoolBackwardWeights { attributes, w };
            let outputs = apply_all(backward, &[&context.input(0)?, context.grad()?, &places])?;
            return Ok(std::iter::once(None).chain(outputs.into_iter().map(Some)).collect());
        }
        let outputs = apply_all(ConvPoolBackward { attributes, x, w }, &[context.grad()?, &places])?;
        let [dz, dbias] = &outputs[..] else {
            return Err(Error::internal("the gradient of conv2d_max_pool has two outputs"));
        };
        let mut all = gradients(self.attributes, context, dz)?;
        all.push(Some(dbias.clone()));
        Ok(all)
    }
}

/// The gradients with respect to the convolution's output and the bias, from that of the result and the
/// places of the maxima.
#[derive(Debug)]
struct ConvPoolBackward {
    attributes: Attributes,
    x: Shape,
    w: Shape,
}

impl Op for ConvPoolBackward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let (dtype, g) = (inputs[0].dtype, self.attributes.geometry(&self.x, &self.w));
        let dz = Spec::new(dtype, &[g.batch, g.out_height, g.out_width, g.out_channels]);
        Ok(Specs::from_iter([dz, Spec::new(dtype, &[g.out_channels])]))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let [dz, dbias] = outputs else {
            return Err(Error::internal("the gradient of conv2d_max_pool has two outputs"));
        };
        let g = self.attributes.geometry(&self.x, &self.w);
        with_float!(NAME, inputs[0].dtype(), T => {
            let (dy, places) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous()?);
            conv::pooled_backward(&g, &dy, &places, dz.get()?, dbias.get()?)?;
        });
        Ok(())
    }

    fn vjp(&self, _context: &Backward<'_>) -> Result<Gradients> {
        Err(Error::Gradient(format!("{NAME}: second derivatives are not available")))
    }
}

/// The gradients with respect to the weights and the bias, from the images, the gradient of the result and the
/// places of the maxima.
#[derive(Debug)]
struct ConvPoolBackwardWeights {
    attributes: Attributes,
    w: Shape,
}

impl Op for ConvPoolBackwardWeights {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let dtype = inputs[0].dtype;
        Ok(Specs::from_iter([Spec::new(dtype, &self.w), Spec::new(dtype, &self.w[3..])]))
    }

    fn operations(&self, inputs: &[SpecRef<'_>], _outputs: &[SpecRef<'_>]) -> usize {
        // One pixel of each window has a gradient.
        self.attributes.operations(inputs[0].shape, &self.w) / 4
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let [dw, dbias] = outputs else {
            return Err(Error::internal("the gradient of conv2d_max_pool has two outputs"));
        };
        let g = self.attributes.geometry(inputs[0].shape(), &self.w);
        with_float!(NAME, inputs[0].dtype(), T => {
            let (x, dy, places) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous()?, inputs[2].contiguous()?);
            conv::pooled_backward_weights(&g, &x, &dy, &places, dw.get()?, dbias.get()?)?;
        });
        Ok(())
    }

    fn vjp(&self, _context: &Backward<'_>) -> Result<Gradients> {
        Err(Error::Gradient(format!("{NAME}: second derivatives are not available")))
    }
}

/// The largest element of each 2 x 2 window of `activation(conv2d(x, kernel) + bias)`, as
/// [`crate::ops::bias_activation`] and [`crate::ops::max_pool2d`] have it, in one pass. An odd last row or
/// column is in no window. The activation is "linear" or "relu".
///
/// # Errors
/// As [`crate::ops::conv2d`]; [`Error::Shape`] unless the bias has one value for each filter and there is a
/// window, [`Error::Value`] for another activation, [`Error::Memory`].
#[allow(clippy::too_many_arguments)]
pub fn conv2d_max_pool(
    x: &Tensor,
    kernel: &Tensor,
    bias: &Tensor,
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    activation: &str,
) -> Result<Tensor> {
    let relu = match activation {
        "linear" => false,
        "relu" => true,
        _ => {
            let message = format!("activation '{activation}' must be 'linear' or 'relu'");
            return Err(Error::value(NAME, message));
        }
    };
    let attributes = Attributes::new(NAME, x, kernel, strides, padding, dilation, groups)?;
    let g = attributes.geometry(x.shape(), kernel.shape());
    check_bias(NAME, kernel, bias)?;
    if g.out_height < 2 || g.out_width < 2 {
        let message = format!(
            "the input of shape {} gives a convolution of {} x {} pixels, too few for a window of 2 x 2; use \
             padding=\"same\", or fewer pooling layers before",
            x.show_shape(),
            g.out_height,
            g.out_width
        );
        return Err(Error::shape(NAME, message));
    }
    let [x, kernel, bias] = activate::operands(x, kernel, bias)?;
    let mut outputs = apply_all(ConvPool { attributes, relu }, &[&x, &kernel, &bias])?;
    outputs.truncate(1);
    outputs.pop().ok_or_else(|| Error::internal("conv2d_max_pool has two outputs"))
}
