//! The operators of `Tensor`, with tensors, arrays and numbers on either side.

use autodan_core::{DType, Result, Tensor, ops};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;

use super::{PyTensor, matmul};
use crate::convert::pair;
use crate::enter::{elements, enter};

/// A tensor as a new Python object.
pub(super) fn wrap(py: Python<'_>, result: PyResult<Tensor>) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, PyTensor::new(result?))?.into_any())
}

/// `f(a, b)`, or `NotImplemented` for operands that cannot be tensors, so that Python may ask the other one.
fn binary(
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor> + Send,
) -> PyResult<Py<PyAny>> {
    let py = a.py();
    match pair(a, b) {
        Ok((a, b)) => wrap(py, enter(py, elements(&[&a, &b]), || f(&a, &b))),
        Err(error) if error.is_instance_of::<PyTypeError>(py) => Ok(py.NotImplemented()),
        Err(error) => Err(error),
    }
}

#[pymethods]
impl PyTensor {
    fn __add__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(slf.as_any(), other, ops::add)
    }

    fn __radd__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(other, slf.as_any(), ops::add)
    }

    fn __sub__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(slf.as_any(), other, ops::subtract)
    }

    fn __rsub__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(other, slf.as_any(), ops::subtract)
    }

    fn __mul__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(slf.as_any(), other, ops::multiply)
    }

    fn __rmul__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(other, slf.as_any(), ops::multiply)
    }

    fn __truediv__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(slf.as_any(), other, ops::divide)
    }

    fn __rtruediv__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(other, slf.as_any(), ops::divide)
    }

    fn __floordiv__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(slf.as_any(), other, ops::floor_divide)
    }

    fn __rfloordiv__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(other, slf.as_any(), ops::floor_divide)
    }

    fn __mod__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(slf.as_any(), other, ops::modulo)
    }

    fn __rmod__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        binary(other, slf.as_any(), ops::modulo)
    }

    fn __pow__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        modulo: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        power(slf.as_any(), other, modulo)
    }

    fn __rpow__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        modulo: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        power(other, slf.as_any(), modulo)
    }

    fn __matmul__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        PyTensor::matmul(slf, other)
    }

    fn __rmatmul__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let (a, b) = pair(other, slf.as_any())?;
        matmul(slf.py(), &a, &b).map(PyTensor::new)
    }

    fn __and__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        logic(slf.as_any(), other, "&", ops::logical_and)
    }

    fn __rand__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        logic(other, slf.as_any(), "&", ops::logical_and)
    }

    fn __or__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        logic(slf.as_any(), other, "|", ops::logical_or)
    }

    fn __ror__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        logic(other, slf.as_any(), "|", ops::logical_or)
    }

    fn __xor__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        logic(slf.as_any(), other, "^", ops::logical_xor)
    }

    fn __rxor__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        logic(other, slf.as_any(), "^", ops::logical_xor)
    }

    fn __invert__(&self, py: Python<'_>) -> PyResult<PyTensor> {
        let x = self.tensor();
        if x.dtype() != DType::Bool {
            let message = format!("~ takes a bool tensor, got {}; use logical_not()", x.dtype());
            return Err(PyTypeError::new_err(message));
        }
        self.unary(py, ops::logical_not)
    }

    fn __neg__(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::negative)
    }

    fn __pos__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __abs__(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::abs)
    }

    fn __richcmp__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let compare = match op {
            CompareOp::Eq => ops::equal,
            CompareOp::Ne => ops::not_equal,
            CompareOp::Lt => ops::less,
            CompareOp::Le => ops::less_equal,
            CompareOp::Gt => ops::greater,
            CompareOp::Ge => ops::greater_equal,
        };
        binary(slf.as_any(), other, compare)
    }
}

fn power(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, modulo: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if !modulo.is_none() {
        return Err(PyValueError::new_err("pow() of a tensor takes no modulus"));
    }
    // Squares are the common case, and exact.
    if let Ok(tensor) = a.cast::<PyTensor>()
        && b.extract::<f64>().is_ok_and(|exponent| exponent == 2.0)
        && !b.is_instance_of::<PyTensor>()
    {
        let x = tensor.get().tensor();
        return wrap(a.py(), enter(a.py(), x.len(), || ops::square(&x)));
    }
    binary(a, b, ops::power)
}

fn logic(
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    symbol: &str,
    f: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> PyResult<Py<PyAny>> {
    let (x, y) = pair(a, b)?;
    if x.dtype() != DType::Bool || y.dtype() != DType::Bool {
        let message = format!("{symbol} takes bool tensors, got {} and {}", x.dtype(), y.dtype());
        return Err(PyTypeError::new_err(message));
    }
    wrap(a.py(), enter(a.py(), elements(&[&x, &y]), || f(&x, &y)))
}
