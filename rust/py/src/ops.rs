//! The functions of `autodan._core`: arguments in, one call of the engine, a tensor out.

use std::ffi::CString;

use autodan_core::{DType, Result, Tensor, ops};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyFloat, PyInt, PyTuple};

use crate::convert::{self, Arg, Axes, DTypeArg, Operand, ShapeArg, Signed, axes, pair};
use crate::enter::{elements, enter};
use crate::error::to_python;
use crate::tensor::{PyTensor, matmul as product};

/// What nearly every function returns.
pub(crate) type Output = PyResult<PyTensor>;

/// One call of the engine.
pub(crate) fn run(py: Python<'_>, work: usize, f: impl FnOnce() -> Result<Tensor> + Send) -> Output {
    enter(py, work, f).map(PyTensor::new)
}

/// Adds the functions of the engine's tables, then the others.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for row in ops::unary::UNARY {
        let function = row.function;
        add_closure(module, row.name, row.doc, "x", move |args, kwargs| {
            let [x] = arguments(row.name, ["x"], args, kwargs)?;
            let x = convert::tensor(&x)?;
            run(args.py(), x.len(), || function(&x))
        })?;
    }
    for row in ops::binary::BINARY {
        let function = row.function;
        add_binary(module, row.name, row.doc, function)?;
    }
    type Pairwise = (&'static str, &'static str, fn(&Tensor, &Tensor) -> Result<Tensor>);
    let pairwise: [Pairwise; 9] = [
        ("equal", "Where `x1 == x2`.", ops::equal),
        ("not_equal", "Where `x1 != x2`.", ops::not_equal),
        ("less", "Where `x1 < x2`.", ops::less),
        ("less_equal", "Where `x1 <= x2`.", ops::less_equal),
        ("greater", "Where `x1 > x2`.", ops::greater),
        ("greater_equal", "Where `x1 >= x2`.", ops::greater_equal),
        ("logical_and", "Where both are true (not 0).", ops::logical_and),
        ("logical_or", "Where either is true (not 0).", ops::logical_or),
        ("logical_xor", "Where exactly one is true (not 0).", ops::logical_xor),
    ];
    for (name, doc, function) in pairwise {
        add_binary(module, name, doc, function)?;
    }
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
            isnan,
            isinf,
            isfinite,
            logical_not,
            elu,
            celu,
            leaky_relu,
            gelu,
            clip,
            select,
            sum,
            mean,
            max,
            min,
            prod,
            var,
            std_,
            any,
            all,
            logsumexp,
            argmax,
            argmin,
            reshape,
            transpose,
            expand_dims,
            squeeze,
            broadcast_to,
            flip,
            moveaxis,
            swapaxes,
            concatenate,
            stack,
            take,
            pad,
            one_hot,
            matmul,
        ]
    );
    Ok(())
}

/// Adds a function made of a closure. The signature in its documentation is what `inspect` and help() read.
fn add_closure<F>(
    module: &Bound<'_, PyModule>,
    name: &'static str,
    doc: &str,
    parameters: &str,
    f: F,
) -> PyResult<()>
where
    F: Fn(&Bound<'_, PyTuple>, Option<&Bound<'_, PyDict>>) -> Output + Send + Sync + 'static,
{
    let text = |text: String| CString::new(text).map_err(|_| PyValueError::new_err("a NUL in a name"));
    let function_name = name;
    let doc = text(format!("{name}({parameters})\n--\n\n{}", doc.trim()))?;
    let name = text(name.to_owned())?;
    // A function of the module lives as long as the process.
    let (name, doc): (&'static _, &'static _) =
        (Box::leak(name.into_boxed_c_str()), Box::leak(doc.into_boxed_c_str()));
    let function = PyCFunction::new_closure(module.py(), Some(name), Some(doc), f)?;
    module.add(function_name, function)
}

fn add_binary(
    module: &Bound<'_, PyModule>,
    name: &'static str,
    doc: &str,
    f: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> PyResult<()> {
    add_closure(module, name, doc, "x1, x2", move |args, kwargs| {
        let [a, b] = arguments(name, ["x1", "x2"], args, kwargs)?;
        let (a, b) = pair(&a, &b)?;
        run(args.py(), elements(&[&a, &b]), || f(&a, &b))
    })
}

/// The arguments of a closure, by position or name.
fn arguments<'py, const N: usize>(
    function: &str,
    names: [&str; N],
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<[Bound<'py, PyAny>; N]> {
    let given = args.len() + kwargs.map_or(0, |kwargs| kwargs.len());
    let mut found = Vec::with_capacity(N);
    for (i, name) in names.into_iter().enumerate() {
        let by_name = kwargs.map(|kwargs| kwargs.get_item(name)).transpose()?.flatten();
        match if i < args.len() { Some(args.get_item(i)?) } else { by_name } {
            Some(value) => found.push(value),
            None => {
                return Err(PyTypeError::new_err(format!("{function}() is missing the argument '{name}'")));
            }
        }
    }
    let signature =
        || PyTypeError::new_err(format!("{function}() takes the arguments {} only", names.join(", ")));
    if given != N {
        return Err(signature());
    }
    found.try_into().map_err(|_| signature())
}

/// A tensor of the data, copied; Python's floats are float32, its integers int64.
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
    let Some(DTypeArg(dtype)) = dtype else { return convert::tensor(data) };
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

/// The default dtype.
const FLOAT32: DTypeArg = DTypeArg(DType::Float32);

/// Zeros.
#[pyfunction]
#[pyo3(signature = (shape, dtype=FLOAT32), text_signature = "(shape, dtype='float32')")]
fn zeros(py: Python<'_>, shape: ShapeArg, dtype: DTypeArg) -> Output {
    run(py, 0, || Tensor::full(&shape.0, 0.0, dtype.0))
}

/// Ones.
#[pyfunction]
#[pyo3(signature = (shape, dtype=FLOAT32), text_signature = "(shape, dtype='float32')")]
fn ones(py: Python<'_>, shape: ShapeArg, dtype: DTypeArg) -> Output {
    run(py, 0, || Tensor::full(&shape.0, 1.0, dtype.0))
}

/// One value in every element; the dtype is by default that of the value.
#[pyfunction]
#[pyo3(signature = (shape, fill_value, dtype=None))]
fn full(py: Python<'_>, shape: ShapeArg, fill_value: &Bound<'_, PyAny>, dtype: Option<DTypeArg>) -> Output {
    let value = read(fill_value, dtype)?;
    run(py, 0, || ops::view::copy(&ops::broadcast_to(&value, &shape.0)?))
}

/// Zeros in the shape (and by default the dtype) of `x`.
#[pyfunction]
#[pyo3(signature = (x, dtype=None))]
fn zeros_like(py: Python<'_>, x: Arg, dtype: Option<DTypeArg>) -> Output {
    run(py, 0, || Tensor::full(x.0.shape(), 0.0, dtype.map_or(x.0.dtype(), |dtype| dtype.0)))
}

/// Ones in the shape (and by default the dtype) of `x`.
#[pyfunction]
#[pyo3(signature = (x, dtype=None))]
fn ones_like(py: Python<'_>, x: Arg, dtype: Option<DTypeArg>) -> Output {
    run(py, 0, || Tensor::full(x.0.shape(), 1.0, dtype.map_or(x.0.dtype(), |dtype| dtype.0)))
}

/// One value in the shape (and by default the dtype) of `x`.
#[pyfunction]
#[pyo3(signature = (x, fill_value, dtype=None))]
fn full_like(py: Python<'_>, x: Arg, fill_value: &Bound<'_, PyAny>, dtype: Option<DTypeArg>) -> Output {
    let dtype = dtype.unwrap_or(DTypeArg(x.0.dtype()));
    let value = read(fill_value, Some(dtype))?;
    run(py, 0, || ops::view::copy(&ops::broadcast_to(&value, x.0.shape())?))
}

/// `n` by `m` (default `n`), 1 on the diagonal and 0 elsewhere.
#[pyfunction]
#[pyo3(signature = (n, m=None, dtype=FLOAT32), text_signature = "(n, m=None, dtype='float32')")]
fn eye(py: Python<'_>, n: usize, m: Option<usize>, dtype: DTypeArg) -> Output {
    run(py, 0, || ops::eye(n, m.unwrap_or(n), dtype.0))
}

/// `start, start + step, ...` up to but without `stop`; int64 when all are integers, else float32.
#[pyfunction]
#[pyo3(signature = (start, stop=None, step=None, dtype=None), text_signature = "(start, stop=None, step=1, dtype=None)")]
fn arange(
    py: Python<'_>,
    start: &Bound<'_, PyAny>,
    stop: Option<&Bound<'_, PyAny>>,
    step: Option<&Bound<'_, PyAny>>,
    dtype: Option<DTypeArg>,
) -> Output {
    let given = [Some(start), stop, step];
    let integers = given.iter().flatten().all(|value| value.is_instance_of::<PyInt>());
    let number = |value: &Bound<'_, PyAny>| value.extract::<f64>();
    let (first, last) = match stop {
        Some(stop) => (number(start)?, number(stop)?),
        None => (0.0, number(start)?),
    };
    let step = step.map_or(Ok(1.0), number)?;
    let dtype = dtype.map_or(if integers { DType::Int64 } else { DType::Float32 }, |dtype| dtype.0);
    run(py, 0, || ops::arange(first, last, step, dtype))
}

/// `num` values at equal distances from `start` to `stop`, both included.
#[pyfunction]
#[pyo3(signature = (start, stop, num=50, dtype=FLOAT32), text_signature = "(start, stop, num=50, dtype='float32')")]
fn linspace(py: Python<'_>, start: f64, stop: f64, num: usize, dtype: DTypeArg) -> Output {
    run(py, 0, || ops::linspace(start, stop, num, dtype.0))
}

/// `x` in another dtype.
#[pyfunction]
fn cast(py: Python<'_>, x: Arg, dtype: DTypeArg) -> Output {
    run(py, x.0.len(), || ops::cast(&x.0, dtype.0))
}

/// Where `x` is not a number.
#[pyfunction]
fn isnan(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::isnan(&x.0))
}

/// Where `x` is infinite.
#[pyfunction]
fn isinf(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::isinf(&x.0))
}

/// Where `x` is neither infinite nor NaN.
#[pyfunction]
fn isfinite(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::isfinite(&x.0))
}

/// Where `x` is false (0).
#[pyfunction]
fn logical_not(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::logical_not(&x.0))
}

/// The exponential linear unit: `x` above 0, `alpha * (e^x - 1)` elsewhere.
#[pyfunction]
#[pyo3(signature = (x, alpha=1.0))]
fn elu(py: Python<'_>, x: Arg, alpha: f64) -> Output {
    run(py, x.0.len(), || ops::elu(&x.0, alpha))
}

/// The continuously differentiable exponential linear unit.
#[pyfunction]
#[pyo3(signature = (x, alpha=1.0))]
fn celu(py: Python<'_>, x: Arg, alpha: f64) -> Output {
    run(py, x.0.len(), || ops::celu(&x.0, alpha))
}

/// `x` above 0, `negative_slope * x` elsewhere.
#[pyfunction]
#[pyo3(signature = (x, negative_slope=0.2))]
fn leaky_relu(py: Python<'_>, x: Arg, negative_slope: f64) -> Output {
    run(py, x.0.len(), || ops::leaky_relu(&x.0, negative_slope))
}

/// The Gaussian error linear unit, by default in its approximation by a hyperbolic tangent.
#[pyfunction]
#[pyo3(signature = (x, approximate=true))]
fn gelu(py: Python<'_>, x: Arg, approximate: bool) -> Output {
    run(py, x.0.len(), || if approximate { ops::gelu_tanh(&x.0) } else { ops::gelu(&x.0) })
}

/// `min(max(x, x_min), x_max)`.
#[pyfunction]
#[pyo3(signature = (x, x_min=None, x_max=None))]
fn clip(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    x_min: Option<&Bound<'_, PyAny>>,
    x_max: Option<&Bound<'_, PyAny>>,
) -> Output {
    let bound = |bound: Option<&Bound<'_, PyAny>>, unbounded: f64| match bound {
        None => Some(unbounded),
        Some(bound) if bound.is_instance_of::<PyFloat>() || bound.is_instance_of::<PyInt>() => {
            bound.extract().ok()
        }
        Some(_) => None,
    };
    let value = convert::tensor(x)?;
    // Two numbers make one fused pass; bounds that are tensors broadcast, and integers stay integers.
    if let (Some(low), Some(high)) = (bound(x_min, f64::NEG_INFINITY), bound(x_max, f64::INFINITY))
        && !value.dtype().is_integer()
    {
        return run(py, value.len(), || ops::clip(&value, low, high));
    }
    let mut value = value;
    if let Some(low) = x_min {
        let (a, low) = pair(&Bound::new(py, PyTensor::new(value))?.into_any(), low)?;
        value = enter(py, a.len(), || ops::maximum(&a, &low))?;
    }
    if let Some(high) = x_max {
        let (a, high) = pair(&Bound::new(py, PyTensor::new(value))?.into_any(), high)?;
        value = enter(py, a.len(), || ops::minimum(&a, &high))?;
    }
    Ok(PyTensor::new(value))
}

/// `x1` where `condition` is true (not 0), `x2` elsewhere.
#[pyfunction(name = "where")]
#[pyo3(signature = (condition, x1, x2))]
fn select(py: Python<'_>, condition: Arg, x1: &Bound<'_, PyAny>, x2: &Bound<'_, PyAny>) -> Output {
    let (a, b) = pair(x1, x2)?;
    run(py, elements(&[&condition.0, &a, &b]), || ops::select(&condition.0, &a, &b))
}

/// Functions of (x, axis=None, keepdims=False).
macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (x, axis=None, keepdims=false))]
        fn $name(py: Python<'_>, x: Arg, axis: Option<Axes>, keepdims: bool) -> Output {
            run(py, x.0.len(), || ops::$name(&x.0, axes(&axis), keepdims))
        }
    )+};
}

reductions! {
    /// The sum over `axis` (all by default).
    sum;
    /// The mean over `axis` (all by default).
    mean;
    /// The largest element over `axis` (all by default).
    max;
    /// The smallest element over `axis` (all by default).
    min;
    /// The product over `axis` (all by default).
    prod;
    /// The variance over `axis` (all by default).
    var;
    /// Whether any element over `axis` (all by default) is true.
    any;
    /// Whether all elements over `axis` (all by default) are true.
    all;
    /// `log(sum(exp(x)))` over `axis` (all by default), without overflow.
    logsumexp;
}

/// The standard deviation over `axis` (all by default).
#[pyfunction(name = "std")]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn std_(py: Python<'_>, x: Arg, axis: Option<Axes>, keepdims: bool) -> Output {
    run(py, x.0.len(), || ops::std(&x.0, axes(&axis), keepdims))
}

/// The index of the largest element along `axis`, or in the flattened tensor.
#[pyfunction]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn argmax(py: Python<'_>, x: Arg, axis: Option<isize>, keepdims: bool) -> Output {
    run(py, x.0.len(), || ops::argmax(&x.0, axis, keepdims))
}

/// The index of the smallest element along `axis`, or in the flattened tensor.
#[pyfunction]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn argmin(py: Python<'_>, x: Arg, axis: Option<isize>, keepdims: bool) -> Output {
    run(py, x.0.len(), || ops::argmin(&x.0, axis, keepdims))
}

/// The same elements under another shape; one side may be -1.
#[pyfunction]
fn reshape(py: Python<'_>, x: Arg, newshape: Signed) -> Output {
    run(py, x.0.len(), || ops::reshape(&x.0, &ops::view::resolve_shape(&x.0, &newshape.0)?))
}

/// The axes reversed, or in the given order.
#[pyfunction]
#[pyo3(signature = (x, axes=None))]
fn transpose(py: Python<'_>, x: Arg, axes: Option<Axes>) -> Output {
    run(py, 0, || ops::transpose(&x.0, convert::axes(&axes)))
}

/// A new axis of side 1 at position `axis`.
#[pyfunction]
fn expand_dims(py: Python<'_>, x: Arg, axis: isize) -> Output {
    run(py, 0, || ops::expand_dims(&x.0, axis))
}

/// Without the axes of side 1, or without the given ones.
#[pyfunction]
#[pyo3(signature = (x, axis=None))]
fn squeeze(py: Python<'_>, x: Arg, axis: Option<Axes>) -> Output {
    run(py, 0, || ops::squeeze(&x.0, axes(&axis)))
}

/// `x` repeated along new leading axes and axes of side 1.
#[pyfunction]
fn broadcast_to(py: Python<'_>, x: Arg, shape: ShapeArg) -> Output {
    run(py, 0, || ops::broadcast_to(&x.0, &shape.0))
}

/// The given axes (all by default) run backwards.
#[pyfunction]
#[pyo3(signature = (x, axis=None))]
fn flip(py: Python<'_>, x: Arg, axis: Option<Axes>) -> Output {
    run(py, 0, || ops::flip(&x.0, axes(&axis)))
}

/// Axes moved to other positions, the others keeping their order.
#[pyfunction]
fn moveaxis(py: Python<'_>, x: Arg, source: Axes, destination: Axes) -> Output {
    run(py, 0, || ops::moveaxis(&x.0, &source.0, &destination.0))
}

/// Two axes exchanged.
#[pyfunction]
fn swapaxes(py: Python<'_>, x: Arg, axis1: isize, axis2: isize) -> Output {
    run(py, 0, || ops::swapaxes(&x.0, axis1, axis2))
}

/// The tensors one after the other along `axis`.
#[pyfunction]
#[pyo3(signature = (xs, axis=0))]
fn concatenate(py: Python<'_>, xs: Vec<Arg>, axis: isize) -> Output {
    let xs: Vec<Tensor> = xs.into_iter().map(|x| x.0).collect();
    run(py, elements(&xs.iter().collect::<Vec<_>>()), || ops::concatenate(&xs, axis))
}

/// The tensors, of one shape, along a new axis.
#[pyfunction]
#[pyo3(signature = (xs, axis=0))]
fn stack(py: Python<'_>, xs: Vec<Arg>, axis: isize) -> Output {
    let xs: Vec<Tensor> = xs.into_iter().map(|x| x.0).collect();
    run(py, elements(&xs.iter().collect::<Vec<_>>()), || ops::stack(&xs, axis))
}

/// The slices of `x` along `axis` (of the flattened tensor by default) at `indices`.
#[pyfunction]
#[pyo3(signature = (x, indices, axis=None))]
fn take(py: Python<'_>, x: Arg, indices: Arg, axis: Option<isize>) -> Output {
    run(py, elements(&[&x.0, &indices.0]), || ops::take(&x.0, &indices.0, axis))
}

/// `x` with a value before and after it: `pad_width` is a pair for each axis, or one for all.
#[pyfunction]
#[pyo3(signature = (x, pad_width, constant_values=0.0))]
fn pad(py: Python<'_>, x: Arg, pad_width: &Bound<'_, PyAny>, constant_values: f64) -> Output {
    let ndim = x.0.ndim();
    let widths: Vec<(usize, usize)> = if let Ok(width) = pad_width.extract::<usize>() {
        vec![(width, width); ndim]
    } else if let Ok(pair) = pad_width.extract::<(usize, usize)>() {
        vec![pair; ndim]
    } else {
        pad_width.extract().map_err(|_| {
            PyValueError::new_err(format!(
                "pad: pad_width must be a pair (before, after) for each axis, none negative, got {pad_width}"
            ))
        })?
    };
    let widths = if widths.len() == 1 { vec![widths[0]; ndim] } else { widths };
    run(py, x.0.len(), || ops::pad(&x.0, &widths, constant_values))
}

/// 1 at each label's class along a new axis, 0 elsewhere; labels that are no class give zeros.
#[pyfunction]
#[pyo3(signature = (x, num_classes, axis=-1, dtype=FLOAT32), text_signature = "(x, num_classes, axis=-1, dtype='float32')")]
fn one_hot(py: Python<'_>, x: Arg, num_classes: usize, axis: isize, dtype: DTypeArg) -> Output {
    run(py, x.0.len(), || ops::one_hot(&x.0, num_classes, axis, dtype.0))
}

/// The matrix product; stacks of matrices broadcast over their leading axes.
#[pyfunction]
fn matmul(py: Python<'_>, x1: Arg, x2: Arg) -> Output {
    product(py, &x1.0, &x2.0).map(PyTensor::new)
}
