//! Matrix products.

use std::sync::Arc;

use autodan_kernels::activate::Activation;
use autodan_kernels::gemm::{Matrix, gemm_batched, gemm_bias, matmul_integer};

use crate::error::{Error, Result, show_shape};
use crate::layout::{Layout, Shape, broadcast_shapes};
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::binary::{self, promote};
use crate::ops::{activate, reshape, swapaxes, unary};
use crate::storage::{In, Out, Stored};
use crate::tensor::Tensor;
use crate::with_float;

/// The products of two stacks of matrices, whose leading axes broadcast.
#[derive(Debug)]
struct Matmul;

/// Whether an op is a product without anything else.
pub(crate) fn is_matmul(op: &dyn Op) -> bool {
    (op as &dyn std::any::Any).is::<Matmul>()
}

/// The shape of the stack, or `None` when the leading axes do not broadcast.
fn stack_shape(a: &[usize], b: &[usize]) -> Option<Shape> {
    broadcast_shapes(&a[..a.len() - 2], &b[..b.len() - 2])
}

/// One operand of a stack of products: where each of its matrices lies.
struct Operand<'a, T> {
    elements: &'a [T],
    layout: Layout,
}

impl<'a, T: Stored> Operand<'a, T> {
    fn new(input: &In<'a>, stack: &[usize]) -> Result<Operand<'a, T>> {
        let mut shape = Shape::from_slice(stack);
        shape.extend_from_slice(&input.shape()[input.shape().len() - 2..]);
        Ok(Operand { elements: input.storage::<T>()?, layout: input.layout().broadcast_to(&shape) })
    }

    fn matrix(&self, mut index: usize) -> Matrix<'a, T> {
        let (shape, strides) = (self.layout.shape(), self.layout.strides());
        let stack = shape.len() - 2;
        let mut offset = self.layout.offset() as isize;
        for axis in (0..stack).rev() {
            offset += (index % shape[axis]) as isize * strides[axis];
            index /= shape[axis];
        }
        let (rows, cols) = (shape[stack], shape[stack + 1]);
        Matrix::new(self.elements, offset as usize, rows, cols, strides[stack], strides[stack + 1])
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let (a, b) = (inputs[0].shape, inputs[1].shape);
        let (inner_a, inner_b) = (a[a.len() - 1], b[b.len() - 2]);
        let error = |why: String| {
            Error::shape(
                "matmul",
                format!("shapes {} and {} do not match: {why}", show_shape(a), show_shape(b)),
            )
        };
        if inner_a != inner_b {
            return Err(error(format!(
                "the last side of the first ({inner_a}) must equal the second to last of the second ({inner_b}); \
                 transpose one of them?"
            )));
        }
        let mut shape =
            stack_shape(a, b).ok_or_else(|| error("the leading sides do not broadcast".into()))?;
        shape.extend([a[a.len() - 2], b[b.len() - 1]]);
        one(inputs[0].dtype, &shape)
    }

    fn operations(&self, inputs: &[SpecRef<'_>], outputs: &[SpecRef<'_>]) -> usize {
        2 * outputs[0].len() * inputs[0].shape.last().unwrap_or(&0)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let stack = stack_shape(inputs[0].shape(), inputs[1].shape())
            .ok_or_else(|| Error::internal("an unchecked matmul"))?;
        let batch = stack.iter().product();
        crate::with_number!("matmul", inputs[0].dtype(), T => {
            let (a, b) = (Operand::<T>::new(&inputs[0], &stack)?, Operand::<T>::new(&inputs[1], &stack)?);
            let (a, b) = (|i| a.matrix(i), |i| b.matrix(i));
            Product::product(batch, &a, &b, outputs[0].get::<T>()?)
        })
    }

    fn then(&self, next: &dyn Op, inputs: &[SpecRef<'_>], others: &[SpecRef<'_>]) -> Option<Arc<dyn Op>> {
        let ([x, w], [bias]) = (inputs, others) else { return None };
        let plain = x.shape.len() == 2 && w.shape.len() == 2 && x.dtype.is_float();
        let fits = plain && binary::is_add(next) && bias.shape == &w.shape[1..];
        fits.then(|| Arc::new(Linear(Activation::Linear)) as Arc<dyn Op>)
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = context.grad()?;
        Ok(Gradients::from_iter([
            context.when(0, || matmul(g, &swapaxes(&context.input(1)?, -1, -2)?))?,
            context.when(1, || matmul(&swapaxes(&context.input(0)?, -1, -2)?, g))?,
        ]))
    }
}

/// `activation(x w + bias)`, the bias and activation in the product's own pass.
#[derive(Debug)]
struct Linear(Activation);

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        Matmul.infer(&inputs[..2])
    }

    fn operations(&self, inputs: &[SpecRef<'_>], outputs: &[SpecRef<'_>]) -> usize {
        2 * outputs[0].len() + Matmul.operations(inputs, outputs)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_float!(self.name(), inputs[0].dtype(), T => {
            let (x, w) = (Operand::<T>::new(&inputs[0], &[])?, Operand::<T>::new(&inputs[1], &[])?);
            let (bias, relu) = (inputs[2].contiguous::<T>()?, self.0 == Activation::Relu);
            gemm_bias(x.matrix(0), w.matrix(0), &bias, relu, outputs[0].get()?)?;
        });
        Ok(())
    }

    fn then(&self, next: &dyn Op, _inputs: &[SpecRef<'_>], _others: &[SpecRef<'_>]) -> Option<Arc<dyn Op>> {
        let fits = self.0 == Activation::Linear && unary::is_relu(next);
        fits.then(|| Arc::new(Linear(Activation::Relu)) as Arc<dyn Op>)
    }

    fn saves(&self) -> Saves {
        if self.0 == Activation::Linear { Saves::INPUTS } else { Saves::ALL }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let y = if self.0 == Activation::Linear { None } else { Some(context.output(0)?) };
        let [g, bias] = activate::gradients(self.0, y.as_ref(), context.grad()?, context.needs(2))?;
        Ok(Gradients::from_iter([
            context.when(0, || matmul(&g, &swapaxes(&context.input(1)?, -1, -2)?))?,
            context.when(1, || matmul(&swapaxes(&context.input(0)?, -1, -2)?, &g))?,
            Some(bias),
        ]))
    }
}

/// `activation(x w + bias)` for a matrix w, with one bias for each of its columns; what stands before the last
/// axis of x is rows. The activation is "linear", "relu", "tanh" or "sigmoid"; the first two, and the bias,
/// cost no pass over the memory.
///
/// # Errors
/// As [`matmul`] and [`bias_activation`](crate::ops::bias_activation); [`Error::Shape`] unless w is a matrix.
pub fn linear(x: &Tensor, w: &Tensor, bias: &Tensor, activation: &str) -> Result<Tensor> {
    let op = "linear";
    let kind = activate::parse(op, activation)?;
    if x.ndim() == 0
        || w.ndim() != 2
        || bias.shape() != &w.shape()[1..]
        || w.shape()[0] != x.shape()[x.ndim() - 1]
    {
        let message = format!(
            "an input of shape {}, weights of shape {} and a bias of shape {} do not match: the weights are (inputs, \
             outputs) for the input's last side, and the bias has one value for each output",
            x.show_shape(),
            w.show_shape(),
            bias.show_shape()
        );
        return Err(Error::shape(op, message));
    }
    let [x, w, bias] = activate::operands(x, w, bias)?;
    if !matches!(kind, Activation::Linear | Activation::Relu) {
        return activate::bias_activation(&matmul(&x, &w)?, &bias, activation);
    }
    let mut shape = Shape::from_slice(&x.shape()[..x.ndim() - 1]);
    let rows = shape.iter().product();
    let x = if x.ndim() == 2 { x } else { reshape(&x, &[rows, w.shape()[0]])? };
    let y = apply(Linear(kind), &[&x, &w, &bias])?;
    shape.push(w.shape()[1]);
    if y.shape() == &shape[..] { Ok(y) } else { reshape(&y, &shape) }
}

/// How matrices of an element type are multiplied.
trait Product: Stored {
    fn product<'a>(
        batch: usize,
        a: &(dyn Fn(usize) -> Matrix<'a, Self> + Sync),
        b: &(dyn Fn(usize) -> Matrix<'a, Self> + Sync),
        c: &mut [Self],
    ) -> Result<()>;
}

macro_rules! product {
    ($kernel:ident: $($t:ty),*) => {$(
        impl Product for $t {
            fn product<'a>(
                batch: usize,
                a: &(dyn Fn(usize) -> Matrix<'a, Self> + Sync),
                b: &(dyn Fn(usize) -> Matrix<'a, Self> + Sync),
                c: &mut [Self],
            ) -> Result<()> {
                Ok($kernel(batch, a, b, c)?)
            }
        }
    )*};
}
product!(gemm_batched: f32, f64);
product!(matmul_integer: u8, i32, i64);

/// The matrix product; stacks of matrices broadcast over their leading axes, and a vector is a row
/// on the left, a column on the right (Array API).
///
/// # Errors
/// [`Error::Shape`] when the inner sides differ or an operand is a scalar, [`Error::DType`] for bool.
pub fn matmul(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    if x1.ndim() == 0 || x2.ndim() == 0 {
        let message = format!(
            "operands of shape {} and {} must have at least one dimension; use multiply for scalars",
            x1.show_shape(),
            x2.show_shape()
        );
        return Err(Error::shape("matmul", message));
    }
    let (a, b) = promote(x1, x2)?;
    let mut shape = Shape::new();
    if b.ndim() <= 2 {
        // One matrix on the right: whatever stands before the last axis on the left is rows.
        let inner = a.shape()[a.ndim() - 1];
        let rows: usize = a.shape()[..a.ndim() - 1].iter().product();
        shape.extend_from_slice(&a.shape()[..a.ndim() - 1]);
        let b = match b.ndim() {
            1 => reshape(&b, &[b.len(), 1])?,
            _ => {
                shape.push(b.shape()[1]);
                b
            }
        };
        let a = if a.ndim() == 2 { a } else { reshape(&a, &[rows, inner])? };
        return reshape(&apply(Matmul, &[&a, &b])?, &shape);
    }
    if a.ndim() == 1 {
        let y = apply(Matmul, &[&reshape(&a, &[1, a.len()])?, &b])?;
        shape.extend_from_slice(y.shape());
        shape.remove(shape.len() - 2);
        return reshape(&y, &shape);
    }
    apply(Matmul, &[&a, &b])
}
