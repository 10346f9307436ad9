//! From the engine's errors to Python's exceptions.

use autodan_core::Error;
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    autodan,
    InternalError,
    PyRuntimeError,
    "A broken promise inside autodan: always a bug, never the caller's fault. Please report it.\n\n\
     >>> issubclass(ad.InternalError, RuntimeError)\n\
     True"
);

pyo3::create_exception!(
    autodan,
    TraceError,
    PyRuntimeError,
    "A step that is being compiled did what only an eager one can do, such as reading a value. `fit` and its like \
     then run the step eagerly.\n\n\
     >>> issubclass(ad.TraceError, RuntimeError)\n\
     True"
);

/// The exception of an error. The match has no wildcard: a new variant does not compile until it
/// has an exception.
pub(crate) fn to_python(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Shape { .. } | Error::Value { .. } => PyValueError::new_err(message),
        Error::DType { .. } => PyTypeError::new_err(message),
        Error::Index { .. } => PyIndexError::new_err(message),
        Error::Memory(_) => PyMemoryError::new_err(message),
        Error::Gradient(_) => PyRuntimeError::new_err(message),
        Error::Symbolic(_) => TraceError::new_err(message),
        Error::Internal(_) => InternalError::new_err(message),
    }
}

/// An error about an argument, with the name of the function in front. Exceptions of the argument's own stay.
pub(crate) fn named(py: Python<'_>, function: &str, error: PyErr) -> PyErr {
    let kind = error.get_type(py);
    if kind.is(py.get_type::<PyTypeError>()) || kind.is(py.get_type::<PyValueError>()) {
        let named = PyErr::from_type(kind, format!("{function}: {}", error.value(py)));
        named.set_cause(py, error.cause(py));
        return named;
    }
    error
}
