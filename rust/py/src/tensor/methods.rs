//! The methods of `Tensor` that make new tensors.

use autodan_core::ops;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{PyTensor, matmul};
use crate::convert::{Axes, Signed, axes, pair};

#[pymethods]
impl PyTensor {
    /// The same elements under another shape; one side may be -1.
    ///
    /// >>> ad.arange(4).reshape(2, -1).tolist()
    /// [[0, 1], [2, 3]]
    #[pyo3(signature = (*shape))]
    fn reshape(&self, py: Python<'_>, shape: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
        let Signed(shape) = sequence(shape)?;
        self.unary(py, |x| ops::reshape(x, &ops::view::resolve_shape(x, &shape)?))
    }

    /// All elements in one dimension.
    ///
    /// >>> ad.tensor([[1, 2], [3, 4]]).flatten().tolist()
    /// [1, 2, 3, 4]
    fn flatten(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::reshape(x, &[x.len()]))
    }

    /// All elements in one dimension.
    ///
    /// >>> ad.tensor([[1, 2], [3, 4]]).ravel().tolist()
    /// [1, 2, 3, 4]
    fn ravel(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.flatten(py)
    }

    /// Without the axes of side 1, or without the given ones.
    ///
    /// >>> ad.zeros((1, 3, 1)).squeeze().shape
    /// (3,)
    #[pyo3(signature = (axis=None))]
    fn squeeze(&self, py: Python<'_>, axis: Option<Axes>) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::squeeze(x, axes(&axis)))
    }

    /// A new axis of side 1 at position `axis`.
    ///
    /// >>> ad.zeros(3).expand_dims(0).shape
    /// (1, 3)
    fn expand_dims(&self, py: Python<'_>, axis: isize) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::expand_dims(x, axis))
    }

    /// A new axis of side 1 at position `axis` (PyTorch's name of `expand_dims`).
    ///
    /// >>> ad.zeros(3).unsqueeze(-1).shape
    /// (3, 1)
    fn unsqueeze(&self, py: Python<'_>, axis: isize) -> PyResult<PyTensor> {
        self.expand_dims(py, axis)
    }

    /// The axes reversed, or in the given order.
    ///
    /// >>> ad.zeros((2, 3, 4)).transpose(1, 0, 2).shape
    /// (3, 2, 4)
    #[pyo3(signature = (*axes))]
    fn transpose(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
        if axes.is_empty() {
            return self.transposed(py);
        }
        self.permute(py, axes)
    }

    /// The axes in the given order.
    ///
    /// >>> ad.zeros((2, 3, 4)).permute(2, 0, 1).shape
    /// (4, 2, 3)
    #[pyo3(signature = (*axes))]
    fn permute(&self, py: Python<'_>, axes: &Bound<'_, PyTuple>) -> PyResult<PyTensor> {
        let Signed(axes) = sequence(axes)?;
        let axes: Vec<isize> = axes.into_iter().map(|axis| axis as isize).collect();
        self.unary(py, |x| ops::permute(x, &axes))
    }

    /// Two axes exchanged.
    ///
    /// >>> ad.zeros((2, 3, 4)).swapaxes(0, 2).shape
    /// (4, 3, 2)
    fn swapaxes(&self, py: Python<'_>, axis1: isize, axis2: isize) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::swapaxes(x, axis1, axis2))
    }

    /// The sum over `axis` (all by default).
    ///
    /// >>> ad.tensor([[1, 2], [3, 4]]).sum(axis=0).tolist()
    /// [4, 6]
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn sum(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::sum)
    }

    /// The mean over `axis` (all by default).
    ///
    /// >>> ad.tensor([1.0, 2.0, 6.0]).mean().item()
    /// 3.0
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn mean(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::mean)
    }

    /// The largest element over `axis` (all by default).
    ///
    /// >>> ad.tensor([[1, 5], [3, 4]]).max(axis=1).tolist()
    /// [5, 4]
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn max(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::max)
    }

    /// The smallest element over `axis` (all by default).
    ///
    /// >>> ad.tensor([[1, 5], [3, 4]]).min(axis=1).tolist()
    /// [1, 3]
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn min(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::min)
    }

    /// The product over `axis` (all by default).
    ///
    /// >>> ad.tensor([2, 3, 4]).prod().item()
    /// 24
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn prod(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::prod)
    }

    /// The variance over `axis` (all by default).
    ///
    /// >>> ad.tensor([1.0, 3.0, 5.0, 7.0]).var().item()
    /// 5.0
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn var(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::var)
    }

    /// The standard deviation over `axis` (all by default).
    ///
    /// >>> ad.tensor([1.0, 3.0]).std().item()
    /// 1.0
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn std(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::std)
    }

    /// Whether any element over `axis` (all by default) is true.
    ///
    /// >>> ad.tensor([False, True]).any().item()
    /// True
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn any(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::any)
    }

    /// Whether all elements over `axis` (all by default) are true.
    ///
    /// >>> ad.tensor([False, True]).all().item()
    /// False
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn all(&self, py: Python<'_>, axis: Option<Axes>, keepdims: bool) -> PyResult<PyTensor> {
        self.reduction(py, axis, keepdims, ops::all)
    }

    /// The index of the largest element along `axis`, or in the flattened tensor.
    ///
    /// >>> ad.tensor([1, 5, 3]).argmax().item()
    /// 1
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn argmax(&self, py: Python<'_>, axis: Option<isize>, keepdims: bool) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::argmax(x, axis, keepdims))
    }

    /// The index of the smallest element along `axis`, or in the flattened tensor.
    ///
    /// >>> ad.tensor([4, 2, 3]).argmin().item()
    /// 1
    #[pyo3(signature = (axis=None, keepdims=false))]
    fn argmin(&self, py: Python<'_>, axis: Option<isize>, keepdims: bool) -> PyResult<PyTensor> {
        self.unary(py, |x| ops::argmin(x, axis, keepdims))
    }

    /// The exponential of each element.
    ///
    /// >>> ad.tensor([0.0]).exp().tolist()
    /// [1.0]
    fn exp(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::exp)
    }

    /// The natural logarithm of each element.
    ///
    /// >>> ad.tensor([1.0]).log().tolist()
    /// [0.0]
    fn log(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::log)
    }

    /// The square root of each element.
    ///
    /// >>> ad.tensor([4.0]).sqrt().tolist()
    /// [2.0]
    fn sqrt(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::sqrt)
    }

    /// Each element times itself.
    ///
    /// >>> ad.tensor([3.0]).square().tolist()
    /// [9.0]
    fn square(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::square)
    }

    /// The absolute value of each element.
    ///
    /// >>> ad.tensor([-3.0]).abs().tolist()
    /// [3.0]
    fn abs(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::abs)
    }

    /// The sine of each element.
    ///
    /// >>> ad.tensor([0.0]).sin().tolist()
    /// [0.0]
    fn sin(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::sin)
    }

    /// The cosine of each element.
    ///
    /// >>> ad.tensor([0.0]).cos().tolist()
    /// [1.0]
    fn cos(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::cos)
    }

    /// The hyperbolic tangent of each element.
    ///
    /// >>> ad.tensor([0.0]).tanh().tolist()
    /// [0.0]
    fn tanh(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::tanh)
    }

    /// The logistic function of each element.
    ///
    /// >>> ad.tensor([0.0]).sigmoid().tolist()
    /// [0.5]
    fn sigmoid(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::sigmoid)
    }

    /// `max(x, 0)` of each element.
    ///
    /// >>> ad.tensor([-1.0, 2.0]).relu().tolist()
    /// [0.0, 2.0]
    fn relu(&self, py: Python<'_>) -> PyResult<PyTensor> {
        self.unary(py, ops::relu)
    }

    /// Each element brought between `min` and `max`, either of which may be None.
    ///
    /// >>> ad.tensor([-3.0, 5.0]).clip(0.0, 1.0).tolist()
    /// [0.0, 1.0]
    #[pyo3(signature = (min=None, max=None))]
    fn clip(
        slf: &Bound<'_, Self>,
        min: Option<&Bound<'_, PyAny>>,
        max: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyTensor> {
        crate::ops::clip(slf.py(), slf.as_any(), min, max)
    }

    /// The matrix product with `other`.
    ///
    /// >>> ad.tensor([[1, 2]]).matmul([[3], [4]]).tolist()
    /// [[11]]
    pub(super) fn matmul(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        let (a, b) = pair(slf.as_any(), other)?;
        matmul(slf.py(), &a, &b).map(PyTensor::new)
    }
}

/// The integers of `*args`, which may also be one sequence.
fn sequence(args: &Bound<'_, PyTuple>) -> PyResult<Signed> {
    if args.len() == 1 { args.get_item(0)?.extract() } else { args.extract() }
}
