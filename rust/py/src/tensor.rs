//! The Python class `Tensor`.

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError, RwLock};

use autodan_core::{DType, Result, Tensor, Variable, autograd, ops};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::convert::{self, Axes, DTypeArg, Operand, Signed, axes, pair};
use crate::enter::{elements, enter};
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
#[pyclass(name = "Tensor", module = "autodan", frozen, subclass)]
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

/// A tensor as a new Python object.
pub(crate) fn wrap(py: Python<'_>, result: PyResult<Tensor>) -> PyResult<Py<PyAny>> {
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

/// The matrix product, which is more work than its operands are long.
pub(crate) fn matmul(py: Python<'_>, a: &Tensor, b: &Tensor) -> PyResult<Tensor> {
    let columns = b.shape().last().copied().unwrap_or(1);
    enter(py, a.len().saturating_mul(columns) / 16, || ops::matmul(a, b))
}

#[pymethods]
impl PyTensor {
    /// The sides, as a tuple of integers.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tensor().shape())
    }

    /// The element type's name, such as "float32".
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        convert::dtype_name(py, self.tensor().dtype())
    }

    /// The number of dimensions.
    #[getter]
    fn ndim(&self) -> usize {
        self.tensor().ndim()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.tensor().len()
    }

    /// The axes reversed; for matrices, the transpose.
    #[getter(T)]
    fn transposed(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::transpose(x, None))
    }

    /// The transposes of the matrices in the last two axes.
    #[getter(mT)]
    fn matrix_transposed(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::swapaxes(x, -1, -2))
    }

    /// Whether gradients flow to or through this tensor; setting it makes a leaf of it, or a constant.
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
    pub(crate) fn numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let value = Bound::new(slf.py(), PyTensor::new(slf.get().tensor().detach()))?;
        convert::numpy(slf.py())?.call_method1("asarray", (value,))
    }

    /// The only element as a Python number.
    fn item(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::item(py, &self.tensor())
    }

    /// The elements as nested lists of Python numbers.
    fn tolist<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        PyTensor::numpy(slf)?.call_method0("tolist")
    }

    /// Adds this tensor's gradients to the `grad` of every leaf that it depends on. `gradient` is that
    /// of the tensor itself (default 1, for scalars only); retain_graph=True allows to do it again.
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
    fn detach(&self) -> PyTensor {
        PyTensor::new(self.tensor().detach())
    }

    /// A copy in memory of its own, through which gradients flow.
    fn clone(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::view::copy)
    }

    /// The elements converted to another dtype.
    fn astype(&self, py: Python<'_>, dtype: DTypeArg) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::cast(x, dtype.0))
    }

    /// The same elements under another shape; one side may be -1.
    #[pyo3(signature = (*shape))]
    fn reshape(&self, py: Python<'_>, shape: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
        let Signed(shape) = sequence(shape)?;
        self.unary(py, |x| ops::reshape(x, &ops::view::resolve_shape(x, &shape)?))
    }

    /// All elements in one dimension.
    fn flatten(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::reshape(x, &[x.len()]))
    }

    /// All elements in one dimension.
    fn ravel(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.flatten(py)
    }

    /// Without the axes of side 1, or without the given ones.
    #[pyo3(signature = (axis=None))]
    fn squeeze(&self, py: Python<'_>, axis: Option<Axes>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::squeeze(x, axes(&axis)))
    }

    /// A new axis of side 1 at position `axis`.
    fn expand_dims(&self, py: Python<'_>, axis: isize) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::expand_dims(x, axis))
    }

    /// A new axis of side 1 at position `axis` (PyTorch's name of `expand_dims`).
    fn unsqueeze(&self, py: Python<'_>, axis: isize) -> PyResult<PyTensor> {
        self.expand_dims(py, axis)
    }

    /// The axes reversed, or in the given order.
    #[pyo3(signature = (*axes))]
    fn transpose(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
        if axes.is_empty() {
            return self.transposed(py);
        }
        self.permute(py, axes)
    }

    /// The axes in the given order.
    #[pyo3(signature = (*axes))]
    fn permute(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
        let Signed(axes) = sequence(axes)?;
        let axes: Vec<isize> = axes.into_iter().map(|axis| axis as isize).collect();
        self.unary(py, |x| ops::permute(x, &axes))
    }

    /// Two axes exchanged.
    fn swapaxes(&self, py: Python<'_>, axis1: isize, axis2: isize) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::swapaxes(x, axis1, axis2))
    }

    /// The sum over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn sum(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::sum)
    }

    /// The mean over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn mean(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::mean)
    }

    /// The largest element over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn max(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::max)
    }

    /// The smallest element over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn min(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::min)
    }

    /// The product over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn prod(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::prod)
    }

    /// The variance over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn var(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::var)
    }

    /// The standard deviation over `axis` (all by default).
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn std(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::std)
    }

    /// Whether any element over `axis` (all by default) is true.
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn any(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::any)
    }

    /// Whether all elements over `axis` (all by default) are true.
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn all(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::all)
    }

    /// The index of the largest element along `axis`, or in the flattened tensor.
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn argmax(&self, py: Python<'_>, axis: Option<isize>, keepdims: bool) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::argmax(x, axis, keepdims))
    }

    /// The index of the smallest element along `axis`, or in the flattened tensor.
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn argmin(&self, py: Python<'_>, axis: Option<isize>, keepdims: bool) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::argmin(x, axis, keepdims))
    }

    /// The exponential of each element.
    fn exp(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::exp)
    }

    /// The natural logarithm of each element.
    fn log(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::log)
    }

    /// The square root of each element.
    fn sqrt(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::sqrt)
    }

    /// Each element times itself.
    fn square(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::square)
    }

    /// The absolute value of each element.
    fn abs(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::abs)
    }

    /// The sine of each element.
    fn sin(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::sin)
    }

    /// The cosine of each element.
    fn cos(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::cos)
    }

    /// The hyperbolic tangent of each element.
    fn tanh(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::tanh)
    }

    /// The logistic function of each element.
    fn sigmoid(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::sigmoid)
    }

    /// `max(x, 0)` of each element.
    fn relu(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::relu)
    }

    /// Each element brought between `min` and `max`, either of which may be None.
    #[pyo3(signature = (min=None, max=None))]
    fn clip(&self, py: Python<'_>, min: Option<f64>, max: Option<f64>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::clip(x, min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY)))
    }

    /// The matrix product with `other`.
    fn matmul(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let (a, b) = pair(slf.as_any(), other)?;
        matmul(slf.py(), &a, &b).map(PyTensor::new)
    }

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
        let items = (0..side).map(|i| slf.get_item(i)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, items)?.try_iter().map(Bound::into_any)
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
        let value = Operand::from_python(value)?.into_tensor()?;
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
                drop(current);
                let mut cell = cell.write().unwrap_or_else(PoisonError::into_inner);
                let target = &mut *cell;
                enter(py, 0, || key.assign(target, &value))
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

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
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
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err(
                "a tensor's memory is read-only; np.array(t) makes a copy to write",
            ));
        }
        // SAFETY: the interpreter passes a buffer structure for us to fill.
        unsafe { crate::interop::fill_buffer(slf.get().tensor(), slf.into_any(), view) };
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter passes back a buffer that `__getbuffer__` filled, once.
        unsafe { crate::interop::release_buffer(view.cast::<c_void>().cast()) };
    }
}

/// The integers of `*args`, which may also be one sequence.
fn sequence(args: &Bound<'_, PyTuple>) -> PyResult<Signed> {
    if args.len() == 1 { args.get_item(0)?.extract() } else { args.extract() }
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
