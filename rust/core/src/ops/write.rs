//! Writes into a tensor, for a handle's `t[...] = value`: copy-on-write, outside differentiation.

use autodan_kernels::view::ViewMut;
use autodan_kernels::{copy, par};

use crate::error::{Error, Result};
use crate::layout::{AxisRange, Layout, Shape};
use crate::ops::{broadcast_to, cast};
use crate::storage::Stored;
use crate::tensor::Tensor;
use crate::with_dtype;

/// The value in the dtype and broadcast to the shape of what it replaces.
fn fit(value: &Tensor, target: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let value = cast(&value.detach(), target.dtype())?;
    broadcast_to(&value, shape).map_err(|_| {
        let message = format!(
            "a value of shape {} cannot be assigned to a selection of shape {}",
            value.show_shape(),
            crate::error::show_shape(shape)
        );
        Error::shape("setitem", message)
    })
}

/// Replaces the elements that `ranges` select (one range for each axis, in bounds) by `value`, which
/// broadcasts to `shape`: the selection's shape, with whatever axes of side 1 removed or added.
///
/// # Errors
/// [`Error::Shape`] when the value does not broadcast. On an error nothing has changed.
pub fn write_slice(target: &mut Tensor, ranges: &[AxisRange], shape: &[usize], value: &Tensor) -> Result<()> {
    // An interrupt half-way would leave the target half-written, a fork the lock on it taken.
    par::whole(|| write_ranges(target, ranges, shape, value))
}

fn write_ranges(target: &mut Tensor, ranges: &[AxisRange], shape: &[usize], value: &Tensor) -> Result<()> {
    let selected: Shape = ranges.iter().map(|range| range.len).collect();
    let value = crate::ops::reshape(&fit(value, target, shape)?, &selected)?;
    let layout = Layout::contiguous(Shape::from_slice(target.shape())).slice(ranges);
    with_dtype!(target.dtype(), T => {
        let view = value.input().view::<T>()?;
        let elements = target.make_mut::<T>()?;
        copy::copy_to(view, ViewMut::new(elements, layout.offset(), layout.shape(), layout.strides()));
    });
    Ok(())
}

/// Replaces the elements at `positions` (int64, of the flattened tensor, in bounds) by `value`,
/// which broadcasts to the shape of `positions`; the last of equal positions wins.
///
/// # Errors
/// As [`write_slice`].
pub fn write_at(target: &mut Tensor, positions: &Tensor, value: &Tensor) -> Result<()> {
    par::whole(|| write_positions(target, positions, value))
}

fn write_positions(target: &mut Tensor, positions: &Tensor, value: &Tensor) -> Result<()> {
    let value = fit(value, target, positions.shape())?;
    let positions = positions.contiguous_elements::<i64>()?;
    with_dtype!(target.dtype(), T => write::<T>(target, &positions, &value))
}

fn write<T: Stored>(target: &mut Tensor, positions: &[i64], value: &Tensor) -> Result<()> {
    let value = value.contiguous_elements::<T>()?;
    let elements = target.make_mut::<T>()?;
    for (&position, &value) in positions.iter().zip(value.iter()) {
        let place = elements.get_mut(position as usize);
        *place.ok_or_else(|| Error::internal("an unchecked position"))? = value;
    }
    Ok(())
}
