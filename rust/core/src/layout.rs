//! Where a tensor's elements lie: shape, strides, offset. Integers only.

use smallvec::SmallVec;

use crate::error::{Error, Result, show_shape};

/// A shape or axis list; no heap up to six axes.
pub type Shape = SmallVec<[usize; 6]>;

/// Strides in elements; negative ones run backwards, 0 repeats.
pub type Strides = SmallVec<[isize; 6]>;

/// More axes than anybody uses, few enough that kernels may keep fixed-size tables.
pub const MAX_NDIM: usize = 32;

/// The place of each element: `offset + sum(index[i] * strides[i])`.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    shape: Shape,
    strides: Strides,
    offset: usize,
}

impl Clone for Layout {
    // Derived, it would copy number by number.
    fn clone(&self) -> Layout {
        Layout {
            shape: Shape::from_slice(&self.shape),
            strides: Strides::from_slice(&self.strides),
            offset: self.offset,
        }
    }
}

/// The number of elements of a shape.
///
/// # Errors
/// [`Error::Value`] when it, or the size in bytes of the widest element, exceeds the address space,
/// or there are more than [`MAX_NDIM`] axes.
pub fn checked_len(op: &'static str, shape: &[usize]) -> Result<usize> {
    if shape.len() > MAX_NDIM {
        return Err(Error::value(op, format!("{} axes are more than the {MAX_NDIM} supported", shape.len())));
    }
    // A side of 0 makes the tensor empty, but the other sides must still be addressable.
    shape
        .iter()
        .try_fold(1usize, |n, &side| n.checked_mul(side.max(1)))
        .filter(|&n| n <= isize::MAX as usize / 8)
        .map(|n| if shape.contains(&0) { 0 } else { n })
        .ok_or_else(|| Error::value(op, format!("shape {} exceeds the address space", show_shape(shape))))
}

/// The shape to which shapes broadcast (NumPy's rule), or `None`.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Option<Shape> {
    if a == b {
        return Some(Shape::from_slice(a));
    }
    let ndim = a.len().max(b.len());
    let mut shape = Shape::with_capacity(ndim);
    for i in 0..ndim {
        let side = |s: &[usize]| (i + s.len()).checked_sub(ndim).map_or(1, |axis| s[axis]);
        shape.push(match (side(a), side(b)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return None,
        });
    }
    Some(shape)
}

/// A possibly negative axis as an index into `ndim` axes.
///
/// # Errors
/// [`Error::Index`] when it is out of range.
pub fn normalize_axis(op: &'static str, axis: isize, ndim: usize) -> Result<usize> {
    let index = if axis < 0 { axis + ndim as isize } else { axis };
    if (0..ndim as isize).contains(&index) {
        Ok(index as usize)
    } else {
        Err(Error::index(op, format!("axis {axis} is out of bounds for a tensor of {ndim} dimensions")))
    }
}

/// The axes counted from the first, in the order in which they are named.
///
/// # Errors
/// [`Error::Index`] for an axis that does not exist, [`Error::Value`] for one that is named twice.
pub fn distinct_axes(op: &'static str, axes: &[isize], ndim: usize) -> Result<Shape> {
    let mut out = Shape::new();
    for &axis in axes {
        let index = normalize_axis(op, axis, ndim)?;
        if out.contains(&index) {
            return Err(Error::value(op, format!("axis {axis} is named twice in {axes:?}")));
        }
        out.push(index);
    }
    Ok(out)
}

impl Layout {
    /// The row-major layout of a shape whose length was checked.
    pub fn contiguous(shape: Shape) -> Layout {
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let mut step = 1isize;
        for (stride, &side) in strides.iter_mut().zip(&shape).rev() {
            *stride = step;
            step *= side.max(1) as isize;
        }
        Layout { shape, strides, offset: 0 }
    }

    /// The sides.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The strides, in elements.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// The place of the first element.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of axes.
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Whether the elements lie one after the other in row-major order: for every axis of a side
    /// other than 1, the stride is the product of the later sides. (Empty tensors are contiguous.)
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&side, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if side == 0 {
                return true;
            }
            if side != 1 {
                if stride != step {
                    return self.is_empty();
                }
                step *= side as isize;
            }
        }
        true
    }

    /// The axes in another order; `axes` is a permutation.
    pub fn permute(&self, axes: &[usize]) -> Layout {
        Layout {
            shape: axes.iter().map(|&axis| self.shape[axis]).collect(),
            strides: axes.iter().map(|&axis| self.strides[axis]).collect(),
            offset: self.offset,
        }
    }

    /// Repeated along new leading axes and axes of side 1; `shape` was checked to be reachable.
    pub fn broadcast_to(&self, shape: &[usize]) -> Layout {
        let new = shape.len() - self.ndim();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        for axis in 0..self.ndim() {
            if self.shape[axis] == shape[new + axis] {
                strides[new + axis] = self.strides[axis];
            }
        }
        Layout { shape: Shape::from_slice(shape), strides, offset: self.offset }
    }

    /// Every `step`-th index of each axis, from `start`, `len` of them; checked to be in bounds.
    pub fn slice(&self, ranges: &[AxisRange]) -> Layout {
        let mut layout = self.clone();
        let mut offset = self.offset as isize;
        for (axis, range) in ranges.iter().enumerate() {
            if range.len > 0 {
                offset += range.start as isize * self.strides[axis];
            }
            layout.shape[axis] = range.len;
            // Only between elements is there a step, which may be larger than any memory.
            if range.len > 1 {
                layout.strides[axis] *= range.step;
            }
        }
        // An empty selection has no first element: any valid offset will do.
        layout.offset = if layout.is_empty() { self.offset } else { offset as usize };
        layout
    }

    /// The same elements in the same order under another shape of the same length, without moving
    /// them; `None` when strides cannot say so.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() {
            let mut layout = Layout::contiguous(Shape::from_slice(shape));
            layout.offset = self.offset;
            return Some(layout);
        }
        // Walk both shapes in groups of equal product; inside an old group strides must chain.
        let old: SmallVec<[(usize, isize); 6]> = self
            .shape
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|&(side, _)| side != 1)
            .collect();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (first, mut old_len) = (i, old[i].0);
            let (group, mut new_len) = (j, 1);
            while new_len != old_len || (j < shape.len() && shape[j] == 1) {
                if new_len < old_len || (new_len == old_len && j < shape.len()) {
                    new_len *= *shape.get(j)?;
                    j += 1;
                } else {
                    i += 1;
                    old_len *= old.get(i)?.0;
                }
            }
            for k in first..i {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                    return None;
                }
            }
            let mut step = old[i].1;
            for axis in (group..j).rev() {
                strides[axis] = step;
                step *= shape[axis] as isize;
            }
            i += 1;
        }
        Some(Layout { shape: Shape::from_slice(shape), strides, offset: self.offset })
    }

    /// The layout with the given parts; for memory that others laid out. `None` unless every
    /// element lies within `0..storage_len`.
    pub fn from_parts(shape: Shape, strides: Strides, offset: usize, storage_len: usize) -> Option<Layout> {
        let layout = Layout { shape, strides, offset };
        if layout.shape.len() != layout.strides.len() {
            return None;
        }
        if layout.is_empty() {
            return Some(Layout { offset: 0, ..layout });
        }
        let (mut low, mut high) = (offset as i128, offset as i128);
        for (&side, &stride) in layout.shape.iter().zip(&layout.strides) {
            let reach = (side as i128 - 1) * stride as i128;
            low += reach.min(0);
            high += reach.max(0);
        }
        (low >= 0 && high < storage_len as i128).then_some(layout)
    }
}

/// A selection along one axis: `len` indices from `start`, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisRange {
    /// The first index.
    pub start: usize,
    /// The distance, not 0; negative ones run backwards.
    pub step: isize,
    /// How many.
    pub len: usize,
}

impl AxisRange {
    /// All of an axis.
    pub fn full(len: usize) -> AxisRange {
        AxisRange { start: 0, step: 1, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sides: &[usize]) -> Shape {
        Shape::from_slice(sides)
    }

    /// The places of all elements in row-major order.
    fn places(layout: &Layout) -> Vec<usize> {
        let mut out = Vec::new();
        for mut i in 0..layout.len() {
            let mut place = layout.offset() as isize;
            for (&side, &stride) in layout.shape().iter().zip(layout.strides()).rev() {
                place += (i % side) as isize * stride;
                i /= side;
            }
            out.push(place as usize);
        }
        out
    }

    #[test]
    fn reshape_keeps_the_order_of_elements() {
        let base = Layout::contiguous(shape(&[4, 6, 2]));
        let views = [
            base.clone(),
            base.permute(&[1, 0, 2]),
            base.permute(&[2, 0, 1]),
            base.slice(&[AxisRange { start: 3, step: -1, len: 4 }, AxisRange::full(6), AxisRange::full(2)]),
            base.slice(&[AxisRange { start: 0, step: 2, len: 2 }, AxisRange::full(6), AxisRange::full(2)]),
            base.broadcast_to(&[3, 4, 6, 2]),
        ];
        for view in &views {
            let n = view.len();
            for target in [
                vec![n],
                vec![1, n, 1],
                vec![2, n / 2],
                vec![n / 2, 2],
                vec![n / 12, 1, 6, 2],
                vec![4, n / 8, 2],
            ] {
                if let Some(got) = view.reshape(&target) {
                    assert_eq!(places(&got), places(view), "{view:?} to {target:?}");
                }
            }
        }
        assert!(base.permute(&[1, 0, 2]).reshape(&[24, 2]).is_none());
        assert!(base.permute(&[1, 0, 2]).reshape(&[6, 2, 2, 2]).is_some());
        assert!(base.permute(&[1, 0, 2]).reshape(&[1, 6, 1, 4, 2, 1]).is_some());
    }

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast_shapes(&[3, 1], &[4]), Some(shape(&[3, 4])));
        assert_eq!(broadcast_shapes(&[0], &[1]), Some(shape(&[0])));
        assert_eq!(broadcast_shapes(&[2], &[3]), None);
        assert_eq!(broadcast_shapes(&[], &[2, 2]), Some(shape(&[2, 2])));
    }

    #[test]
    fn lengths_are_checked() {
        assert!(checked_len("zeros", &[usize::MAX, 2]).is_err());
        assert!(checked_len("zeros", &[usize::MAX, 0]).is_err());
        assert_eq!(checked_len("zeros", &[3, 0, 2]).ok(), Some(0));
        assert!(checked_len("zeros", &[1; 33]).is_err());
    }
}
