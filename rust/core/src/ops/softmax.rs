//! Softmax and the cross-entropies, each gradient in one stable pass.

use autodan_kernels::softmax as kernels;

use crate::dtype::DType;
use crate::error::{Error, Result, show_shape};
use crate::layout::normalize_axis;
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::reduce::inner;
use crate::ops::{cast, exp, expand_dims, multiply, negative, one_hot, squeeze, subtract, sum, swapaxes};
use crate::storage::{Contiguous, In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// The last side: the number of classes.
fn classes(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}

/// Softmax over the last axis, or its logarithm.
#[derive(Clone, Copy, Debug)]
enum Softmax {
    Plain,
    Log,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        match self {
            Softmax::Plain => "softmax",
            Softmax::Log => "log_softmax",
        }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let cols = classes(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (x, y) = (inputs[0].contiguous::<T>()?, outputs[0].get()?);
            match self {
                Softmax::Plain => kernels::softmax(&x, cols, y),
                Softmax::Log => kernels::log_softmax(&x, cols, y),
            }
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let dx = apply(SoftmaxBackward(*self), &[&context.output(0)?, context.grad()?])?;
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// From the output and its gradient: `y * (dy - sum(y * dy))`, and for the logarithm
/// `dy - exp(y) * sum(dy)`.
#[derive(Debug)]
struct SoftmaxBackward(Softmax);

impl Op for SoftmaxBackward {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let cols = classes(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (y, dy) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous::<T>()?);
            match self.0 {
                Softmax::Plain => kernels::softmax_backward(&y, &dy, cols, outputs[0].get()?),
                Softmax::Log => kernels::log_softmax_backward(&y, &dy, cols, outputs[0].get()?),
            }
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (y, dy, g) = (context.input(0)?, context.input(1)?, context.grad()?);
        Ok(match self.0 {
            Softmax::Plain => Gradients::from_iter([
                context.when(0, || {
                    let direct = multiply(g, &subtract(&dy, &inner(&y, &dy)?)?)?;
                    subtract(&direct, &multiply(&dy, &inner(g, &y)?)?)
                })?,
                context.when(1, || apply(SoftmaxBackward(self.0), &[&y, g]))?,
            ]),
            Softmax::Log => {
                let p = exp(&y)?;
                Gradients::from_iter([
                    context
                        .when(0, || negative(&multiply(&multiply(g, &p)?, &sum(&dy, Some(&[-1]), true)?)?))?,
                    context.when(1, || subtract(g, &inner(g, &p)?))?,
                ])
            }
        })
    }
}

fn along(op: Softmax, x: &Tensor, axis: isize) -> Result<Tensor> {
    let x = cast(x, x.dtype().to_float())?;
    if x.ndim() == 0 {
        return Err(Error::shape(op.name(), "a scalar has no axis to normalise over; reshape it to (1,)"));
    }
    let axis = normalize_axis(op.name(), axis, x.ndim())? as isize;
    swapaxes(&apply(op, &[&swapaxes(&x, axis, -1)?])?, axis, -1)
}

/// `exp(x) / sum(exp(x))` along `axis`, without overflow.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Shape`] for a scalar.
pub fn softmax(x: &Tensor, axis: isize) -> Result<Tensor> {
    along(Softmax::Plain, x, axis)
}

/// `x - log(sum(exp(x)))` along `axis`, without overflow.
///
/// # Errors
/// As [`softmax`].
pub fn log_softmax(x: &Tensor, axis: isize) -> Result<Tensor> {
    along(Softmax::Log, x, axis)
}

/// Integer labels (int64), each checked to be a class.
fn checked_labels<'a>(labels: &In<'a>, classes: usize) -> Result<Contiguous<'a, i64>> {
    let labels = labels.contiguous::<i64>()?;
    match labels.iter().position(|label| !(0..classes as i64).contains(label)) {
        None => Ok(labels),
        Some(position) => Err(Error::value(
            "sparse_softmax_cross_entropy",
            format!(
                "label {} (at position {position}) is not a class: with {classes} classes labels run from 0 to {}; \
                 check the labels or the number of units of the last layer",
                labels[position],
                classes as i64 - 1
            ),
        )),
    }
}

/// `-log(softmax(logits)[label])` for each row.
#[derive(Debug)]
struct SparseCrossEntropy;

impl Op for SparseCrossEntropy {
    fn name(&self) -> &'static str {
        "sparse_softmax_cross_entropy"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let (logits, labels) = (inputs[0].shape, inputs[1].shape);
        if logits.is_empty() || logits[..logits.len() - 1] != *labels {
            return Err(Error::shape(
                self.name(),
                format!(
                    "labels of shape {} do not fit logits of shape {}: there is one integer label for each row; for \
                     one-hot targets use softmax_cross_entropy",
                    show_shape(labels),
                    show_shape(logits)
                ),
            ));
        }
        one(inputs[0].dtype, labels)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let cols = classes(inputs[0].shape());
        let labels = checked_labels(&inputs[1], cols)?;
        with_float!(self.name(), inputs[0].dtype(), T => {
            kernels::sparse_cross_entropy(&inputs[0].contiguous::<T>()?, &labels, cols, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let inputs = [&context.input(0)?, &context.input(1)?, context.grad()?];
        Ok(Gradients::from_iter([Some(apply(SparseCrossEntropyBackward, &inputs)?), None]))
    }
}

/// `(softmax(logits) - one_hot(label)) * dloss`.
#[derive(Debug)]
struct SparseCrossEntropyBackward;

impl Op for SparseCrossEntropyBackward {
    fn name(&self) -> &'static str {
        "sparse_softmax_cross_entropy"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let cols = classes(inputs[0].shape());
        let labels = checked_labels(&inputs[1], cols)?;
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (logits, dloss) = (inputs[0].contiguous::<T>()?, inputs[2].contiguous::<T>()?);
            kernels::sparse_cross_entropy_backward(&logits, &labels, &dloss, cols, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (logits, labels, dloss) = (context.input(0)?, context.input(1)?, context.input(2)?);
        let g = context.grad()?;
        let p = softmax(&logits, -1)?;
        Ok(Gradients::from_iter([
            context.when(0, || {
                multiply(&apply(SoftmaxBackward(Softmax::Plain), &[&p, g])?, &expand_dims(&dloss, -1)?)
            })?,
            None,
            context.when(2, || {
                let targets = one_hot(&labels, classes(logits.shape()), -1, logits.dtype())?;
                squeeze(&inner(g, &subtract(&p, &targets)?)?, Some(&[-1]))
            })?,
        ]))
    }
}

/// The cross-entropy of each row's softmax with an integer label: `-log(softmax(logits)[label])`.
///
/// # Errors
/// [`Error::Shape`] unless there is one label for each row, [`Error::Value`] for a label that is
/// not a class, [`Error::DType`] unless the labels are integers.
pub fn sparse_softmax_cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let op = "sparse_softmax_cross_entropy";
    if !labels.dtype().is_integer() {
        return Err(Error::dtype(op, labels.dtype(), "integer labels"));
    }
    let logits = cast(logits, logits.dtype().to_float())?;
    apply(SparseCrossEntropy, &[&logits, &cast(labels, DType::Int64)?])
}

/// `-sum(targets * log_softmax(logits))` for each row.
#[derive(Debug)]
struct CrossEntropy;

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let (logits, targets) = (inputs[0].shape, inputs[1].shape);
        if logits.is_empty() || logits != targets {
            return Err(Error::shape(
                self.name(),
                format!(
                    "targets of shape {} do not fit logits of shape {}: there is one probability for each class; for \
                     integer labels use sparse_softmax_cross_entropy",
                    show_shape(targets),
                    show_shape(logits)
                ),
            ));
        }
        one(inputs[0].dtype, &logits[..logits.len() - 1])
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let cols = classes(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (logits, targets) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous::<T>()?);
            kernels::cross_entropy(&logits, &targets, cols, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (logits, targets, g) = (context.input(0)?, context.input(1)?, context.grad()?);
        Ok(Gradients::from_iter([
            context.when(0, || apply(CrossEntropyBackward, &[&logits, &targets, g]))?,
            context.when(1, || negative(&multiply(&log_softmax(&logits, -1)?, &expand_dims(g, -1)?)?))?,
        ]))
    }
}

/// `(softmax(logits) * sum(targets) - targets) * dloss`.
#[derive(Debug)]
struct CrossEntropyBackward;

impl Op for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let cols = classes(inputs[0].shape());
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (logits, targets) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous::<T>()?);
            let dloss = inputs[2].contiguous::<T>()?;
            kernels::cross_entropy_backward(&logits, &targets, &dloss, cols, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (logits, targets, g) = (context.input(0)?, context.input(1)?, context.grad()?);
        let dloss = expand_dims(&context.input(2)?, -1)?;
        let p = softmax(&logits, -1)?;
        let total = sum(&targets, Some(&[-1]), true)?;
        Ok(Gradients::from_iter([
            context.when(0, || {
                let curvature = apply(SoftmaxBackward(Softmax::Plain), &[&p, g])?;
                multiply(&curvature, &multiply(&total, &dloss)?)
            })?,
            context.when(1, || multiply(&subtract(&inner(g, &p)?, g)?, &dloss))?,
            context
                .when(2, || squeeze(&inner(g, &subtract(&multiply(&p, &total)?, &targets)?)?, Some(&[-1])))?,
        ]))
    }
}

/// The cross-entropy of each row's softmax with a distribution: `-sum(targets * log_softmax(logits))`.
///
/// # Errors
/// [`Error::Shape`] unless the shapes are equal.
pub fn softmax_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let dtype = logits.dtype().promote(targets.dtype()).to_float();
    apply(CrossEntropy, &[&cast(logits, dtype)?, &cast(targets, dtype)?])
}
