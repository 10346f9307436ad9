//! Joining, padding and picking elements by index.

use autodan_kernels::buffer::Buffer;
use autodan_kernels::copy;
use autodan_kernels::par::{self, GRAIN, Pace};
use autodan_kernels::view::ViewMut;

use crate::dtype::DType;
use crate::error::{Error, Result, show_shape};
use crate::layout::{AxisRange, Layout, Shape, normalize_axis};
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::{cast, expand_dims, moveaxis, reshape, slice};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::{with_dtype, with_number};

/// Tensors one after the other along an axis.
#[derive(Debug)]
struct Concatenate(usize);

impl Op for Concatenate {
    fn name(&self) -> &'static str {
        "concatenate"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let mut shape = Shape::from_slice(inputs[0].shape);
        for (position, input) in inputs.iter().enumerate().skip(1) {
            let fits = input.shape.len() == shape.len()
                && (0..shape.len()).all(|axis| axis == self.0 || input.shape[axis] == shape[axis]);
            if !fits {
                return Err(Error::shape(
                    "concatenate",
                    format!(
                        "tensor {position} of shape {} does not continue the first, of shape {}, along axis {}: the \
                         other sides must be equal",
                        show_shape(input.shape),
                        show_shape(inputs[0].shape),
                        self.0
                    ),
                ));
            }
            shape[self.0] = shape[self.0]
                .checked_add(input.shape[self.0])
                .ok_or_else(|| Error::shape("concatenate", "the result exceeds the address space"))?;
        }
        one(inputs[0].dtype, &shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let mut shape = Shape::from_slice(inputs[0].shape());
        shape[self.0] = inputs.iter().map(|input| input.shape()[self.0]).sum();
        let whole = Layout::contiguous(shape);
        let mut ranges: Vec<AxisRange> = whole.shape().iter().map(|&side| AxisRange::full(side)).collect();
        let mut start = 0;
        for input in inputs {
            let len = input.shape()[self.0];
            ranges[self.0] = AxisRange { start, step: 1, len };
            let part = whole.slice(&ranges);
            with_dtype!(input.dtype(), T => {
                let y = ViewMut::new(outputs[0].get::<T>()?, part.offset(), part.shape(), part.strides());
                copy::copy_to(input.view::<T>()?, y);
            });
            start += len;
        }
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = context.grad()?;
        let mut start = 0;
        (0..context.inputs())
            .map(|input| {
                let shape = context.input_shape(input);
                let mut ranges: Vec<AxisRange> = shape.iter().map(|&side| AxisRange::full(side)).collect();
                ranges[self.0].start = start;
                start += shape[self.0];
                context.when(input, || slice(g, &ranges))
            })
            .collect()
    }
}

/// The tensors one after the other along `axis`, in their common dtype.
///
/// # Errors
/// [`Error::Value`] for no tensors, [`Error::Shape`] when other sides differ, [`Error::Index`] for
/// an axis that does not exist.
pub fn concatenate(tensors: &[Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::value("concatenate", "there are no tensors to join"));
    };
    let axis = normalize_axis("concatenate", axis, first.ndim())?;
    let dtype = tensors.iter().fold(first.dtype(), |dtype, tensor| dtype.promote(tensor.dtype()));
    let tensors = tensors.iter().map(|tensor| cast(tensor, dtype)).collect::<Result<Vec<_>>>()?;
    apply(Concatenate(axis), &tensors.iter().collect::<Vec<_>>())
}

/// The tensors, of one shape, along a new axis.
///
/// # Errors
/// As [`concatenate`].
pub fn stack(tensors: &[Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::value("stack", "there are no tensors to join"));
    };
    if let Some(other) = tensors.iter().find(|tensor| tensor.shape() != first.shape()) {
        let message = format!("shapes {} and {} differ", first.show_shape(), other.show_shape());
        return Err(Error::shape("stack", message));
    }
    let axis = normalize_axis("stack", axis, first.ndim() + 1)? as isize;
    let tensors = tensors.iter().map(|tensor| expand_dims(tensor, axis)).collect::<Result<Vec<_>>>()?;
    concatenate(&tensors, axis)
}

/// A frame of one value around a tensor.
#[derive(Debug)]
struct Pad {
    widths: Vec<(usize, usize)>,
    value: f64,
}

impl Pad {
    fn shape(&self, input: &[usize]) -> Option<Shape> {
        input
            .iter()
            .zip(&self.widths)
            .map(|(&side, &(before, after))| side.checked_add(before)?.checked_add(after))
            .collect()
    }

    /// Where the input lies in the output.
    fn ranges(&self, input: &[usize]) -> Vec<AxisRange> {
        input.iter().zip(&self.widths).map(|(&len, &(start, _))| AxisRange { start, step: 1, len }).collect()
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let shape = self.shape(inputs[0].shape);
        one(
            inputs[0].dtype,
            &shape.ok_or_else(|| Error::shape("pad", "the result exceeds the address space"))?,
        )
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let shape = self.shape(inputs[0].shape()).ok_or_else(|| Error::internal("an unchecked pad"))?;
        let part = Layout::contiguous(shape).slice(&self.ranges(inputs[0].shape()));
        with_dtype!(inputs[0].dtype(), T => {
            let y = outputs[0].get::<T>()?;
            y.fill(<T as cast::Cast>::from_f64(self.value));
            copy::copy_to(inputs[0].view::<T>()?, ViewMut::new(y, part.offset(), part.shape(), part.strides()));
        });
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let dx = slice(context.grad()?, &self.ranges(context.input_shape(0)))?;
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// `x` with `value` before and after it along each axis: one `(before, after)` for each.
///
/// # Errors
/// [`Error::Value`] when the number of pairs is not that of the dimensions.
pub fn pad(x: &Tensor, widths: &[(usize, usize)], value: f64) -> Result<Tensor> {
    if widths.len() != x.ndim() {
        let message =
            format!("{} pairs of widths for the {} dimensions of {}", widths.len(), x.ndim(), x.show_shape());
        return Err(Error::value("pad", message));
    }
    apply(Pad { widths: widths.to_vec(), value }, &[x])
}

/// The shape before, at and after an axis, as lengths.
fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

/// Indices as kernels take them: within `0..n`, negative ones counted from the end.
fn checked_indices(indices: &In<'_>, n: usize) -> Result<Buffer<i64>> {
    let indices = indices.contiguous::<i64>()?;
    let mut places = Buffer::new(indices.len())?;
    let mut pace = Pace::default();
    for (place, &index) in places.iter_mut().zip(indices.iter()) {
        pace.step(1);
        *place = if index < 0 { index + n as i64 } else { index };
        if !(0..n as i64).contains(place) {
            let message = format!("index {index} is out of bounds for an axis of {n} elements");
            return Err(Error::index("take", message));
        }
    }
    Ok(places)
}

/// The slices along an axis that indices name: inputs x and indices.
#[derive(Debug)]
struct Take(usize);

impl Op for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let (x, indices) = (inputs[0].shape, inputs[1].shape);
        let shape: Shape = x[..self.0].iter().chain(indices).chain(&x[self.0 + 1..]).copied().collect();
        one(inputs[0].dtype, &shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let (outer, n, inner) = around(inputs[0].shape(), self.0);
        let indices = checked_indices(&inputs[1], n)?;
        with_dtype!(inputs[0].dtype(), T => {
            copy::take(&inputs[0].contiguous::<T>()?, outer, n, inner, &indices, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let op = Untake { axis: self.0, shape: Shape::from_slice(context.input_shape(0)) };
        Ok(Gradients::from_iter([Some(apply(op, &[context.grad()?, &context.input(1)?])?), None]))
    }
}

/// The gradient of [`Take`]: each slice added to the place that it was taken from.
#[derive(Debug)]
struct Untake {
    axis: usize,
    shape: Shape,
}

impl Op for Untake {
    fn name(&self) -> &'static str {
        "take"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &self.shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let (outer, n, inner) = around(&self.shape, self.axis);
        let indices = checked_indices(&inputs[1], n)?;
        with_number!("take", inputs[0].dtype(), T => {
            copy::take_backward(&inputs[0].contiguous::<T>()?, outer, n, inner, &indices, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = apply(Take(self.axis), &[context.grad()?, &context.input(1)?])?;
        Ok(Gradients::from_iter([Some(g), None]))
    }
}

/// The slices of `x` along `axis` (of the flattened tensor by default) at `indices`, whose shape
/// takes the axis's place. Negative indices count from the end.
///
/// # Errors
/// [`Error::Index`] for an index or axis that does not exist, [`Error::DType`] unless the indices
/// are integers.
pub fn take(x: &Tensor, indices: &Tensor, axis: Option<isize>) -> Result<Tensor> {
    let indices = integer_indices("take", indices)?;
    match axis {
        Some(axis) => apply(Take(normalize_axis("take", axis, x.ndim())?), &[x, &indices]),
        None => apply(Take(0), &[&reshape(x, &[x.len()])?, &indices]),
    }
}

fn integer_indices(op: &'static str, indices: &Tensor) -> Result<Tensor> {
    // An empty list has the default dtype of floats, but no fractions.
    if !indices.dtype().is_integer() && !indices.is_empty() {
        return Err(Error::dtype(op, indices.dtype(), "integer indices"));
    }
    cast(&indices.detach(), DType::Int64)
}

/// `y[r, places[r]] = x[r]`, 0 elsewhere, for `n` columns.
#[derive(Debug)]
struct PlaceAlong(usize);

impl Op for PlaceAlong {
    fn name(&self) -> &'static str {
        "place_along"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &[inputs[0].shape[0], self.0])
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let places = inputs[1].contiguous::<i64>()?;
        with_dtype!(inputs[0].dtype(), T => {
            let (x, y) = (inputs[0].contiguous::<T>()?, outputs[0].get::<T>()?);
            par::for_each_chunk(y, GRAIN, |_, y| y.fill(T::default()));
            let mut pace = Pace::default();
            for ((row, &value), &place) in y.chunks_exact_mut(self.0.max(1)).zip(x.iter()).zip(places.iter()) {
                pace.step(1);
                row[place as usize] = value;
            }
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let g = apply(PickAlong, &[context.grad()?, &context.input(1)?])?;
        Ok(Gradients::from_iter([Some(g), None]))
    }
}

/// `y[r] = x[r, places[r]]`.
#[derive(Debug)]
struct PickAlong;

impl Op for PickAlong {
    fn name(&self) -> &'static str {
        "pick_along"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, &[inputs[0].shape[0]])
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let places = inputs[1].contiguous::<i64>()?;
        let n = inputs[0].shape()[1].max(1);
        with_dtype!(inputs[0].dtype(), T => {
            let (x, y) = (inputs[0].contiguous::<T>()?, outputs[0].get::<T>()?);
            let mut pace = Pace::default();
            for ((row, value), &place) in x.chunks_exact(n).zip(y).zip(places.iter()) {
                pace.step(1);
                *value = row[place as usize];
            }
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 0b10, outputs: 0 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let columns = context.input_shape(0)[1];
        let g = apply(PlaceAlong(columns), &[context.grad()?, &context.input(1)?])?;
        Ok(Gradients::from_iter([Some(g), None]))
    }
}

/// Rows of `n` zeros, with `x[r]` at column `places[r]` (int64, within bounds) of row `r`.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn place_along(x: &Tensor, places: &Tensor, n: usize) -> Result<Tensor> {
    apply(PlaceAlong(n), &[x, places])
}

/// 1 at each label's class, 0 elsewhere, along a new last axis.
#[derive(Debug)]
struct OneHot {
    classes: usize,
    dtype: DType,
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let mut shape = Shape::from_slice(inputs[0].shape);
        shape.push(self.classes);
        one(self.dtype, &shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let labels = inputs[0].contiguous::<i64>()?;
        with_dtype!(self.dtype, T => {
            let y = outputs[0].get::<T>()?;
            par::for_each_chunk(y, GRAIN, |_, y| y.fill(T::default()));
            let mut pace = Pace::default();
            for (row, &label) in y.chunks_exact_mut(self.classes.max(1)).zip(labels.iter()) {
                pace.step(1);
                if let Some(place) = usize::try_from(label).ok().and_then(|label| row.get_mut(label)) {
                    *place = <T as cast::Cast>::from_i64(1);
                }
            }
        });
        Ok(())
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// 1 at each label's class along a new axis at position `axis`, 0 elsewhere; a label outside
/// `0..classes` gives zeros.
///
/// # Errors
/// [`Error::DType`] unless the labels are integers, [`Error::Index`] for an impossible position.
pub fn one_hot(labels: &Tensor, classes: usize, axis: isize, dtype: DType) -> Result<Tensor> {
    let labels = integer_indices("one_hot", labels)?;
    let axis = normalize_axis("one_hot", axis, labels.ndim() + 1)?;
    let y = apply(OneHot { classes, dtype }, &[&labels])?;
    moveaxis(&y, &[-1], &[axis as isize])
}
