//! Batch normalization with the statistics of the batch.

use autodan_kernels::norm as kernels;

use crate::error::{Error, Result};
use crate::layout::normalize_axis;
use crate::op::{Backward, Gradients, Op, Saves, Spec, SpecRef, Specs, apply_all};
use crate::ops::{cast, swapaxes};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// Inputs x (channels last) and, as the flags say, gamma and beta; outputs y, mean and biased
/// variance.
#[derive(Clone, Copy, Debug)]
struct BatchNorm {
    epsilon: f64,
    scale: bool,
    center: bool,
}

fn channels(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let Spec { dtype, shape } = Spec::new(inputs[0].dtype, inputs[0].shape);
        let statistic = Spec::new(dtype, &[channels(&shape)]);
        Ok(Specs::from_iter([Spec { dtype, shape }, statistic.clone(), statistic]))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let [y, mean, variance] = outputs else {
            return Err(Error::internal("batch_norm has three outputs"));
        };
        with_float!("batch_norm", inputs[0].dtype(), T => {
            let x = inputs[0].contiguous::<T>()?;
            let gamma = if self.scale { Some(inputs[1].contiguous::<T>()?) } else { None };
            let beta = if self.center { Some(inputs[1 + usize::from(self.scale)].contiguous::<T>()?) } else { None };
            kernels::batch_norm(
                &x,
                channels(inputs[0].shape()),
                gamma.as_deref(),
                beta.as_deref(),
                self.epsilon,
                y.get()?,
                mean.get()?,
                variance.get()?,
            )?;
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b11, outputs: 0b110 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (x, mean, variance) = (context.input(0)?, context.output(1)?, context.output(2)?);
        let gamma = if self.scale { Some(context.input(1)?) } else { None };
        let mut inputs = vec![&x, context.grad()?, &mean, &variance];
        inputs.extend(&gamma);
        let mut outputs = apply_all(BatchNormBackward(*self), &inputs)?.into_iter().map(Some);
        let (dx, dgamma, dbeta) = (outputs.next(), outputs.next(), outputs.next());
        let mut gradients = Gradients::from_iter(dx);
        gradients.extend(dgamma.filter(|_| self.scale));
        gradients.extend(dbeta.filter(|_| self.center));
        Ok(gradients)
    }
}

/// Inputs x, dy, mean, variance and gamma if there is one; outputs dx, dgamma and dbeta.
#[derive(Debug)]
struct BatchNormBackward(BatchNorm);

impl Op for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        self.0.infer(inputs)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let [dx, dgamma, dbeta] = outputs else {
            return Err(Error::internal("the gradient of batch_norm has three outputs"));
        };
        with_float!("batch_norm", inputs[0].dtype(), T => {
            let gamma = inputs.get(4).map(|gamma| gamma.contiguous::<T>()).transpose()?;
            kernels::batch_norm_backward(
                &inputs[0].contiguous::<T>()?,
                &inputs[1].contiguous::<T>()?,
                channels(inputs[0].shape()),
                gamma.as_deref(),
                &inputs[2].contiguous::<T>()?,
                &inputs[3].contiguous::<T>()?,
                self.0.epsilon,
                dx.get()?,
                dgamma.get()?,
                dbeta.get()?,
            )?;
        });
        Ok(())
    }

    fn vjp(&self, _context: &Backward<'_>) -> Result<Gradients> {
        Err(Error::Gradient("batch_norm: second derivatives are not available".into()))
    }
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` with the mean and the (biased) variance of
/// `x` over every axis but `axis`; returns the result, the mean and the variance. Gradients flow through
/// the first only (Ioffe and Szegedy 2015).
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Shape`] unless gamma and beta have
/// one value for each channel, [`Error::Value`] for a negative epsilon.
pub fn batch_norm(
    x: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    axis: isize,
    epsilon: f64,
) -> Result<[Tensor; 3]> {
    let axis = normalize_axis("batch_norm", axis, x.ndim())? as isize;
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(Error::value("batch_norm", format!("epsilon={epsilon} must be a number of at least 0")));
    }
    let x = cast(x, x.dtype().to_float())?;
    let last = swapaxes(&x, axis, -1)?;
    let count = channels(last.shape());
    let mut parameters = Vec::new();
    for (name, parameter) in [("gamma", gamma), ("beta", beta)] {
        if let Some(parameter) = parameter {
            if parameter.shape() != [count] {
                let message = format!(
                    "{name} has shape {} but axis {axis} of the input of shape {} has {count} channels",
                    parameter.show_shape(),
                    x.show_shape()
                );
                return Err(Error::shape("batch_norm", message));
            }
            parameters.push(cast(parameter, x.dtype())?);
        }
    }
    let op = BatchNorm { epsilon, scale: gamma.is_some(), center: beta.is_some() };
    let inputs: Vec<&Tensor> = std::iter::once(&last).chain(&parameters).collect();
    let outputs = apply_all(op, &inputs)?;
    let [y, mean, variance] = &outputs[..] else {
        return Err(Error::internal("batch_norm has three outputs"));
    };
    Ok([swapaxes(y, axis, -1)?, mean.detach(), variance.detach()])
}
