//! Reductions over axes.

use autodan_kernels::element::Bool;
use autodan_kernels::par::Pace;
use autodan_kernels::reduce as kernels;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Shape, distinct_axes, normalize_axis};
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::{
    add, binary, broadcast_to, cast, compare, index, multiply, permute, reshape, square, subtract, unary,
};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::{with_float, with_number};

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sum,
    Prod,
    Max,
    Min,
    Any,
    All,
}

/// A reduction over `axes` (sorted, distinct), which disappear from the shape.
#[derive(Debug)]
struct Reduce {
    kind: Kind,
    axes: Shape,
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "sum",
            Kind::Prod => "prod",
            Kind::Max => "max",
            Kind::Min => "min",
            Kind::Any => "any",
            Kind::All => "all",
        }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let shape = inputs[0].shape;
        let empty = self.axes.iter().any(|&axis| shape[axis] == 0);
        if empty && matches!(self.kind, Kind::Max | Kind::Min) {
            let message =
                format!("no largest or smallest of no elements (shape {})", crate::error::show_shape(shape));
            return Err(Error::value(self.name(), message));
        }
        one(inputs[0].dtype, &kept(shape, &self.axes))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let (x, y, axes) = (&inputs[0], &mut outputs[0], &self.axes[..]);
        match self.kind {
            Kind::Any => kernels::any(x.view::<Bool>()?, axes, y.get()?)?,
            Kind::All => kernels::all(x.view::<Bool>()?, axes, y.get()?)?,
            kind => with_number!(self.name(), x.dtype(), T => {
                let (x, y) = (x.view::<T>()?, y.get::<T>()?);
                match kind {
                    Kind::Sum => kernels::sum(x, axes, y)?,
                    Kind::Prod => kernels::prod(x, axes, y)?,
                    Kind::Max => kernels::max(x, axes, y)?,
                    _ => kernels::min(x, axes, y)?,
                }
            }),
        }
        Ok(())
    }

    fn is_differentiable(&self) -> bool {
        !matches!(self.kind, Kind::Any | Kind::All)
    }

    fn saves(&self) -> Saves {
        if self.kind == Kind::Sum { Saves::NOTHING } else { Saves::INPUTS }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = context.grad()?;
        let shape = context.input_shape(0);
        let dx = match self.kind {
            Kind::Sum => broadcast_to(&reshape(g, &kept_as_one(shape, &self.axes))?, shape)?,
            Kind::Prod => {
                let rows = Rows::new(&context.input(0)?, &self.axes)?;
                let g = reshape(g, &[rows.outer])?;
                rows.restore(&apply(ProdGrad, &[&rows.x, &g])?)?
            }
            _ => {
                let rows = Rows::new(&context.input(0)?, &self.axes)?;
                let winners = if self.kind == Kind::Max { argmax } else { argmin };
                let winners = winners(&rows.x.detach(), Some(1), false)?;
                rows.restore(&index::place_along(&reshape(g, &[rows.outer])?, &winners, rows.n)?)?
            }
        };
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// A tensor with its reduced axes moved to the end and joined: `outer` rows of `n`.
struct Rows {
    x: Tensor,
    outer: usize,
    n: usize,
    order: Vec<usize>,
    permuted: Shape,
}

impl Rows {
    fn new(x: &Tensor, axes: &[usize]) -> Result<Rows> {
        let order: Vec<usize> =
            (0..x.ndim()).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
        let signed: Vec<isize> = order.iter().map(|&axis| axis as isize).collect();
        let moved = permute(x, &signed)?;
        let n = axes.iter().map(|&axis| x.shape()[axis]).product();
        let outer = kept(x.shape(), axes).iter().product();
        let permuted = Shape::from_slice(moved.shape());
        Ok(Rows { x: reshape(&moved, &[outer, n])?, outer, n, order, permuted })
    }

    /// The shape and axis order that the tensor had.
    fn restore(&self, rows: &Tensor) -> Result<Tensor> {
        let mut inverse = vec![0isize; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to as isize;
        }
        permute(&reshape(rows, &self.permuted)?, &inverse)
    }
}

/// The gradient of a product over rows: each element's is the product of the others.
#[derive(Debug)]
struct ProdGrad;

impl Op for ProdGrad {
    fn name(&self) -> &'static str {
        "prod"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_float!("prod", inputs[0].dtype(), T => {
            let (x, g) = (inputs[0].contiguous::<T>()?, inputs[1].contiguous::<T>()?);
            let dx = outputs[0].get::<T>()?;
            let n = inputs[0].shape()[1].max(1);
            let mut pace = Pace::default();
            for ((x, dx), &g) in x.chunks_exact(n).zip(dx.chunks_exact_mut(n)).zip(g.iter()) {
                // What comes before each element, then times what comes after it: no division, so zeros are exact.
                let mut before = g;
                for (x, dx) in x.iter().zip(dx.iter_mut()) {
                    pace.step(1);
                    *dx = before;
                    before *= x;
                }
                let mut after = 1.0;
                for (x, dx) in x.iter().zip(dx.iter_mut()).rev() {
                    pace.step(1);
                    *dx *= after;
                    after *= x;
                }
            }
        });
        Ok(())
    }
}

/// The sides that a reduction leaves.
fn kept(shape: &[usize], axes: &[usize]) -> Shape {
    shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &side)| side).collect()
}

/// The shape with the reduced sides as 1.
fn kept_as_one(shape: &[usize], axes: &[usize]) -> Shape {
    shape.iter().enumerate().map(|(axis, &side)| if axes.contains(&axis) { 1 } else { side }).collect()
}

/// The named axes, sorted; all of them for `None`.
fn normalize_axes(op: &'static str, axes: Option<&[isize]>, ndim: usize) -> Result<Shape> {
    let Some(axes) = axes else {
        return Ok((0..ndim).collect());
    };
    let mut out = distinct_axes(op, axes, ndim)?;
    out.sort_unstable();
    Ok(out)
}

fn reduce(kind: Kind, x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    let op = Reduce { kind, axes: Shape::new() };
    let axes = normalize_axes(op.name(), axes, x.ndim())?;
    let shape = kept_as_one(x.shape(), &axes);
    // Over no axes there is nothing to do.
    let y = if axes.is_empty() { x.clone() } else { apply(Reduce { axes, ..op }, &[x])? };
    if keepdims { reshape(&y, &shape) } else { Ok(y) }
}

/// Small integers and truth values are added up in int64, as NumPy does.
pub(crate) fn wide(x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { Ok(x.clone()) } else { cast(x, DType::Int64) }
}

/// The sum over `axes` (all by default); 0 for no elements. Integers and bool give int64.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Memory`].
pub fn sum(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    reduce(Kind::Sum, &wide(x)?, axes, keepdims)
}

/// The product over `axes` (all by default); 1 for no elements. Integers and bool give int64.
///
/// # Errors
/// As [`sum`].
pub fn prod(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    reduce(Kind::Prod, &wide(x)?, axes, keepdims)
}

/// [`Kind::Max`] or [`Kind::Min`] of any dtype: truth values are ordered as 0 and 1.
fn extremum(kind: Kind, x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return cast(&reduce(kind, &cast(x, DType::UInt8)?, axes, keepdims)?, DType::Bool);
    }
    reduce(kind, x, axes, keepdims)
}

/// The largest element over `axes` (all by default); NaN if there is one. The gradient goes to the
/// first of equal elements.
///
/// # Errors
/// As [`sum`]; [`Error::Value`] for no elements.
pub fn max(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    extremum(Kind::Max, x, axes, keepdims)
}

/// The smallest element over `axes` (all by default); NaN if there is one. The gradient goes to the
/// first of equal elements.
///
/// # Errors
/// As [`sum`]; [`Error::Value`] for no elements.
pub fn min(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    extremum(Kind::Min, x, axes, keepdims)
}

/// Whether any element over `axes` (all by default) is true (not 0).
///
/// # Errors
/// As [`sum`].
pub fn any(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    reduce(Kind::Any, &cast(x, DType::Bool)?, axes, keepdims)
}

/// Whether all elements over `axes` (all by default) are true (not 0).
///
/// # Errors
/// As [`sum`].
pub fn all(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    reduce(Kind::All, &cast(x, DType::Bool)?, axes, keepdims)
}

/// The number of elements that a reduction joins.
fn count(x: &Tensor, axes: Option<&[isize]>, op: &'static str) -> Result<usize> {
    let axes = normalize_axes(op, axes, x.ndim())?;
    Ok(axes.iter().map(|&axis| x.shape()[axis]).product())
}

/// The arithmetic mean over `axes` (all by default); NaN for no elements. Integers and bool give
/// float32.
///
/// # Errors
/// As [`sum`].
pub fn mean(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    let x = cast(x, x.dtype().to_float())?;
    mean_of(&x, axes, keepdims, count(&x, axes, "mean")?)
}

/// The sum of floats over `n`, the number of elements that it joins.
fn mean_of(x: &Tensor, axes: Option<&[isize]>, keepdims: bool, n: usize) -> Result<Tensor> {
    binary::divide(&sum(x, axes, keepdims)?, &Tensor::full(&[], n as f64, x.dtype())?)
}

/// The mean squared distance from the mean, for the op of that name.
fn spread(op: &'static str, x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    let x = cast(x, x.dtype().to_float())?;
    let n = count(&x, axes, op)?;
    let centered = subtract(&x, &mean_of(&x, axes, true, n)?)?;
    mean_of(&square(&centered)?, axes, keepdims, n)
}

/// The variance over `axes` (all by default): the mean squared distance from the mean.
///
/// # Errors
/// As [`sum`].
pub fn var(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    spread("var", x, axes, keepdims)
}

/// The standard deviation over `axes` (all by default): the square root of [`var`]. Where it is 0 its
/// gradient is 0.
///
/// # Errors
/// As [`sum`].
pub fn std(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    let variance = spread("std", x, axes, keepdims)?;
    let deviation = unary::sqrt(&variance)?;
    if !deviation.requires_grad() {
        return Ok(deviation);
    }
    let zero = Tensor::full(&[], 0.0, variance.dtype())?;
    let flat = compare::equal(&variance, &zero)?;
    let one = Tensor::full(&[], 1.0, variance.dtype())?;
    compare::select(&flat, &zero, &unary::sqrt(&compare::select(&flat, &one, &variance)?)?)
}

/// `log(sum(exp(x)))` over `axes` (all by default), without overflow.
///
/// # Errors
/// As [`max`].
pub fn logsumexp(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    let x = cast(x, x.dtype().to_float())?;
    if count(&x, axes, "logsumexp")? == 0 {
        return Err(Error::value("logsumexp", format!("no sum of no elements (shape {})", x.show_shape())));
    }
    let top = max(&x.detach(), axes, true)?;
    // An infinite maximum must not be subtracted from itself.
    let zero = Tensor::full(&[], 0.0, x.dtype())?;
    let top = compare::select(&compare::isfinite(&top)?, &top, &zero)?;
    let total = unary::log(&sum(&unary::exp(&subtract(&x, &top)?)?, axes, keepdims)?)?;
    let top = reshape(&top, total.shape())?;
    add(&total, &top)
}

/// The index of the largest or smallest element along an axis.
#[derive(Debug)]
struct ArgExtremum {
    axis: usize,
    largest: bool,
}

impl Op for ArgExtremum {
    fn name(&self) -> &'static str {
        if self.largest { "argmax" } else { "argmin" }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let shape = inputs[0].shape;
        if shape[self.axis] == 0 {
            let message = format!("no index of no elements (shape {})", crate::error::show_shape(shape));
            return Err(Error::value(self.name(), message));
        }
        one(DType::Int64, &kept(shape, &[self.axis]))
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_number!(self.name(), inputs[0].dtype(), T => {
            let (x, y) = (inputs[0].view::<T>()?, outputs[0].get::<i64>()?);
            if self.largest { kernels::argmax(x, self.axis, y)? } else { kernels::argmin(x, self.axis, y)? }
        });
        Ok(())
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

fn arg_extremum(x: &Tensor, axis: Option<isize>, keepdims: bool, largest: bool) -> Result<Tensor> {
    let name = if largest { "argmax" } else { "argmin" };
    let x = if x.dtype() == DType::Bool { cast(x, DType::UInt8)? } else { x.clone() };
    let (y, axes) = match axis {
        Some(axis) => {
            let axis = normalize_axis(name, axis, x.ndim())?;
            (apply(ArgExtremum { axis, largest }, &[&x])?, vec![axis])
        }
        None => {
            let flat = reshape(&x, &[x.len()])?;
            (apply(ArgExtremum { axis: 0, largest }, &[&flat])?, (0..x.ndim()).collect())
        }
    };
    if keepdims { reshape(&y, &kept_as_one(x.shape(), &axes)) } else { Ok(y) }
}

/// The index (int64) of the largest element along `axis`, or in the flattened tensor; the first of
/// equals, the first NaN if there is one.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Value`] for no elements.
pub fn argmax(x: &Tensor, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
    arg_extremum(x, axis, keepdims, true)
}

/// The index (int64) of the smallest element, as [`argmax`].
///
/// # Errors
/// As [`argmax`].
pub fn argmin(x: &Tensor, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
    arg_extremum(x, axis, keepdims, false)
}

/// `x * weights` summed over the last axis, which stays as 1: the inner product that gradients of
/// row-wise functions share.
///
/// # Errors
/// As [`sum`].
pub(crate) fn inner(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    sum(&multiply(x, weights)?, Some(&[-1]), true)
}
