//! The Python class `Variable`: a tensor whose value is a cell's.

use std::sync::{Mutex, PoisonError};

use autodan_core::{Result, Tensor, Variable, ops};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::convert::{self, DTypeArg, Operand};
use crate::enter::enter;
use crate::error::{named, to_python};
use crate::tensor::PyTensor;

/// A cell that holds a current tensor: what optimizers and layers update. Every operator and function takes
/// it as the tensor that it holds.
///
/// >>> w = ad.Variable([1.0, 2.0], name="weights")
/// >>> w.assign_sub([0.5, 0.5])
/// >>> w + 1
/// tensor([1.5, 2.5], shape=(2,), dtype=float32, requires_grad=True)
#[pyclass(name = "Variable", module = "autodan", extends = PyTensor, frozen, subclass)]
pub(crate) struct PyVariable {
    name: Mutex<String>,
    path: Mutex<Option<String>>,
}

impl PyVariable {
    fn cell<'a>(slf: &'a PyRef<'_, Self>) -> PyResult<&'a Variable> {
        slf.as_super().variable().ok_or_else(|| PyValueError::new_err("a variable without a cell"))
    }
}

#[pymethods]
impl PyVariable {
    #[new]
    #[pyo3(signature = (initial_value, trainable=true, name="variable", dtype=None))]
    fn new(
        initial_value: &Bound<'_, PyAny>,
        trainable: bool,
        name: &str,
        dtype: Option<DTypeArg>,
    ) -> PyResult<PyClassInitializer<PyVariable>> {
        let tensor = convert::tensor(initial_value);
        let mut value = tensor.map_err(|error| named(initial_value.py(), "Variable", error))?.detach();
        if let Some(DTypeArg(dtype)) = dtype {
            value = ops::cast(&value, dtype).map_err(to_python)?;
        }
        let variable = PyVariable { name: Mutex::new(name.to_owned()), path: Mutex::new(None) };
        let base = PyTensor::of_variable(Variable::new(&value, trainable).map_err(to_python)?);
        Ok(PyClassInitializer::from(base).add_subclass(variable))
    }

    /// The current value; gradients flow to the variable when it is trainable.
    ///
    /// >>> ad.Variable([1.0]).value
    /// tensor([1.], shape=(1,), dtype=float32, requires_grad=True)
    #[getter]
    fn value(slf: PyRef<'_, Self>) -> PyTensor {
        PyTensor::new(slf.as_super().tensor())
    }

    /// Replaces the value, cast to the variable's dtype; the shape must be the same.
    ///
    /// >>> w = ad.Variable([1.0, 2.0])
    /// >>> w.assign([3.0, 4.0])
    /// >>> w.tolist()
    /// [3.0, 4.0]
    fn assign(slf: PyRef<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let tensor = convert::tensor(value).map_err(|error| named(value.py(), "assign", error))?;
        let name = slf.name();
        PyVariable::cell(&slf)?.assign(&tensor).map_err(|error| {
            let error = to_python(error);
            let py = value.py();
            if error.is_instance_of::<PyValueError>(py) {
                PyValueError::new_err(format!("variable '{name}': {}", error.value(py)))
            } else {
                error
            }
        })
    }

    /// Adds to the value.
    ///
    /// >>> w = ad.Variable([1.0])
    /// >>> w.assign_add([0.5])
    /// >>> w.tolist()
    /// [1.5]
    fn assign_add(slf: PyRef<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        PyVariable::update(slf, value, ops::add)
    }

    /// Subtracts from the value.
    ///
    /// >>> w = ad.Variable([1.0])
    /// >>> w.assign_sub([0.5])
    /// >>> w.tolist()
    /// [0.5]
    fn assign_sub(slf: PyRef<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        PyVariable::update(slf, value, ops::subtract)
    }

    /// Whether gradients flow to the variable and optimizers update it.
    ///
    /// >>> ad.Variable([1.0], trainable=False).trainable
    /// False
    #[getter]
    fn trainable(slf: PyRef<'_, Self>) -> PyResult<bool> {
        Ok(PyVariable::cell(&slf)?.is_trainable())
    }

    #[setter]
    fn set_trainable(slf: PyRef<'_, Self>, trainable: bool) -> PyResult<()> {
        PyVariable::cell(&slf)?.set_trainable(trainable);
        Ok(())
    }

    /// The name.
    ///
    /// >>> ad.Variable([1.0], name="kernel").name
    /// 'kernel'
    #[getter]
    fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[setter]
    fn set_name(&self, name: String) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// The name with those of the layers that hold the variable before it, such as "dense/kernel".
    ///
    /// >>> w = ad.Variable([1.0], name="kernel")
    /// >>> w.path = "dense/kernel"
    /// >>> w.path
    /// 'dense/kernel'
    #[getter]
    fn path(&self) -> String {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner).clone();
        path.unwrap_or_else(|| self.name())
    }

    #[setter]
    fn set_path(&self, path: String) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let value = slf.as_super().get().tensor();
        let text = PyTensor::numpy(slf.as_super())?.repr()?;
        Ok(format!(
            "<Variable path={}, shape={}, dtype={}, value={text}>",
            slf.borrow().path(),
            value.show_shape(),
            value.dtype()
        ))
    }

    fn __deepcopy__(slf: &Bound<'_, Self>, _memo: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let (constructor, arguments) = PyVariable::__reduce__(slf)?;
        constructor.call1(arguments).map(Bound::unbind)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let constructor: Bound<'py, PyType> = slf.get_type();
        let copy = PyTensor::numpy(slf.as_super())?.call_method0("copy")?;
        let trainable = PyVariable::trainable(slf.borrow())?;
        let arguments = (copy, trainable, slf.borrow().name()).into_pyobject(py)?;
        Ok((constructor.into_any(), arguments))
    }
}

impl PyVariable {
    fn update(
        slf: PyRef<'_, Self>,
        value: &Bound<'_, PyAny>,
        f: fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> PyResult<()> {
        let current = slf.as_super().tensor().detach();
        let dtype = current.dtype();
        let change = match Operand::from_python(value)? {
            Operand::Tensor(tensor) => tensor.detach(),
            scalar => ops::cast(&scalar.into_tensor()?, dtype).map_err(to_python)?,
        };
        let updated = enter(value.py(), current.len(), || f(&current, &change))?;
        drop(current);
        PyVariable::cell(&slf)?.assign(&updated).map_err(to_python)
    }
}

/// The variables of a list, each checked to be one.
pub(crate) fn variables(objects: &[Bound<'_, PyAny>]) -> PyResult<Vec<Variable>> {
    objects
        .iter()
        .map(|object| {
            let variable = object.cast::<PyTensor>().ok().and_then(|tensor| tensor.get().variable().cloned());
            variable.ok_or_else(|| PyTypeError::new_err("expected a list of Variables"))
        })
        .collect()
}
