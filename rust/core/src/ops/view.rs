//! Views: other layouts of the same elements. Nothing is copied but by `reshape` of elements whose
//! strides cannot say the new shape.

use autodan_kernels::copy;
use autodan_kernels::view::ViewMut;

use crate::error::{Error, Result, show_shape};
use crate::layout::{AxisRange, Layout, Shape, checked_len, distinct_axes, normalize_axis};
use crate::op::{Backward, Gradients, Op, SpecRef, Specs, apply, one};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_dtype;

/// The elements in row-major order, in memory of their own.
#[derive(Debug)]
struct Copy;

impl Op for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_dtype!(inputs[0].dtype(), T => copy::copy(inputs[0].view::<T>()?, outputs[0].get()?));
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        Ok(Gradients::from_iter([Some(context.grad()?.clone())]))
    }
}

/// A copy in memory of its own.
///
/// # Errors
/// [`Error::Memory`].
pub fn copy(x: &Tensor) -> Result<Tensor> {
    apply(Copy, &[x])
}

/// `x` itself when its elements lie in row-major order, else a copy in which they do.
///
/// # Errors
/// [`Error::Memory`].
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.layout().is_contiguous() { Ok(x.clone()) } else { copy(x) }
}

/// The ops that are views, all through one implementation.
#[derive(Debug)]
enum View {
    Reshape(Shape),
    Permute(Shape),
    Slice(Vec<AxisRange>),
    Broadcast(Shape),
}

impl View {
    fn shape(&self, input: &[usize]) -> Shape {
        match self {
            View::Reshape(shape) | View::Broadcast(shape) => shape.clone(),
            View::Permute(axes) => axes.iter().map(|&axis| input[axis]).collect(),
            View::Slice(ranges) => ranges.iter().map(|range| range.len).collect(),
        }
    }
}

impl Op for View {
    fn name(&self) -> &'static str {
        match self {
            View::Reshape(_) => "reshape",
            View::Permute(_) => "transpose",
            View::Slice(_) => "slice",
            View::Broadcast(_) => "broadcast_to",
        }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.shape(inputs[0].shape))
    }

    fn run(&self, _inputs: &[In<'_>], _outputs: &mut [Out<'_>]) -> Result<()> {
        Err(Error::internal("a view is not run"))
    }

    fn is_view(&self) -> bool {
        true
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        match self {
            View::Reshape(shape) => input.reshape(shape),
            View::Permute(axes) => Some(input.permute(axes)),
            View::Slice(ranges) => Some(input.slice(ranges)),
            View::Broadcast(shape) => Some(input.broadcast_to(shape)),
        }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = context.grad()?;
        let dx = match self {
            View::Reshape(_) => reshape(g, context.input_shape(0))?,
            View::Permute(axes) => {
                let mut inverse = Shape::from_elem(0, axes.len());
                for (to, &from) in axes.iter().enumerate() {
                    inverse[from] = to;
                }
                apply(View::Permute(inverse), &[g])?
            }
            View::Slice(ranges) => apply(
                Unslice { shape: Shape::from_slice(context.input_shape(0)), ranges: ranges.clone() },
                &[g],
            )?,
            // The tape sums a gradient of a broadcast shape.
            View::Broadcast(_) => g.clone(),
        };
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// The gradient of a slice: zeros, with the input at the places that the slice named.
#[derive(Debug)]
struct Unslice {
    shape: Shape,
    ranges: Vec<AxisRange>,
}

impl Op for Unslice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let layout = Layout::contiguous(self.shape.clone()).slice(&self.ranges);
        with_dtype!(inputs[0].dtype(), T => {
            let y = outputs[0].get::<T>()?;
            y.fill(T::default());
            copy::copy_to(inputs[0].view::<T>()?, ViewMut::new(y, layout.offset(), layout.shape(), layout.strides()));
        });
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        Ok(Gradients::from_iter([Some(slice(context.grad()?, &self.ranges)?)]))
    }
}

/// The same elements in the same order under another shape.
///
/// # Errors
/// [`Error::Shape`] when the lengths differ, [`Error::Memory`].
pub fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    if checked_len("reshape", shape)? != x.len() {
        return Err(Error::shape(
            "reshape",
            format!(
                "a tensor of shape {} has {} elements, shape {} would have {}",
                x.show_shape(),
                x.len(),
                show_shape(shape),
                shape.iter().product::<usize>()
            ),
        ));
    }
    apply(View::Reshape(Shape::from_slice(shape)), &[x])
}

/// The shape meant by one in which a side may be -1: "what is left".
///
/// # Errors
/// [`Error::Shape`] when it does not come out.
pub fn resolve_shape(x: &Tensor, shape: &[i64]) -> Result<Shape> {
    let bad = |why: &str| {
        let sides: Vec<String> = shape.iter().map(i64::to_string).collect();
        let message = format!("cannot reshape {} to ({}): {why}", x.show_shape(), sides.join(", "));
        Error::shape("reshape", message)
    };
    let unknown = shape.iter().filter(|&&side| side == -1).count();
    if unknown > 1 || shape.iter().any(|&side| side < -1) {
        return Err(bad("sides must be at least 0, with at most one -1"));
    }
    let known: Shape = shape.iter().filter(|&&side| side >= 0).map(|&side| side as usize).collect();
    let len = checked_len("reshape", &known)?;
    if unknown == 1 && (len == 0 || !x.len().is_multiple_of(len)) {
        return Err(bad(&format!("{} elements do not divide into {len}", x.len())));
    }
    Ok(shape.iter().map(|&side| if side == -1 { x.len() / len } else { side as usize }).collect())
}

/// The axes in the order `axes`, negative ones counted from the end.
///
/// # Errors
/// [`Error::Value`] unless `axes` names each axis once.
pub fn permute(x: &Tensor, axes: &[isize]) -> Result<Tensor> {
    let order = distinct_axes("transpose", axes, x.ndim())?;
    if order.len() != x.ndim() {
        let message =
            format!("axes {axes:?} do not name all of the {} dimensions of {}", x.ndim(), x.show_shape());
        return Err(Error::value("transpose", message));
    }
    if order.iter().enumerate().all(|(i, &axis)| i == axis) {
        return Ok(x.clone());
    }
    apply(View::Permute(order), &[x])
}

/// The axes reversed, or in the given order.
///
/// # Errors
/// As [`permute`].
pub fn transpose(x: &Tensor, axes: Option<&[isize]>) -> Result<Tensor> {
    match axes {
        Some(axes) => permute(x, axes),
        None => permute(x, &(0..x.ndim() as isize).rev().collect::<Vec<_>>()),
    }
}

/// Two axes exchanged.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist.
pub fn swapaxes(x: &Tensor, a: isize, b: isize) -> Result<Tensor> {
    let (a, b) = (normalize_axis("swapaxes", a, x.ndim())?, normalize_axis("swapaxes", b, x.ndim())?);
    let mut axes: Vec<isize> = (0..x.ndim() as isize).collect();
    axes.swap(a, b);
    permute(x, &axes)
}

/// Axes moved to other positions, the others keeping their order.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Value`] when the lists differ in
/// length or repeat an axis.
pub fn moveaxis(x: &Tensor, source: &[isize], destination: &[isize]) -> Result<Tensor> {
    let normal = |axes: &[isize]| -> Result<Vec<usize>> {
        axes.iter().map(|&axis| normalize_axis("moveaxis", axis, x.ndim())).collect()
    };
    let (source, destination) = (normal(source)?, normal(destination)?);
    let repeats = |axes: &[usize]| axes.iter().enumerate().any(|(i, axis)| axes[..i].contains(axis));
    if source.len() != destination.len() || repeats(&source) || repeats(&destination) {
        let message =
            format!("source {source:?} and destination {destination:?} must be as long and repeat no axis");
        return Err(Error::value("moveaxis", message));
    }
    let mut rest = (0..x.ndim()).filter(|axis| !source.contains(axis));
    let mut axes = Vec::with_capacity(x.ndim());
    for position in 0..x.ndim() {
        let axis = match destination.iter().position(|&to| to == position) {
            Some(i) => source.get(i).copied(),
            None => rest.next(),
        };
        axes.extend(axis.map(|axis| axis as isize));
    }
    permute(x, &axes)
}

/// A new axis of side 1 at position `axis` of the result.
///
/// # Errors
/// [`Error::Index`] for an impossible position.
pub fn expand_dims(x: &Tensor, axis: isize) -> Result<Tensor> {
    let axis = normalize_axis("expand_dims", axis, x.ndim() + 1)?;
    let mut shape = Shape::from_slice(x.shape());
    shape.insert(axis, 1);
    reshape(x, &shape)
}

/// Without the axes of side 1, or without the given ones.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Value`] for one whose side is not 1.
pub fn squeeze(x: &Tensor, axes: Option<&[isize]>) -> Result<Tensor> {
    let mut drop = vec![false; x.ndim()];
    match axes {
        None => drop.iter_mut().zip(x.shape()).for_each(|(drop, &side)| *drop = side == 1),
        Some(axes) => {
            for (index, axis) in distinct_axes("squeeze", axes, x.ndim())?.into_iter().zip(axes) {
                if x.shape()[index] != 1 {
                    let message = format!(
                        "axis {axis} of shape {} has side {}, not 1",
                        x.show_shape(),
                        x.shape()[index]
                    );
                    return Err(Error::value("squeeze", message));
                }
                drop[index] = true;
            }
        }
    }
    let shape: Shape =
        x.shape().iter().zip(&drop).filter(|&(_, drop)| !drop).map(|(&side, _)| side).collect();
    reshape(x, &shape)
}

/// `x` repeated along new leading axes and axes of side 1.
///
/// # Errors
/// [`Error::Shape`] when it does not broadcast to the shape.
pub fn broadcast_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    checked_len("broadcast_to", shape)?;
    if x.shape() == shape {
        return Ok(x.clone());
    }
    match crate::layout::broadcast_shapes(x.shape(), shape) {
        Some(reached) if reached[..] == *shape => apply(View::Broadcast(reached), &[x]),
        _ => {
            let message = format!("shape {} does not broadcast to {}", x.show_shape(), show_shape(shape));
            Err(Error::shape("broadcast_to", message))
        }
    }
}

/// The selected indices of each axis; `ranges` has one for each axis, in bounds.
///
/// # Errors
/// [`Error::Index`] when a range leaves its axis.
pub fn slice(x: &Tensor, ranges: &[AxisRange]) -> Result<Tensor> {
    if ranges.len() != x.ndim() {
        return Err(Error::internal("a slice has one range for each axis"));
    }
    for (axis, (range, &side)) in ranges.iter().zip(x.shape()).enumerate() {
        let last = range.start as i128 + (range.len as i128 - 1) * range.step as i128;
        if range.len > 0 && (range.start >= side || last < 0 || last >= side as i128) {
            return Err(Error::index("slice", format!("{range:?} leaves axis {axis} of {side} elements")));
        }
    }
    if ranges.iter().zip(x.shape()).all(|(range, &side)| *range == AxisRange::full(side)) {
        return Ok(x.clone());
    }
    apply(View::Slice(ranges.to_vec()), &[x])
}

/// The given axes (all by default) run backwards.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Value`] for one that is named twice.
pub fn flip(x: &Tensor, axes: Option<&[isize]>) -> Result<Tensor> {
    let mut ranges: Vec<AxisRange> = x.shape().iter().map(|&side| AxisRange::full(side)).collect();
    let all: Vec<isize> = (0..x.ndim() as isize).collect();
    for axis in distinct_axes("flip", axes.unwrap_or(&all), x.ndim())? {
        let side = x.shape()[axis];
        ranges[axis] = AxisRange { start: side.saturating_sub(1), step: -1, len: side };
    }
    slice(x, &ranges)
}
