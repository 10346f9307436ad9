//! `t[key]` and `t[key] = value`, as NumPy has them.
//!
//! Integers, slices of any step, `None` and `...` make views. Integer arrays and boolean masks pick
//! elements: all of a key's arrays broadcast together, and their common shape takes the place of the axes
//! that they index (the first place, when those axes are not neighbours).

use autodan_core::layout::{AxisRange, Shape, broadcast_shapes};
use autodan_core::{DType, Error, Result, Tensor, ops};
use autodan_kernels::buffer::Buffer;
use autodan_kernels::element::Bool;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PySlice, PyTuple};

use crate::convert;
use crate::error::to_python;

/// One entry of a key, next to the axis that it selects from.
enum Entry {
    /// Keeps the axis.
    Range(AxisRange),
    /// Drops the axis.
    Index(usize),
    /// Adds an axis.
    NewAxis,
    /// Picks elements.
    Array(Tensor),
}

/// A parsed key: every axis of the tensor is named by one entry that is not [`Entry::NewAxis`].
pub(crate) struct Key {
    entries: Vec<Entry>,
    /// Whether an ellipsis stands between arrays, perhaps one that names no axes.
    parted: bool,
}

impl Key {
    /// Parses a key for a tensor of this shape.
    pub(crate) fn parse(key: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<Key> {
        let items: Vec<Bound<'_, PyAny>> = match key.cast::<PyTuple>() {
            Ok(tuple) => tuple.iter().collect(),
            Err(_) => vec![key.clone()],
        };
        let mut parsed = Vec::with_capacity(items.len());
        for item in &items {
            parsed.push(Item::parse(item)?);
        }
        let named: usize = parsed.iter().map(Item::axes).sum();
        if named > shape.len() {
            let message = format!("{named} indices for a tensor of {} dimensions", shape.len());
            return Err(PyIndexError::new_err(message));
        }
        if parsed.iter().filter(|item| matches!(item, Item::Ellipsis)).count() > 1 {
            return Err(PyIndexError::new_err("an index can only have one ellipsis ('...')"));
        }
        if !parsed.iter().any(|item| matches!(item, Item::Ellipsis)) {
            parsed.push(Item::Ellipsis);
        }
        let picks = parsed.iter().any(|item| matches!(item, Item::Array(_) | Item::Mask(_)));
        let mut entries = Vec::new();
        let mut ellipsis = 0;
        let mut axis = 0;
        for (item, source) in parsed.into_iter().zip(items.iter().map(Some).chain([None])) {
            match item {
                Item::Ellipsis => {
                    let rest = shape.len() - named;
                    ellipsis = entries.len();
                    entries.extend(
                        shape[axis..axis + rest].iter().map(|&side| Entry::Range(AxisRange::full(side))),
                    );
                    axis += rest;
                }
                Item::NewAxis => entries.push(Entry::NewAxis),
                Item::Integer(index) => {
                    let side = shape[axis] as i64;
                    let place = if index < 0 { index + side } else { index };
                    if !(0..side).contains(&place) {
                        let message =
                            format!("index {index} is out of bounds for axis {axis} of {side} elements");
                        return Err(PyIndexError::new_err(message));
                    }
                    // Next to arrays an integer is one of them.
                    entries.push(match picks {
                        true => Entry::Array(Tensor::scalar(place).map_err(to_python)?),
                        false => Entry::Index(place as usize),
                    });
                    axis += 1;
                }
                Item::Slice => {
                    let Some(slice) = source.and_then(|source| source.cast::<PySlice>().ok()) else {
                        continue;
                    };
                    let indices = slice.indices(shape[axis] as isize)?;
                    entries.push(Entry::Range(AxisRange {
                        start: indices.start.max(0) as usize,
                        step: indices.step,
                        len: indices.slicelength,
                    }));
                    axis += 1;
                }
                Item::Array(indices) => {
                    entries.push(Entry::Array(indices));
                    axis += 1;
                }
                Item::Mask(mask) => {
                    let covered = shape.get(axis..axis + mask.ndim()).unwrap_or_default();
                    if covered != mask.shape() {
                        let message = format!(
                            "a mask of shape {} does not fit the axes of shape {} that it covers",
                            mask.show_shape(),
                            autodan_core::error::show_shape(covered)
                        );
                        return Err(PyIndexError::new_err(message));
                    }
                    axis += mask.ndim();
                    entries.extend(places(&mask).map_err(to_python)?.into_iter().map(Entry::Array));
                }
            }
        }
        let (before, after) = entries.split_at(ellipsis);
        let arrays = |entries: &[Entry]| entries.iter().any(|entry| matches!(entry, Entry::Array(_)));
        let parted = arrays(before) && arrays(after);
        Ok(Key { entries, parted })
    }

    /// The ranges of each axis, and the shape after dropping and adding axes (arrays keep theirs whole).
    fn ranges(&self, shape: &[usize]) -> (Vec<AxisRange>, Shape) {
        let mut ranges = Vec::with_capacity(shape.len());
        let mut result = Shape::new();
        for entry in &self.entries {
            match entry {
                Entry::NewAxis => result.push(1),
                Entry::Range(range) => {
                    ranges.push(*range);
                    result.push(range.len);
                }
                Entry::Index(index) => ranges.push(AxisRange { start: *index, step: 1, len: 1 }),
                Entry::Array(_) => {
                    let side = shape[ranges.len()];
                    ranges.push(AxisRange::full(side));
                    result.push(side);
                }
            }
        }
        (ranges, result)
    }

    fn has_arrays(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Array(_)))
    }

    /// The selected elements.
    pub(crate) fn select(&self, x: &Tensor) -> Result<Tensor> {
        let (ranges, shape) = self.ranges(x.shape());
        let view = ops::reshape(&ops::slice(x, &ranges)?, &shape)?;
        if self.has_arrays() { self.pick(&view) } else { Ok(view) }
    }

    /// Replaces the selected elements.
    pub(crate) fn assign(&self, x: &mut Tensor, value: &Tensor) -> Result<()> {
        if self.has_arrays() {
            let places = ops::reshape(&ops::arange_integers(0, x.len() as i64, 1)?, x.shape())?;
            return ops::write::write_at(x, &self.select(&places)?, value);
        }
        let (ranges, shape) = self.ranges(x.shape());
        ops::write::write_slice(x, &ranges, &shape, value)
    }

    /// Applies the arrays to the view that the other entries left.
    fn pick(&self, view: &Tensor) -> Result<Tensor> {
        let kept = self.entries.iter().filter(|entry| !matches!(entry, Entry::Index(_)));
        let (mut axes, mut arrays): (Vec<usize>, Vec<&Tensor>) = (Vec::new(), Vec::new());
        for (axis, entry) in kept.enumerate() {
            if let Entry::Array(indices) = entry {
                axes.push(axis);
                arrays.push(indices);
            }
        }
        let neighbours = !self.parted && axes.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let first = if neighbours { axes[0] } else { 0 };
        // The picked axes become neighbours, then one.
        let order: Vec<usize> = {
            let mut rest: Vec<usize> = (0..view.ndim()).filter(|axis| !axes.contains(axis)).collect();
            rest.splice(first..first, axes.iter().copied());
            rest
        };
        let signed: Vec<isize> = order.iter().map(|&axis| axis as isize).collect();
        let moved = ops::permute(view, &signed)?;
        let sides: Vec<usize> = axes.iter().map(|&axis| view.shape()[axis]).collect();
        let mut joined = Shape::from_slice(&moved.shape()[..first]);
        joined.push(sides.iter().product());
        joined.extend_from_slice(&moved.shape()[first + axes.len()..]);
        let flat = ops::reshape(&moved, &joined)?;
        ops::take(&flat, &flat_indices(&arrays, &sides)?, Some(first as isize))
    }
}

/// The indices into axes of these sides as indices into all of them joined.
fn flat_indices(arrays: &[&Tensor], sides: &[usize]) -> Result<Tensor> {
    if let [only] = arrays {
        return Ok((*only).clone());
    }
    let mut common = Shape::new();
    for array in arrays {
        common = broadcast_shapes(&common, array.shape()).ok_or_else(|| {
            let shapes: Vec<String> = arrays.iter().map(|array| array.show_shape()).collect();
            Error::index(
                "getitem",
                format!("index arrays of shapes {} do not broadcast", shapes.join(" and ")),
            )
        })?;
    }
    let mut flat: Option<Tensor> = None;
    for (array, &side) in arrays.iter().zip(sides) {
        let n = Tensor::scalar(side as i64)?;
        let zero = Tensor::scalar(0i64)?;
        let bad = ops::logical_or(&ops::greater_equal(array, &n)?, &ops::less(array, &ops::negative(&n)?)?)?;
        let bad = bad.contiguous_elements::<Bool>()?;
        if let Some(first) = bad.iter().position(|bad| bad.get()) {
            let index = array.contiguous_elements::<i64>()?[first];
            let message = format!("index {index} is out of bounds for an axis of {side} elements");
            return Err(Error::index("getitem", message));
        }
        let place = ops::select(&ops::less(array, &zero)?, &ops::add(array, &n)?, array)?;
        flat = Some(match flat {
            Some(before) => ops::add(&ops::multiply(&before, &n)?, &place)?,
            None => place,
        });
    }
    flat.ok_or_else(|| Error::internal("a key without arrays"))
}

/// The indices of a mask's true elements, one tensor for each axis.
fn places(mask: &Tensor) -> Result<Vec<Tensor>> {
    let elements = mask.contiguous_elements::<Bool>()?;
    let count = elements.iter().filter(|set| set.get()).count();
    let mut out = Vec::with_capacity(mask.ndim());
    for _ in mask.shape() {
        out.push(Buffer::<i64>::new(count)?);
    }
    let set = elements.iter().enumerate().filter(|(_, set)| set.get());
    for (number, (flat, _)) in set.enumerate() {
        let mut rest = flat;
        for (indices, &side) in out.iter_mut().zip(mask.shape()).rev() {
            indices[number] = (rest % side) as i64;
            rest /= side;
        }
    }
    out.into_iter().map(|indices| Tensor::from_buffer(indices, &[count])).collect()
}

/// One item of a key, before it is matched with axes.
enum Item {
    Ellipsis,
    NewAxis,
    Integer(i64),
    Slice,
    Array(Tensor),
    Mask(Tensor),
}

impl Item {
    fn parse(item: &Bound<'_, PyAny>) -> PyResult<Item> {
        if item.is_none() {
            return Ok(Item::NewAxis);
        }
        if item.is(PyEllipsis::get(item.py())) {
            return Ok(Item::Ellipsis);
        }
        if item.is_instance_of::<PySlice>() {
            return Ok(Item::Slice);
        }
        if item.is_instance_of::<PyInt>() && !item.is_instance_of::<PyBool>() {
            return item.extract().map(Item::Integer).map_err(|_| {
                PyIndexError::new_err(format!("index {} is out of bounds", convert::shown(item)))
            });
        }
        let tensor = convert::tensor(item)?;
        match tensor.dtype() {
            DType::Bool if tensor.ndim() > 0 => Ok(Item::Mask(tensor)),
            dtype if dtype.is_integer() && tensor.ndim() == 0 => {
                Ok(Item::Integer(tensor.item().map_err(to_python)? as i64))
            }
            dtype if dtype.is_integer() => {
                ops::cast(&tensor, DType::Int64).map(Item::Array).map_err(to_python)
            }
            // An empty list has the default dtype of floats.
            _ if tensor.is_empty() => ops::cast(&tensor, DType::Int64).map(Item::Array).map_err(to_python),
            dtype => Err(PyIndexError::new_err(format!(
                "an index is an integer, a slice, None, '...', an integer array or a boolean mask, not {dtype}"
            ))),
        }
    }

    /// The number of axes that it names.
    fn axes(&self) -> usize {
        match self {
            Item::Ellipsis | Item::NewAxis => 0,
            Item::Integer(_) | Item::Slice | Item::Array(_) => 1,
            Item::Mask(mask) => mask.ndim(),
        }
    }
}
