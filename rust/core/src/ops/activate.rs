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
        let y = if self.0 == Activation::Linear { None } else { Some(context.output(0)?) };
        Ok(gradients(self.0, y.as_ref(), context.grad()?, context.needs(1))?.map(Some).into_iter().collect())
    }
}

/// The gradients with respect to x and bias of `y = activation(x + bias)`, from that of y; the one for the
/// bias may have y's shape, which the tape sums. A linear activation needs no y.
pub(crate) fn gradients(
    activation: Activation,
    y: Option<&Tensor>,
    dy: &Tensor,
    needs_bias: bool,
) -> Result<[Tensor; 2]> {
    let name = match activation {
        Activation::Linear => return Ok([dy.clone(), dy.clone()]),
        Activation::Relu => "relu",
        Activation::Tanh => "tanh",
        Activation::Sigmoid => "sigmoid",
    };
    let y = y.ok_or_else(|| Error::internal("the gradient of an activation needs its output"))?;
    if autograd::is_recording() || !needs_bias {
        // By ops that can themselves be differentiated; or without the sums.
        let dz = unary::gradient_of_output(name, y, dy)?;
        return Ok([dz.clone(), dz]);
    }
    let mut both = apply_all(BiasActivationBackward(activation), &[y, dy])?.into_iter();
    match (both.next(), both.next()) {
        (Some(dz), Some(dbias)) => Ok([dz, dbias]),
        _ => Err(Error::internal("the gradient of bias_activation has two outputs")),
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
    let kind = parse("bias_activation", activation)?;
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

/// The activation of that name, for `op`.
///
/// # Errors
/// [`Error::Value`] for another name.
pub(crate) fn parse(op: &'static str, activation: &str) -> Result<Activation> {
    match activation {
        "linear" => Ok(Activation::Linear),
        "relu" => Ok(Activation::Relu),
        "tanh" => Ok(Activation::Tanh),
        "sigmoid" => Ok(Activation::Sigmoid),
        _ => {
            let message = format!("activation '{activation}' must be 'linear', 'relu', 'tanh' or 'sigmoid'");
            Err(Error::value(op, message))
        }
    }
}

/// A layer's input, weights and bias in their common float dtype.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn operands(x: &Tensor, weights: &Tensor, bias: &Tensor) -> Result<[Tensor; 3]> {
    let (x, weights) = promote(x, weights)?;
    let (x, bias) = promote(&x, bias)?;
    let dtype = x.dtype().to_float();
    Ok([cast(&x, dtype)?, cast(&weights, dtype)?, cast(&bias, dtype)?])
}
