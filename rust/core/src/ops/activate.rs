//! A layer's bias and activation in one pass.

use autodan_kernels::activate::{self, Activation};

use crate::autograd;
use crate::error::{Error, Result};
use crate::op::{Backward, Gradients, Op, Saves, Spec, SpecRef, Specs, apply, apply_all, one};
use crate::ops::binary::promote;
use crate::ops::{cast, unary};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// `activation(x + bias)`, channels last.
#[derive(Debug)]
struct BiasActivation(Activation);

impl Op for BiasActivation {
    fn name(&self) -> &'static str {
        "bias_activation"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (x, bias) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous::<T>()?);
            activate::bias_activation(self.0, &x, &bias, outputs[0].get()?)?;
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        // The sum's gradient is the output's own.
        if self.0 == Activation::Linear { Saves::NOTHING } else { Saves::OUTPUTS }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let dy = context.grad()?;
        let name = match self.0 {
            // The tape sums it to the bias's shape.
            Activation::Linear => return Ok(Gradients::from_iter([Some(dy.clone()), Some(dy.clone())])),
            Activation::Relu => "relu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        };
        let y = context.output(0)?;
        if autograd::is_recording() || !context.needs(1) {
            // By ops that can themselves be differentiated; or without the sums.
            let dz = unary::gradient_of_output(name, &y, dy)?;
            return Ok(Gradients::from_iter([Some(dz.clone()), Some(dz)]));
        }
        Ok(apply_all(BiasActivationBackward(self.0), &[&y, dy])?.into_iter().map(Some).collect())
    }
}

/// The gradients with respect to x and bias, from y and dy.
#[derive(Debug)]
struct BiasActivationBackward(Activation);

impl Op for BiasActivationBackward {
    fn name(&self) -> &'static str {
        "bias_activation"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let SpecRef { dtype, shape } = inputs[0];
        let channels = &shape[shape.len() - 1..];
        Ok(Specs::from_iter([Spec::new(dtype, shape), Spec::new(dtype, channels)]))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let [dz, dbias] = outputs else {
            return Err(Error::internal("the gradient of bias_activation has two outputs"));
        };
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (y, dy) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous::<T>()?);
            activate::bias_activation_backward(self.0, &y, &dy, dz.get()?, dbias.get()?)?;
        });
        Ok(())
    }
}

/// `activation(x + bias)` with one bias for each element of the last axis, in one pass; so is the gradient
/// with respect to both. The activation is "linear", "relu", "tanh" or "sigmoid".
///
/// # Errors
/// [`Error::Shape`] unless the bias has one value for each channel, [`Error::Value`] for another
/// activation, [`Error::Memory`].
pub fn bias_activation(x: &Tensor, bias: &Tensor, activation: &str) -> Result<Tensor> {
    let kind = match activation {
        "linear" => Activation::Linear,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        _ => {
            let message = format!("activation '{activation}' must be 'linear', 'relu', 'tanh' or 'sigmoid'");
            return Err(Error::value("bias_activation", message));
        }
    };
    if x.ndim() == 0 || bias.shape() != &x.shape()[x.ndim() - 1..] {
        let message = format!(
            "the bias has shape {} but the input has shape {}; it needs one value for each element of the last axis",
            bias.show_shape(),
            x.show_shape()
        );
        return Err(Error::shape("bias_activation", message));
    }
    let (x, bias) = promote(x, bias)?;
    let dtype = x.dtype().to_float();
    apply(BiasActivation(kind), &[&cast(&x, dtype)?, &cast(&bias, dtype)?])
}
