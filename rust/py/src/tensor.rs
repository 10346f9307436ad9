//! The Python class `Tensor`: its attributes, and what Python asks of a container and of a number.

mod methods;
mod operators;

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError, RwLock};

use autodan_core::program::trace;
use autodan_core::{Result, Tensor, Variable, autograd, ops};
use autodan_kernels::par;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::convert::{self, Axes, DTypeArg, Operand, axes, pair};
use crate::enter::enter;
use crate::error::to_python;
use crate::index::Key;

/// What a Python tensor holds.
enum Handle {
    /// A value; `t[...] = v` and `t.requires_grad = flag` replace it.
    Value(RwLock<Tensor>),
    /// A cell's current value.
    Variable(Variable),
}

/// An n-dimensional array with automatic differentiation.
///
/// A tensor is a value: its elements never change under whoever holds them. Make one with
/// `tensor()`, `asarray()`, `zeros()` and their like.
///
/// >>> ad.tensor([1.0, 2.0]) * 2 + [0.5, 1.0]
/// tensor([2.5, 5. ], shape=(2,), dtype=float32)
#[pyclass(name = "Tensor", module = "autodan", frozen, subclass, weakref)]
pub(crate) struct PyTensor {
    handle: Handle,
    /// The logits that a softmax or sigmoid was applied to, for the losses' stable form.
    logits: Mutex<Option<Py<PyAny>>>,
}

impl PyTensor {
    pub(crate) fn new(tensor: Tensor) -> PyTensor {
        PyTensor { handle: Handle::Value(RwLock::new(tensor)), logits: Mutex::new(None) }
    }

    pub(crate) fn of_variable(variable: Variable) -> PyTensor {
        PyTensor { handle: Handle::Variable(variable), logits: Mutex::new(None) }
    }

    /// The current value.
    pub(crate) fn tensor(&self) -> Tensor {
        match &self.handle {
            Handle::Value(value) => value.read().unwrap_or_else(PoisonError::into_inner).clone(),
            Handle::Variable(variable) => variable.value(),
        }
    }

    pub(crate) fn variable(&self) -> Option<&Variable> {
        match &self.handle {
            Handle::Value(_) => None,
            Handle::Variable(variable) => Some(variable),
        }
    }

    /// `f` of the value, as a new Python tensor.
    pub(crate) fn unary(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&Tensor) -> Result<Tensor> + Send,
    ) -> PyResult<PyTensor> {
        let x = self.tensor();
        enter(py, x.len(), || f(&x)).map(PyTensor::new)
    }

    fn reduction(
        &self,
        py: Python<'_>,
        axis: Option<Axes>,
        keepdims: bool,
        f: fn(&Tensor, Option<&[isize]>, bool) -> Result<Tensor>,
    ) -> PyResult<PyTensor> {
        self.unary(py, |x| f(x, axes(&axis), keepdims))
    }
}

/// The matrix product, which is more work than its operands are long.
pub(crate) fn matmul(py: Python<'_>, a: &Tensor, b: &Tensor) -> PyResult<Tensor> {
    let columns = b.shape().last().copied().unwrap_or(1);
    enter(py, a.len().saturating_mul(columns) / 16, || ops::matmul(a, b))
}

#[pymethods]
impl PyTensor {
    /// The sides, as a tuple of integers.
    ///
    /// >>> ad.zeros((2, 3)).shape
    /// (2, 3)
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tensor().shape())
    }

    /// The element type's name, such as "float32".
    ///
    /// >>> ad.tensor([1, 2]).dtype
    /// 'int64'
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        convert::dtype_name(py, self.tensor().dtype())
    }

    /// The number of dimensions.
    ///
    /// >>> ad.zeros((2, 3)).ndim
    /// 2
    #[getter]
    fn ndim(&self) -> usize {
        self.tensor().ndim()
    }

    /// The number of elements.
    ///
    /// >>> ad.zeros((2, 3)).size
    /// 6
    #[getter]
    fn size(&self) -> usize {
        self.tensor().len()
    }

    /// The axes reversed; for matrices, the transpose.
    ///
    /// >>> ad.tensor([[1, 2, 3]]).T.shape
    /// (3, 1)
    #[getter(T)]
    fn transposed(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::transpose(x, None))
    }

    /// The transposes of the matrices in the last two axes.
    ///
    /// >>> ad.zeros((5, 2, 3)).mT.shape
    /// (5, 3, 2)
    #[getter(mT)]
    fn matrix_transposed(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::swapaxes(x, -1, -2))
    }

    /// Whether gradients flow to or through this tensor; setting it makes a leaf of it, or a constant.
    ///
    /// >>> ad.tensor(1.0).requires_grad
    /// False
    #[getter]
    fn requires_grad(&self) -> bool {
        self.tensor().requires_grad()
    }

    #[setter]
    fn set_requires_grad(&self, flag: bool) -> PyResult<()> {
        match &self.handle {
            Handle::Variable(variable) => variable.set_trainable(flag),
            Handle::Value(value) => {
                let mut value = value.write().unwrap_or_else(PoisonError::into_inner);
                if flag && !value.requires_grad() {
                    let leaf = value.with_grad().map_err(to_python)?;
                    *value = leaf;
                } else if !flag && value.requires_grad() {
                    if value.leaf().is_none() {
                        return Err(PyValueError::new_err(
                            "requires_grad can only be turned off on leaves; use detach() on the result of an op",
                        ));
                    }
                    let constant = value.detach();
                    *value = constant;
                }
            }
        }
        Ok(())
    }

    /// The gradient gathered by backward(), or None; set it to None to clear it.
    ///
    /// >>> x = ad.tensor([1.0, 2.0], requires_grad=True)
    /// >>> (x * x).sum().backward()
    /// >>> x.grad.tolist()
    /// [2.0, 4.0]
    #[getter]
    fn grad(&self) -> Option<PyTensor> {
        let leaf = match &self.handle {
            Handle::Variable(variable) => variable.leaf().clone(),
            Handle::Value(_) => self.tensor().leaf()?.clone(),
        };
        leaf.grad().map(PyTensor::new)
    }

    #[setter]
    fn set_grad(&self, grad: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let value = self.tensor();
        let leaf = match &self.handle {
            Handle::Variable(variable) => variable.leaf().clone(),
            Handle::Value(_) => match value.leaf() {
                Some(leaf) => leaf.clone(),
                None if grad.is_none() => return Ok(()),
                None => return Err(PyValueError::new_err("only a leaf that requires a gradient keeps one")),
            },
        };
        let grad = match grad {
            None => None,
            Some(grad) => {
                let grad = convert::tensor(grad)?;
                if grad.shape() != value.shape() {
                    return Err(PyValueError::new_err(format!(
                        "a gradient of shape {} does not fit a tensor of shape {}",
                        grad.show_shape(),
                        value.show_shape()
                    )));
                }
                Some(ops::cast(&grad.detach(), value.dtype()).map_err(to_python)?)
            }
        };
        leaf.set_grad(grad);
        Ok(())
    }

    /// The logits that this output of a softmax or sigmoid came from, or None.
    #[getter(_logits)]
    fn logits(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.logits.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|logits| logits.clone_ref(py))
    }

    #[setter(_logits)]
    fn set_logits(&self, logits: Option<Py<PyAny>>) {
        *self.logits.lock().unwrap_or_else(PoisonError::into_inner) = logits;
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> std::result::Result<(), pyo3::PyTraverseError> {
        if let Ok(logits) = self.logits.try_lock() {
            visit.call(&*logits)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.set_logits(None);
    }

    /// A read-only NumPy array of the elements, sharing memory.
    ///
    /// >>> ad.tensor([1.0, 2.0]).numpy()
    /// array([1., 2.], dtype=float32)
    pub(crate) fn numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let value = slf.get().tensor().detach();
        if value.storage().symbol().is_some() {
            return Err(to_python(trace::refuse("a value of it was read")));
        }
        let value = Bound::new(slf.py(), PyTensor::new(value))?;
        convert::numpy(slf.py())?.call_method1("asarray", (value,))
    }

    /// The only element as a Python number.
    ///
    /// >>> ad.tensor(2.5).item()
    /// 2.5
    fn item(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::item(py, &self.tensor())
    }

    /// The elements as nested lists of Python numbers.
    ///
    /// >>> ad.tensor([[1, 2], [3, 4]]).tolist()
    /// [[1, 2], [3, 4]]
    fn tolist<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        PyTensor::numpy(slf)?.call_method0("tolist")
    }

    /// Adds this tensor's gradients to the `grad` of every leaf that it depends on. `gradient` is that
    /// of the tensor itself (default 1, for scalars only); retain_graph=True allows to do it again.
    ///
    /// >>> x = ad.tensor(3.0, requires_grad=True)
    /// >>> (x * x).backward()
    /// >>> x.grad.item()
    /// 6.0
    #[pyo3(signature = (gradient=None, *, retain_graph=false, create_graph=false))]
    fn backward(
        &self,
        py: Python<'_>,
        gradient: Option<&Bound<'_, PyAny>>,
        retain_graph: bool,
        create_graph: bool,
    ) -> PyResult<()> {
        let gradient = gradient.map(convert::tensor).transpose()?;
        let options = autograd::Options { retain_graph, create_graph };
        let output = self.tensor();
        enter(py, usize::MAX, || autograd::backward(&output, gradient.as_ref(), options))
    }

    /// The same values, apart from any differentiation.
    ///
    /// >>> ad.tensor(1.0, requires_grad=True).detach().requires_grad
    /// False
    fn detach(&self) -> PyTensor {
        PyTensor::new(self.tensor().detach())
    }

    /// A copy in memory of its own, through which gradients flow.
    ///
    /// >>> ad.tensor([1.0, 2.0]).clone().tolist()
    /// [1.0, 2.0]
    fn clone(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::view::copy)
    }

    /// The elements converted to another dtype.
    ///
    /// >>> ad.tensor([0.5, 1.5]).astype("int32").tolist()
    /// [0, 1]
    fn astype(&self, py: Python<'_>, dtype: DTypeArg) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::cast(x, dtype.0))
    }

    /// By identity: tensors compare element by element.
    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        slf.as_ptr() as isize >> 4
    }

    fn __bool__(&self) -> PyResult<bool> {
        let x = self.tensor();
        if x.len() != 1 {
            return Err(PyValueError::new_err(format!(
                "the truth of a tensor of shape {} is ambiguous; use any() or all()",
                x.show_shape()
            )));
        }
        Ok(x.item().map_err(to_python)? != 0.0)
    }

    fn __float__(&self) -> PyResult<f64> {
        self.tensor().item().map_err(to_python)
    }

    fn __int__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::item(py, &self.tensor())?.call_method0(py, "__int__")
    }

    fn __index__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let x = self.tensor();
        if !x.dtype().is_integer() || x.ndim() > 0 {
            return Err(PyTypeError::new_err("only an integer tensor of no dimensions is an index"));
        }
        convert::item(py, &x)
    }

    fn __len__(&self) -> PyResult<usize> {
        let x = self.tensor();
        x.shape()
            .first()
            .copied()
            .ok_or_else(|| PyTypeError::new_err("a tensor of no dimensions has no length"))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let x = slf.get().tensor();
        let Some(&side) = x.shape().first() else {
            return Err(PyTypeError::new_err("a tensor of no dimensions cannot be iterated over"));
        };
        // One after the other, of the value that the tensor has now: a broadcast view may have any number.
        let rows = Bound::new(py, PyTensor::new(x))?.getattr("__getitem__")?;
        let builtins = PyModule::import(py, "builtins")?;
        let places = builtins.getattr("range")?.call1((side,))?;
        builtins.getattr("map")?.call1((rows, places))
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let py = key.py();
        let x = self.tensor();
        let key = Key::parse(key, x.shape())?;
        enter(py, 0, || key.select(&x)).map(PyTensor::new)
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let current = self.tensor();
        let value = Operand::from_python(value)?.meet(current.dtype())?;
        if autograd::is_recording()
            && (current.requires_grad() || value.requires_grad())
            && self.variable().is_none()
        {
            return Err(PyValueError::new_err(
                "cannot assign into or from a tensor that requires a gradient, since gradients do not flow through an \
                 assignment; use where() or concatenate(), or assign under no_grad()",
            ));
        }
        let key = Key::parse(key, current.shape())?;
        match &self.handle {
            Handle::Variable(variable) => {
                let mut changed = current.detach();
                enter(py, 0, || key.assign(&mut changed, &value).and_then(|()| variable.assign(&changed)))
            }
            Handle::Value(cell) => {
                // Borrowed memory is given back when the lock is free again: its owner may look at this tensor
                // then. Memory of our own is let go, so that it can be written in place.
                let _lender = Some(current).filter(|current| current.storage().is_foreign());
                let mut cell = cell.write().unwrap_or_else(PoisonError::into_inner);
                let target = &mut *cell;
                // No signal handler runs while the cell is locked: it might want this tensor.
                enter(py, 0, || par::whole(|| key.assign(target, &value)))
            }
        }
    }

    fn __contains__(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (a, b) = pair(slf.as_any(), value)?;
        let found = enter(slf.py(), a.len(), || ops::any(&ops::equal(&a, &b)?, None, false))?;
        Ok(found.item().map_err(to_python)? != 0.0)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let x = slf.get().tensor();
        let options = PyDict::new(py);
        options.set_item("separator", ", ")?;
        options.set_item("prefix", "tensor(")?;
        let text =
            convert::numpy(py)?.call_method("array2string", (PyTensor::numpy(slf)?,), Some(&options))?;
        let grad = if x.requires_grad() { ", requires_grad=True" } else { "" };
        Ok(format!("tensor({text}, shape={}, dtype={}{grad})", x.show_shape(), x.dtype()))
    }

    fn __format__(slf: &Bound<'_, Self>, spec: &str) -> PyResult<String> {
        let py = slf.py();
        if spec.is_empty() {
            return slf.str().map(|text| text.to_string());
        }
        let x = slf.get().tensor();
        if x.len() != 1 {
            return Err(PyTypeError::new_err(format!(
                "only a tensor of one element can be formatted with {spec:?}; this one has shape {}",
                x.show_shape()
            )));
        }
        convert::item(py, &x)?.call_method1(py, "__format__", (spec,))?.extract(py)
    }

    /// Another handle to the same value, which writes of the one do not change in the other. A variable is a
    /// cell and stays the same one.
    fn __copy__(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        match &slf.get().handle {
            Handle::Variable(_) => Ok(slf.clone().unbind()),
            Handle::Value(_) => Py::new(slf.py(), PyTensor::new(slf.get().tensor())),
        }
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let x = self.tensor();
        let copy = ops::view::copy(&x.detach()).map_err(to_python)?;
        let copy = if x.requires_grad() { copy.with_grad().map_err(to_python)? } else { copy };
        Ok(PyTensor::new(copy))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let constructor = PyModule::import(py, "autodan._core")?.getattr("tensor")?;
        let x = slf.get().tensor();
        let copy = PyTensor::numpy(slf)?.call_method0("copy")?;
        let arguments = (copy, x.dtype().name(), x.requires_grad()).into_pyobject(py)?;
        Ok((constructor, arguments))
    }

    /// NumPy's operators give tensors, its other functions arrays of the values.
    #[pyo3(signature = (ufunc, method, *inputs, **kwargs))]
    fn __array_ufunc__<'py>(
        slf: &Bound<'py, Self>,
        ufunc: &Bound<'py, PyAny>,
        method: &str,
        inputs: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        crate::interop::array_ufunc(slf.py(), ufunc, method, inputs, kwargs)
    }

    fn __array_function__<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        _types: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        crate::interop::array_function(function, args, kwargs)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the interpreter passes a buffer structure for us to fill.
        unsafe { crate::interop::fill_buffer(slf.get().tensor(), slf.into_any(), view, flags) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter passes back a buffer that `__getbuffer__` filled, once.
        unsafe { crate::interop::release_buffer(view.cast::<c_void>().cast()) };
    }
}
