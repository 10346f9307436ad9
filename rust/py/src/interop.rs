//! NumPy's side of a tensor: the buffer protocol, and what NumPy's own functions do with one.

use std::ffi::CString;
use std::ptr;

use autodan_core::Tensor;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::convert;
use crate::tensor::PyTensor;

/// What an exported buffer keeps alive: the tensor's memory, and the shape and strides that the buffer
/// points to.
pub(crate) struct Export {
    _tensor: Tensor,
    shape: Vec<ffi::Py_ssize_t>,
    strides: Vec<ffi::Py_ssize_t>,
    format: CString,
}

/// Fills a read-only buffer over the tensor's memory. The memory outlives the tensor: the export holds it
/// until the buffer is released, and a handle that is written to meanwhile writes into a copy.
///
/// # Safety
/// `view` points to a buffer structure that may be written.
pub(crate) unsafe fn fill_buffer(tensor: Tensor, owner: Bound<'_, PyAny>, view: *mut ffi::Py_buffer) {
    let layout = tensor.layout();
    let size = tensor.dtype().size();
    let address = tensor.storage().address().cast_mut();
    let offset = if layout.is_empty() { 0 } else { layout.offset() * size };
    let export = Box::new(Export {
        shape: layout.shape().iter().map(|&side| side as ffi::Py_ssize_t).collect(),
        strides: layout.strides().iter().map(|&stride| stride * size as ffi::Py_ssize_t).collect(),
        format: convert::buffer_format(tensor.storage()).to_owned(),
        _tensor: tensor.clone(),
    });
    let (ndim, len) = (layout.ndim(), layout.len() * size);
    let export = Box::into_raw(export);
    // SAFETY: `view` may be written (see above). `export` was just made and is freed only by
    // `release_buffer`; its vectors do not move meanwhile. The offset lies within the storage.
    unsafe {
        *view = ffi::Py_buffer {
            buf: address.add(offset).cast(),
            obj: owner.into_ptr(),
            len: len as ffi::Py_ssize_t,
            itemsize: size as ffi::Py_ssize_t,
            readonly: 1,
            ndim: ndim as i32,
            format: (*export).format.as_ptr().cast_mut(),
            shape: (*export).shape.as_mut_ptr(),
            strides: (*export).strides.as_mut_ptr(),
            suboffsets: ptr::null_mut(),
            internal: export.cast(),
        };
    }
}

/// Frees what [`fill_buffer`] made.
///
/// # Safety
/// `view` was filled by [`fill_buffer`] and is released once.
pub(crate) unsafe fn release_buffer(view: *mut ffi::Py_buffer) {
    // SAFETY: `internal` is the box that `fill_buffer` leaked, and this is its only release.
    unsafe { drop(Box::from_raw((*view).internal.cast::<Export>())) };
}

/// The operator behind a NumPy function of two operands.
fn operator(ufunc: &str) -> Option<&'static str> {
    Some(match ufunc {
        "add" => "add",
        "subtract" => "sub",
        "multiply" => "mul",
        "divide" | "true_divide" => "truediv",
        "floor_divide" => "floordiv",
        "remainder" => "mod",
        "power" => "pow",
        "matmul" => "matmul",
        "equal" => "eq",
        "not_equal" => "ne",
        "less" => "lt",
        "less_equal" => "le",
        "greater" => "gt",
        "greater_equal" => "ge",
        "bitwise_and" => "and_",
        "bitwise_or" => "or_",
        "bitwise_xor" => "xor",
        _ => return None,
    })
}

/// `array + tensor` arrives here as `np.add(array, tensor)`: operators give tensors. Every other
/// universal function gives an array of the values.
pub(crate) fn array_ufunc<'py>(
    py: Python<'py>,
    ufunc: &Bound<'py, PyAny>,
    method: &str,
    inputs: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let name: String = ufunc.getattr("__name__")?.extract()?;
    if method == "__call__"
        && kwargs.is_none_or(|kwargs| kwargs.is_empty())
        && inputs.len() == 2
        && let Some(operator) = operator(&name)
    {
        // As a pair, so that a NumPy scalar takes the dtype of the tensor.
        let (a, b) = convert::pair(&inputs.get_item(0)?, &inputs.get_item(1)?)?;
        let (a, b) = (Bound::new(py, PyTensor::new(a))?, Bound::new(py, PyTensor::new(b))?);
        return PyModule::import(py, "operator")?.call_method1(operator, (a, b));
    }
    let function = ufunc.getattr(method)?;
    let args = values(inputs.as_any(), &name)?;
    let kwargs = kwargs.map(|kwargs| keyword_values(kwargs, &name)).transpose()?;
    function.call(args.cast::<PyTuple>()?, kwargs.as_ref())
}

/// NumPy's functions give arrays of the values.
pub(crate) fn array_function<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let name: String = function.getattr("__name__")?.extract()?;
    let args = values(args.as_any(), &name)?;
    function.call(args.cast::<PyTuple>()?, Some(&keyword_values(kwargs, &name)?))
}

fn keyword_values<'py>(kwargs: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(kwargs.py());
    for (key, value) in kwargs {
        out.set_item(key, values(&value, name)?)?;
    }
    Ok(out)
}

/// The same structure of tuples and lists with arrays in place of tensors.
fn values<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if let Ok(tensor) = object.cast::<PyTensor>() {
        if tensor.get().tensor().requires_grad() {
            return Err(PyTypeError::new_err(format!(
                "numpy.{name} of a tensor that requires a gradient would lose the gradient; use the function of that \
                 name in autodan.ops, or numpy.{name}(t.numpy()) for the values"
            )));
        }
        return PyTensor::numpy(tensor);
    }
    if let Ok(items) = object.cast_exact::<PyTuple>() {
        let items = items.iter().map(|item| values(&item, name)).collect::<PyResult<Vec<_>>>()?;
        return Ok(PyTuple::new(py, items)?.into_any());
    }
    if let Ok(items) = object.cast_exact::<PyList>() {
        let items = items.iter().map(|item| values(&item, name)).collect::<PyResult<Vec<_>>>()?;
        return Ok(PyList::new(py, items)?.into_any());
    }
    Ok(object.clone())
}
