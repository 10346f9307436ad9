//! The functions that make tensors of Python's values.

use autodan_core::{DType, Tensor, ops};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{self, Arg, DTypeArg, FLOAT32, Operand, ShapeArg};
use crate::enter::enter_attached;
use crate::error::to_python;
use crate::ops::{Output, run};
use crate::tensor::PyTensor;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        [
            tensor,
            asarray,
            zeros,
            ones,
            full,
            zeros_like,
            ones_like,
            full_like,
            eye,
            arange,
            linspace,
            cast,
            gather_rows
        ]
    );
    Ok(())
}

/// A tensor of the data, copied; Python's floats are float32, its integers int64.
///
/// >>> ad.tensor([1.0, 2.0])
/// tensor([1., 2.], shape=(2,), dtype=float32)
#[pyfunction]
#[pyo3(signature = (data, dtype=None, requires_grad=false))]
fn tensor(data: &Bound<'_, PyAny>, dtype: Option<DTypeArg>, requires_grad: bool) -> Output {
    let mut x = read(data, dtype)?.detach();
    if x.storage().is_foreign() || data.is_instance_of::<PyTensor>() {
        x = ops::view::copy(&x).map_err(to_python)?;
    }
    if requires_grad {
        x = x.with_grad().map_err(to_python)?;
    }
    Ok(PyTensor::new(x))
}

/// The tensor of an object in a dtype: Python's scalars directly, without a detour through float32.
fn read(data: &Bound<'_, PyAny>, dtype: Option<DTypeArg>) -> PyResult<Tensor> {
    let Some(DTypeArg(dtype)) = dtype else {
        return if convert::is_numpy_scalar(data)? { convert::array(data) } else { convert::tensor(data) };
    };
    let x = match Operand::from_python(data)? {
        Operand::Float(value) => return Tensor::full(&[], value, dtype).map_err(to_python),
        Operand::Tensor(_) if dtype == DType::Float64 && !data.is_instance_of::<PyTensor>() => {
            // A nested list of Python's floats keeps its doubles when float64 is asked for.
            let array = convert::numpy(data.py())?.call_method1("asarray", (data,))?;
            convert::tensor(&array)?
        }
        other => other.into_tensor()?,
    };
    ops::cast(&x, dtype).map_err(to_python)
}

/// A tensor of the data. copy=None copies memory of others; copy=True always; copy=False borrows a NumPy array's
/// memory, or fails.
///
/// >>> import numpy as np
/// >>> a = np.ones(2, np.float32)
/// >>> np.shares_memory(a, ad.asarray(a, copy=False).numpy())
/// True
#[pyfunction]
#[pyo3(signature = (data, dtype=None, copy=None))]
fn asarray(data: &Bound<'_, PyAny>, dtype: Option<DTypeArg>, copy: Option<bool>) -> Output {
    if copy == Some(true) {
        return tensor(data, dtype, false);
    }
    let is_ours = data.is_instance_of::<PyTensor>();
    if copy == Some(false) && !is_ours {
        let Some(x) = convert::borrow(data)?.filter(|x| dtype.is_none_or(|dtype| dtype.0 == x.dtype()))
        else {
            return Err(PyValueError::new_err(
                "asarray: this object cannot be borrowed without a copy; only NumPy arrays of a supported dtype can",
            ));
        };
        return Ok(PyTensor::new(x));
    }
    let x = read(data, dtype)?;
    if copy == Some(false) && is_ours && !convert::tensor(data)?.same_value(&x) {
        return Err(PyValueError::new_err("asarray: another dtype needs a copy"));
    }
    Ok(PyTensor::new(x))
}

/// The number of elements of a shape, as far as it can be counted: a measure of work.
fn len(shape: &[usize]) -> usize {
    shape.iter().copied().fold(1, usize::saturating_mul)
}

/// Zeros.
///
/// >>> ad.zeros((2, 3)).tolist()
/// [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
#[pyfunction]
#[pyo3(signature = (shape, dtype=FLOAT32), text_signature = "(shape, dtype='float32')")]
fn zeros(py: Python<'_>, shape: ShapeArg, dtype: DTypeArg) -> Output {
    run(py, len(&shape.0), || Tensor::full(&shape.0, 0.0, dtype.0))
}

/// Ones.
///
/// >>> ad.ones(2, dtype="int64").tolist()
/// [1, 1]
#[pyfunction]
#[pyo3(signature = (shape, dtype=FLOAT32), text_signature = "(shape, dtype='float32')")]
fn ones(py: Python<'_>, shape: ShapeArg, dtype: DTypeArg) -> Output {
    run(py, len(&shape.0), || Tensor::full(&shape.0, 1.0, dtype.0))
}

/// One value in every element; the dtype is by default that of the value.
///
/// >>> ad.full((2, 2), 7).tolist()
/// [[7, 7], [7, 7]]
#[pyfunction]
#[pyo3(signature = (shape, fill_value, dtype=None))]
fn full(py: Python<'_>, shape: ShapeArg, fill_value: &Bound<'_, PyAny>, dtype: Option<DTypeArg>) -> Output {
    let value = read(fill_value, dtype)?;
    run(py, len(&shape.0), || ops::view::copy(&ops::broadcast_to(&value, &shape.0)?))
}

/// Zeros in the shape (and by default the dtype) of `x`.
///
/// >>> ad.zeros_like([1.0, 2.0]).tolist()
/// [0.0, 0.0]
#[pyfunction]
#[pyo3(signature = (x, dtype=None))]
fn zeros_like(py: Python<'_>, x: Arg, dtype: Option<DTypeArg>) -> Output {
    run(py, x.0.len(), || Tensor::full(x.0.shape(), 0.0, dtype.map_or(x.0.dtype(), |dtype| dtype.0)))
}

/// Ones in the shape (and by default the dtype) of `x`.
///
/// >>> ad.ones_like([[1, 2]]).tolist()
/// [[1, 1]]
#[pyfunction]
#[pyo3(signature = (x, dtype=None))]
fn ones_like(py: Python<'_>, x: Arg, dtype: Option<DTypeArg>) -> Output {
    run(py, x.0.len(), || Tensor::full(x.0.shape(), 1.0, dtype.map_or(x.0.dtype(), |dtype| dtype.0)))
}

/// One value in the shape (and by default the dtype) of `x`.
///
/// >>> ad.full_like([1.0, 2.0], 0.5).tolist()
/// [0.5, 0.5]
#[pyfunction]
#[pyo3(signature = (x, fill_value, dtype=None))]
fn full_like(py: Python<'_>, x: Arg, fill_value: &Bound<'_, PyAny>, dtype: Option<DTypeArg>) -> Output {
    let dtype = dtype.unwrap_or(DTypeArg(x.0.dtype()));
    let value = read(fill_value, Some(dtype))?;
    run(py, x.0.len(), || ops::view::copy(&ops::broadcast_to(&value, x.0.shape())?))
}

/// `n` by `m` (default `n`), 1 on the diagonal and 0 elsewhere.
///
/// >>> ad.eye(2, 3).tolist()
/// [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
#[pyfunction]
#[pyo3(signature = (n, m=None, dtype=FLOAT32), text_signature = "(n, m=None, dtype='float32')")]
fn eye(py: Python<'_>, n: usize, m: Option<usize>, dtype: DTypeArg) -> Output {
    let columns = m.unwrap_or(n);
    run(py, n.saturating_mul(columns), || ops::eye(n, columns, dtype.0))
}

/// `start, start + step, ...` up to but without `stop`; int64 when all are integers, else float32.
///
/// >>> ad.arange(1, 10, 3).tolist()
/// [1, 4, 7]
#[pyfunction]
#[pyo3(signature = (start, stop=None, step=None, dtype=None), text_signature = "(start, stop=None, step=1, dtype=None)")]
fn arange(
    py: Python<'_>,
    start: &Bound<'_, PyAny>,
    stop: Option<&Bound<'_, PyAny>>,
    step: Option<&Bound<'_, PyAny>>,
    dtype: Option<DTypeArg>,
) -> Output {
    let whole = |value: &Bound<'_, PyAny>| value.extract::<i64>().ok();
    let number = |value: &Bound<'_, PyAny>| value.extract::<f64>();
    let (first, last) = stop.map_or((None, start), |stop| (Some(start), stop));
    if let (Some(first), Some(last), Some(step)) =
        (first.map_or(Some(0), whole), whole(last), step.map_or(Some(1), whole))
    {
        let dtype = dtype.map_or(DType::Int64, |dtype| dtype.0);
        // A range has at most as many elements as its bounds are apart.
        let most = last.abs_diff(first) as usize;
        return run(py, most, || ops::cast(&ops::arange_integers(first, last, step)?, dtype));
    }
    let (first, last, step) = (first.map_or(Ok(0.0), number)?, number(last)?, step.map_or(Ok(1.0), number)?);
    run(py, ((last - first) / step) as usize, || {
        ops::arange(first, last, step, dtype.map_or(DType::Float32, |dtype| dtype.0))
    })
}

/// `num` values at equal distances from `start` to `stop`, both included.
///
/// >>> ad.linspace(0.0, 1.0, 5).tolist()
/// [0.0, 0.25, 0.5, 0.75, 1.0]
#[pyfunction]
#[pyo3(signature = (start, stop, num=50, dtype=FLOAT32), text_signature = "(start, stop, num=50, dtype='float32')")]
fn linspace(py: Python<'_>, start: f64, stop: f64, num: usize, dtype: DTypeArg) -> Output {
    run(py, num, || ops::linspace(start, stop, num, dtype.0))
}

/// `x` in another dtype.
///
/// >>> ad.cast([0.5, 1.5], "int32").tolist()
/// [0, 1]
#[pyfunction]
fn cast(py: Python<'_>, x: Arg, dtype: DTypeArg) -> Output {
    run(py, x.0.len(), || ops::cast(&x.0, dtype.0))
}

/// The rows of `x` that `order` (int64) numbers from place `start` up to but without `stop`, or without an order
/// the rows from `start` to `stop`, in `dtype`. Nothing is recorded for differentiation.
///
/// >>> x = ad.tensor([[1, 2], [3, 4], [5, 6]])
/// >>> _core.gather_rows(x, ad.tensor([2, 0, 1]), 0, 2, "float32").tolist()
/// [[5.0, 6.0], [1.0, 2.0]]
#[pyfunction]
#[pyo3(signature = (x, order, start, stop, dtype))]
fn gather_rows(
    py: Python<'_>,
    x: Arg,
    order: Option<Arg>,
    start: usize,
    stop: usize,
    dtype: DTypeArg,
) -> Output {
    // With the GIL: `x` may be an array's own memory, which Python's threads write to.
    let rows = || ops::gather_rows(&x.0, order.as_ref().map(|order| &order.0), start..stop, dtype.0);
    enter_attached(py, rows).map(PyTensor::new)
}
