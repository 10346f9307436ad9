//! The header of model files; the package reads and writes the files themselves.

use std::collections::BTreeMap;

use autodan_core::DType;
use autodan_core::safetensors::{Entry, Header};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::enter::enter;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(module, [_encode_header, _parse_header]);
    Ok(())
}

type Named<S> = (String, String, S);
type Parsed<'py> = (BTreeMap<String, String>, Vec<Named<Bound<'py, PyTuple>>>);

/// The header of a safetensors file with these texts and tensors (name, dtype, shape).
///
/// >>> _core._encode_header({"k": "v"}, [("w", "float32", (2,))])[8:]
/// b'{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} '
#[pyfunction]
fn _encode_header<'py>(
    py: Python<'py>,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Named<Vec<usize>>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let entry = |(name, dtype, shape): Named<Vec<usize>>| {
        let known = DType::from_name(&dtype);
        let dtype = known.ok_or_else(|| PyValueError::new_err(format!("'{name}' has the dtype {dtype}")))?;
        Ok(Entry { name, dtype, shape })
    };
    let tensors = tensors.into_iter().map(entry).collect::<PyResult<Vec<_>>>()?;
    let bytes = enter(py, 0, || Header::new(metadata, tensors)?.encode())?;
    Ok(PyBytes::new(py, &bytes))
}

/// The texts and tensors (name, dtype, shape) of a safetensors header, in the order of the data.
///
/// >>> header = _core._encode_header({"k": "v"}, [("w", "float32", (2,))])
/// >>> _core._parse_header(header)
/// ({'k': 'v'}, [('w', 'float32', (2,))])
#[pyfunction]
fn _parse_header<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Parsed<'py>> {
    let header = enter(py, data.len(), || Header::parse(data))?;
    let named = |entry: &Entry| {
        Ok((entry.name.clone(), entry.dtype.name().to_owned(), PyTuple::new(py, &entry.shape)?))
    };
    let tensors = header.tensors().iter().map(named).collect::<PyResult<_>>()?;
    Ok((header.metadata().clone(), tensors))
}
