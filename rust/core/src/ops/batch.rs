//! Batches of a data set, outside differentiation: what an input path does before every step.

use std::ops::Range;

use autodan_kernels::buffer::Buffer;
use autodan_kernels::{elementwise, gather};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{AxisRange, Shape, checked_len};
use crate::ops::cast::{Cast, convert};
use crate::storage::{Contiguous, Stored};
use crate::tensor::Tensor;
use crate::with_dtype;

/// The rows of `x` that `order` (int64) numbers in `range`, or without an order the rows `range`, as a new
/// tensor of `dtype`. `x` may be borrowed memory, of which nothing but these rows is read.
///
/// # Errors
/// [`Error::Shape`] for an `x` without rows, [`Error::DType`] for an order that is not int64,
/// [`Error::Index`] when there are no such rows, [`Error::Memory`].
pub fn gather_rows(x: &Tensor, order: Option<&Tensor>, range: Range<usize>, dtype: DType) -> Result<Tensor> {
    let Some((&count, row)) = x.shape().split_first() else {
        return Err(Error::shape("gather_rows", "a tensor of shape () has no rows"));
    };
    let numbers = order.map(numbers).transpose()?;
    let available = numbers.as_ref().map_or(count, |numbers| numbers.len());
    if range.start > range.end || range.end > available {
        let message = format!("rows {} to {} of {available} do not exist", range.start, range.end);
        return Err(Error::index("gather_rows", message));
    }
    let rows = match &numbers {
        Some(numbers) => Rows::Listed(in_bounds(&numbers[range], count)?),
        None => Rows::Range(range),
    };
    let mut shape = Shape::from_slice(&[rows.len()]);
    shape.extend(row.iter().copied());
    if x.dtype() == dtype {
        with_dtype!(dtype, T => collect(x, &rows, &shape, |x: T| x))
    } else {
        with_dtype!(x.dtype(), A => with_dtype!(dtype, B => collect(x, &rows, &shape, convert::<A, B>)))
    }
}

enum Rows<'a> {
    Range(Range<usize>),
    Listed(&'a [i64]),
}

impl Rows<'_> {
    fn len(&self) -> usize {
        match self {
            Rows::Range(range) => range.len(),
            Rows::Listed(numbers) => numbers.len(),
        }
    }
}

/// The numbers of an order of rows.
fn numbers(order: &Tensor) -> Result<Contiguous<'_, i64>> {
    if order.dtype() != DType::Int64 {
        return Err(Error::dtype("gather_rows", order.dtype(), "an order of int64"));
    }
    order.contiguous_elements()
}

/// The numbers, all of which are those of rows.
fn in_bounds(numbers: &[i64], count: usize) -> Result<&[i64]> {
    let exists = |&number: &i64| usize::try_from(number).is_ok_and(|number| number < count);
    match numbers.iter().find(|number| !exists(number)) {
        None => Ok(numbers),
        Some(number) => {
            Err(Error::index("gather_rows", format!("row {number} does not exist; there are {count} rows")))
        }
    }
}

fn collect<A: Cast + Stored, B: Cast + Stored>(
    x: &Tensor,
    rows: &Rows<'_>,
    shape: &[usize],
    f: impl Fn(A) -> B + Sync,
) -> Result<Tensor> {
    let mut y = Buffer::<B>::new(checked_len("gather_rows", shape)?)?;
    match rows {
        Rows::Listed(numbers) => gather::gather(x.input().view::<A>()?, numbers, &mut y, f),
        Rows::Range(range) => {
            let range = AxisRange { start: range.start, step: 1, len: range.len() };
            let layout = x.layout().slice(&[range]);
            let part = x.input().view_as::<A>(&layout)?;
            elementwise::map(part, &mut y, f);
        }
    }
    Tensor::from_buffer(y, shape)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::reversed_empty_ranges)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_order_and_in_any_order() {
        let x = Tensor::from_slice(&[1u8, 2, 3, 4, 5, 6], &[3, 2]).unwrap();
        let order = Tensor::from_slice(&[2i64, 0, 1], &[3]).unwrap();
        let y = gather_rows(&x, Some(&order), 0..2, DType::Float32).unwrap();
        assert_eq!((y.shape(), y.to_vec::<f32>().unwrap()), (&[2, 2][..], vec![5.0, 6.0, 1.0, 2.0]));
        let y = gather_rows(&x, None, 1..3, DType::UInt8).unwrap();
        assert_eq!((y.shape(), y.to_vec::<u8>().unwrap()), (&[2, 2][..], vec![3, 4, 5, 6]));
        assert_eq!(gather_rows(&x, None, 3..3, DType::Float64).unwrap().shape(), &[0, 2]);
    }

    #[test]
    fn what_is_refused() {
        let x = Tensor::from_slice(&[1.0f32, 2.0], &[2]).unwrap();
        let refused = |x: &Tensor, order: Option<&[i64]>, range: Range<usize>| {
            let order = order.map(|order| Tensor::from_slice(order, &[order.len()]).unwrap());
            gather_rows(x, order.as_ref(), range, DType::Float32).unwrap_err().to_string()
        };
        let message = "gather_rows: rows 1 to 3 of 2 do not exist";
        assert_eq!(refused(&x, None, 1..3), message);
        assert_eq!(refused(&x, Some(&[0, 1]), 1..3), message);
        assert_eq!(refused(&x, None, 2..1), "gather_rows: rows 2 to 1 of 2 do not exist");
        for number in [-1, 2, i64::MIN] {
            let message = format!("gather_rows: row {number} does not exist; there are 2 rows");
            assert_eq!(refused(&x, Some(&[0, number]), 0..2), message);
        }
        let scalar = Tensor::scalar(1.0f32).unwrap();
        assert_eq!(refused(&scalar, None, 0..0), "gather_rows: a tensor of shape () has no rows");
        let floats = gather_rows(&x, Some(&x), 0..1, DType::Float32).unwrap_err().to_string();
        assert!(floats.starts_with("gather_rows: expected an order of int64, got float32"), "{floats}");
    }
}
