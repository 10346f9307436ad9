//! NumPy's side of a tensor: the buffer protocol, and what NumPy's own functions do with one.

use std::ffi::{CString, c_int};
use std::ptr;

use autodan_core::Tensor;
use autodan_core::layout::{Layout, MAX_NDIM};
use autodan_core::program::trace;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::convert;
use crate::error::to_python;
use crate::tensor::PyTensor;

/// What an exported buffer keeps alive: the tensor's memory, and the shape and strides that the buffer
/// points to.
pub(crate) struct Export {
    _tensor: Tensor,
    shape: Vec<ffi::Py_ssize_t>,
    strides: Vec<ffi::Py_ssize_t>,
    format: CString,
}

/// Refuses a request that the layout cannot meet. Whoever does not ask for strides reads on from the first
/// element.
fn check_request(layout: &Layout, flags: c_int) -> PyResult<()> {
    let asks = |flag: c_int| flags & flag == flag;
    let reversed: Vec<usize> = (0..layout.ndim()).rev().collect();
    let (rows, columns) = (layout.is_contiguous(), layout.permute(&reversed).is_contiguous());
    let message = if asks(ffi::PyBUF_WRITABLE) {
        "a tensor's memory is read-only; np.array(t) makes a copy to write"
    } else if !rows && (!asks(ffi::PyBUF_STRIDES) || asks(ffi::PyBUF_C_CONTIGUOUS)) {
        "the elements of this view do not lie one after the other; t.clone() is a copy in which they do"
    } else if !columns && asks(ffi::PyBUF_F_CONTIGUOUS) {
        "the elements of this tensor do not lie column by column; np.asfortranarray(t) makes a copy in which they do"
    } else if !rows && !columns && asks(ffi::PyBUF_ANY_CONTIGUOUS) {
        "the elements of this view have gaps between them; t.clone() is a copy without"
    } else {
        return Ok(());
    };
    Err(PyBufferError::new_err(message))
}

/// Fills a read-only buffer over the tensor's memory. The memory outlives the tensor: the export holds it
/// until the buffer is released, and a handle that is written to meanwhile writes into a copy.
///
/// # Errors
/// `BufferError` when the request cannot be met.
///
/// # Safety
/// `view` points to a buffer structure that may be written.
pub(crate) unsafe fn fill_buffer(
    tensor: Tensor,
    owner: Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    if tensor.storage().symbol().is_some() {
        return Err(to_python(trace::refuse("a value of it was read")));
    }
    let layout = tensor.layout();
    check_request(layout, flags)?;
    let asks = |flag: c_int| flags & flag == flag;
    let size = tensor.dtype().size();
    let address = tensor.storage().address().cast_mut();
    let offset = if layout.is_empty() { 0 } else { layout.offset() * size };
    let export = Box::new(Export {
        shape: layout.shape().iter().map(|&side| side as ffi::Py_ssize_t).collect(),
        strides: layout.strides().iter().map(|&stride| stride * size as ffi::Py_ssize_t).collect(),
        format: convert::buffer_format(tensor.storage()).to_owned(),
        _tensor: tensor.clone(),
    });
    // What was not asked for is not there: without a shape, a buffer is one row of bytes.
    let ndim = if asks(ffi::PyBUF_ND) { layout.ndim() } else { 1 };
    let len = layout.len() * size;
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
            format: if asks(ffi::PyBUF_FORMAT) {
                (*export).format.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            },
            shape: if asks(ffi::PyBUF_ND) { (*export).shape.as_mut_ptr() } else { ptr::null_mut() },
            strides: if asks(ffi::PyBUF_STRIDES) { (*export).strides.as_mut_ptr() } else { ptr::null_mut() },
            suboffsets: ptr::null_mut(),
            internal: export.cast(),
        };
    }
    Ok(())
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
    let args = values(inputs.as_any(), &name, 0)?;
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
    let args = values(args.as_any(), &name, 0)?;
    function.call(args.cast::<PyTuple>()?, Some(&keyword_values(kwargs, &name)?))
}

fn keyword_values<'py>(kwargs: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(kwargs.py());
    for (key, value) in kwargs {
        out.set_item(key, values(&value, name, 0)?)?;
    }
    Ok(out)
}

/// Lists in lists, in arguments of NumPy's functions: as deep as arrays have axes, and a few to hold them.
const MAX_DEPTH: usize = 2 * MAX_NDIM;

/// The same structure of tuples and lists with arrays in place of tensors.
fn values<'py>(object: &Bound<'py, PyAny>, name: &str, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if depth > MAX_DEPTH {
        let message =
            format!("numpy.{name}: lists are nested more than {MAX_DEPTH} deep, or contain themselves");
        return Err(PyValueError::new_err(message));
    }
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
        let items = items.iter().map(|item| values(&item, name, depth + 1)).collect::<PyResult<Vec<_>>>()?;
        return Ok(PyTuple::new(py, items)?.into_any());
    }
    if let Ok(items) = object.cast_exact::<PyList>() {
        let items = items.iter().map(|item| values(&item, name, depth + 1)).collect::<PyResult<Vec<_>>>()?;
        return Ok(PyList::new(py, items)?.into_any());
    }
    Ok(object.clone())
}
