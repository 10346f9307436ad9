//! Max and average pooling over windows of images [batch, height, width, channels].

use autodan_kernels::pool::{self, Pool2d};

use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::cast;
use crate::ops::conv::{Padding, Window, check_positive};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// Pads and windows of both pooling ops, for inputs of checked shapes.
#[derive(Clone, Copy, Debug)]
struct Attributes {
    window: [usize; 2],
    strides: [usize; 2],
    padding: [[usize; 2]; 2],
    output: [usize; 2],
}

impl Attributes {
    fn new(
        op: &'static str,
        x: &Tensor,
        window: [usize; 2],
        strides: [usize; 2],
        padding: Padding,
    ) -> Result<Attributes> {
        if x.ndim() != 4 {
            let message =
                format!("expected images of shape (batch, height, width, channels), got {}", x.show_shape());
            return Err(Error::shape(op, message));
        }
        check_positive(op, "pool_size", window)?;
        check_positive(op, "strides", strides)?;
        if let Padding::Explicit(pads) = padding
            && (0..2).any(|axis| pads[axis].iter().any(|&pad| pad >= window[axis]))
        {
            return Err(Error::value(
                op,
                format!("padding {pads:?} must be smaller than the window {window:?}"),
            ));
        }
        let place = |axis: usize| {
            Window { size: window[axis], stride: strides[axis], dilation: 1 }.place(
                op,
                x.shape(),
                padding,
                axis,
            )
        };
        let (vertical, rows) = place(0)?;
        let (horizontal, columns) = place(1)?;
        Ok(Attributes { window, strides, padding: [vertical, horizontal], output: [rows, columns] })
    }

    fn geometry(&self, x: &[usize]) -> Pool2d {
        Pool2d {
            batch: x[0],
            in_height: x[1],
            in_width: x[2],
            channels: x[3],
            out_height: self.output[0],
            out_width: self.output[1],
            window: self.window,
            strides: self.strides,
            padding: self.padding,
        }
    }

    fn output_shape(&self, x: &[usize]) -> [usize; 4] {
        [x[0], self.output[0], self.output[1], x[3]]
    }
}

/// The largest element of each window.
#[derive(Debug)]
struct MaxPool(Attributes);

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.0.output_shape(inputs[0].shape))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.0.geometry(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            pool::max_forward(&g, &inputs[0].contiguous::<T>()?, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let dx = apply(MaxPoolBackward(self.0), &[&context.input(0)?, context.grad()?])?;
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// Each window's gradient at the place of its (first) largest element.
#[derive(Debug)]
struct MaxPoolBackward(Attributes);

impl Op for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.0.geometry(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            pool::max_backward(&g, &inputs[0].contiguous::<T>()?, &inputs[1].contiguous()?, outputs[0].get()?);
        });
        Ok(())
    }

    fn vjp(&self, _context: &Backward<'_>) -> Result<Gradients> {
        Err(Error::Gradient("max_pool2d: second derivatives are not available".into()))
    }
}

/// The mean of each window's elements, padding not counted.
#[derive(Debug)]
struct AveragePool(Attributes);

impl Op for AveragePool {
    fn name(&self) -> &'static str {
        "average_pool2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.0.output_shape(inputs[0].shape))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.0.geometry(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            pool::average_forward(&g, &inputs[0].contiguous::<T>()?, outputs[0].get()?);
        });
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let x = Shape::from_slice(context.input_shape(0));
        let dx = apply(AveragePoolBackward { attributes: self.0, x }, &[context.grad()?])?;
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// Each window's gradient shared among its elements.
#[derive(Debug)]
struct AveragePoolBackward {
    attributes: Attributes,
    x: Shape,
}

impl Op for AveragePoolBackward {
    fn name(&self) -> &'static str {
        "average_pool2d"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.x)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let g = self.attributes.geometry(&self.x);
        with_float!(self.name(), inputs[0].dtype(), T => {
            pool::average_backward(&g, &inputs[0].contiguous::<T>()?, outputs[0].get()?);
        });
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        Ok(Gradients::from_iter([Some(apply(AveragePool(self.attributes), &[context.grad()?])?)]))
    }
}

/// The largest element of each window; padding never wins, NaN does. The gradient goes to the first of
/// equal elements in row-major order.
///
/// # Errors
/// [`Error::Shape`] for other than four dimensions or a window larger than the image,
/// [`Error::Value`] for windows or strides below 1.
pub fn max_pool2d(
    x: &Tensor,
    pool_size: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
) -> Result<Tensor> {
    let attributes = Attributes::new("max_pool2d", x, pool_size, strides, padding)?;
    apply(MaxPool(attributes), &[&cast(x, x.dtype().to_float())?])
}

/// The mean of each window's elements, padding not counted.
///
/// # Errors
/// As [`max_pool2d`].
pub fn average_pool2d(
    x: &Tensor,
    pool_size: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
) -> Result<Tensor> {
    let attributes = Attributes::new("average_pool2d", x, pool_size, strides, padding)?;
    apply(AveragePool(attributes), &[&cast(x, x.dtype().to_float())?])
}
