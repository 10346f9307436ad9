//! The functions of `autodan._core`: arguments in, one call of the engine, a tensor out.

use std::ffi::CString;

use autodan_core::{Result, Tensor, ops};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyFloat, PyInt, PyTuple};

use crate::convert::{self, Arg, Args, Axes, DTypeArg, FLOAT32, Items, ShapeArg, Signed, axes, pair, shown};
use crate::enter::{elements, enter};
use crate::error::named;
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
        let (at, value) = row.example;
        let example = format!("ad.{}({at:?})", row.name);
        add_closure(module, row.name, &documented(row.doc, &example, value), "x", move |args, kwargs| {
            let [x] = arguments(row.name, ["x"], args, kwargs)?;
            let x = convert::tensor(&x).map_err(|error| named(args.py(), row.name, error))?;
            run(args.py(), x.len(), || function(&x))
        })?;
    }
    for row in ops::binary::BINARY {
        let function = row.function;
        let (at1, at2, value) = row.example;
        // The losses' building blocks have no name in the package.
        let holder = if row.name.ends_with("cross_entropy") { "_core" } else { "ad" };
        let example = format!("{holder}.{}({at1:?}, {at2:?})", row.name);
        add_binary(module, row.name, &documented(row.doc, &example, value), function)?;
    }
    type Pairwise = (&'static str, &'static str, [bool; 3], fn(&Tensor, &Tensor) -> Result<Tensor>);
    let pairwise: [Pairwise; 9] = [
        ("equal", "Where `x1 == x2`.", [false, true, false], ops::equal),
        ("not_equal", "Where `x1 != x2`.", [true, false, true], ops::not_equal),
        ("less", "Where `x1 < x2`.", [true, false, false], ops::less),
        ("less_equal", "Where `x1 <= x2`.", [true, true, false], ops::less_equal),
        ("greater", "Where `x1 > x2`.", [false, false, true], ops::greater),
        ("greater_equal", "Where `x1 >= x2`.", [false, true, true], ops::greater_equal),
        ("logical_and", "Where both are true (not 0).", [false, false, true], ops::logical_and),
        ("logical_or", "Where either is true (not 0).", [false, true, true], ops::logical_or),
        ("logical_xor", "Where exactly one is true (not 0).", [false, true, false], ops::logical_xor),
    ];
    for (name, doc, value, function) in pairwise {
        let operands =
            if name.starts_with("logical") { "[0, 0, 1], [0, 1, 1]" } else { "[1, 2, 3], [2, 2, 2]" };
        let [a, b, c] = value.map(|value| if value { "True" } else { "False" });
        let doc = format!("{doc}\n\n>>> ad.{name}({operands}).tolist()\n[{a}, {b}, {c}]");
        add_binary(module, name, &doc, function)?;
    }
    add_functions!(
        module,
        [
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
            cumsum,
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

/// The documentation of a row with its example as a doctest; what is not exact in float32 is rounded.
fn documented(doc: &str, call: &str, value: &[f64]) -> String {
    let exact = value.iter().all(|&value| f64::from(value as f32) == value);
    let call =
        if exact { format!("{call}.tolist()") } else { format!("[round(y, 4) for y in {call}.tolist()]") };
    format!("{}\n\n>>> {call}\n{value:?}", doc.trim())
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
        let (a, b) = pair(&a, &b).map_err(|error| named(args.py(), name, error))?;
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

/// Where `x` is not a number.
///
/// >>> ad.isnan([1.0, float("nan")]).tolist()
/// [False, True]
#[pyfunction]
fn isnan(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::isnan(&x.0))
}

/// Where `x` is infinite.
///
/// >>> ad.isinf([1.0, float("-inf")]).tolist()
/// [False, True]
#[pyfunction]
fn isinf(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::isinf(&x.0))
}

/// Where `x` is neither infinite nor NaN.
///
/// >>> ad.isfinite([1.0, float("inf")]).tolist()
/// [True, False]
#[pyfunction]
fn isfinite(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::isfinite(&x.0))
}

/// Where `x` is false (0).
///
/// >>> ad.logical_not([True, False]).tolist()
/// [False, True]
#[pyfunction]
fn logical_not(py: Python<'_>, x: Arg) -> Output {
    run(py, x.0.len(), || ops::logical_not(&x.0))
}

/// The exponential linear unit: `x` above 0, `alpha * (e^x - 1)` elsewhere.
///
/// >>> [round(y, 4) for y in ad.elu([-1.0, 2.0]).tolist()]
/// [-0.6321, 2.0]
#[pyfunction]
#[pyo3(signature = (x, alpha=1.0))]
fn elu(py: Python<'_>, x: Arg, alpha: f64) -> Output {
    run(py, x.0.len(), || ops::elu(&x.0, alpha))
}

/// The continuously differentiable exponential linear unit.
///
/// >>> [round(y, 4) for y in ad.celu([-1.0, 2.0], alpha=2.0).tolist()]
/// [-0.7869, 2.0]
#[pyfunction]
#[pyo3(signature = (x, alpha=1.0))]
fn celu(py: Python<'_>, x: Arg, alpha: f64) -> Output {
    run(py, x.0.len(), || ops::celu(&x.0, alpha))
}

/// `x` above 0, `negative_slope * x` elsewhere.
///
/// >>> ad.leaky_relu([-1.0, 2.0], negative_slope=0.25).tolist()
/// [-0.25, 2.0]
#[pyfunction]
#[pyo3(signature = (x, negative_slope=0.2))]
fn leaky_relu(py: Python<'_>, x: Arg, negative_slope: f64) -> Output {
    run(py, x.0.len(), || ops::leaky_relu(&x.0, negative_slope))
}

/// The Gaussian error linear unit, by default in its approximation by a hyperbolic tangent.
///
/// >>> [round(y, 4) for y in ad.gelu([-1.0, 2.0], approximate=False).tolist()]
/// [-0.1587, 1.9545]
#[pyfunction]
#[pyo3(signature = (x, approximate=true))]
fn gelu(py: Python<'_>, x: Arg, approximate: bool) -> Output {
    run(py, x.0.len(), || ops::gelu(&x.0, f64::from(u8::from(approximate))))
}

/// `min(max(x, x_min), x_max)`.
///
/// >>> ad.clip([-3, 5, 12], 0, 10).tolist()
/// [0, 5, 10]
#[pyfunction]
#[pyo3(signature = (x, x_min=None, x_max=None))]
pub(crate) fn clip(
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
///
/// >>> ad.where([True, False], [1.0, 2.0], 0.0).tolist()
/// [1.0, 0.0]
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
    ///
    /// >>> ad.sum([[1, 2], [3, 4]], axis=0).tolist()
    /// [4, 6]
    sum;
    /// The mean over `axis` (all by default).
    ///
    /// >>> ad.mean([[1.0, 2.0], [3.0, 6.0]], axis=1).tolist()
    /// [1.5, 4.5]
    mean;
    /// The largest element over `axis` (all by default).
    ///
    /// >>> ad.max([[1, 5], [3, 4]], axis=-1).tolist()
    /// [5, 4]
    max;
    /// The smallest element over `axis` (all by default).
    ///
    /// >>> ad.min([[1, 5], [3, 4]], axis=-1, keepdims=True).tolist()
    /// [[1], [3]]
    min;
    /// The product over `axis` (all by default).
    ///
    /// >>> ad.prod([[1, 2], [3, 4]]).item()
    /// 24
    prod;
    /// The variance over `axis` (all by default).
    ///
    /// >>> ad.var([1.0, 3.0, 5.0, 7.0]).item()
    /// 5.0
    var;
    /// Whether any element over `axis` (all by default) is true.
    ///
    /// >>> ad.any([[True, False], [False, False]], axis=1).tolist()
    /// [True, False]
    any;
    /// Whether all elements over `axis` (all by default) are true.
    ///
    /// >>> ad.all([[True, False], [True, True]], axis=1).tolist()
    /// [False, True]
    all;
    /// `log(sum(exp(x)))` over `axis` (all by default), without overflow.
    ///
    /// >>> round(ad.logsumexp([1000.0, 1000.0]).item(), 2)
    /// 1000.69
    logsumexp;
}

/// The standard deviation over `axis` (all by default).
///
/// >>> ad.std([1.0, 3.0]).item()
/// 1.0
#[pyfunction(name = "std")]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn std_(py: Python<'_>, x: Arg, axis: Option<Axes>, keepdims: bool) -> Output {
    run(py, x.0.len(), || ops::std(&x.0, axes(&axis), keepdims))
}

/// The index of the largest element along `axis`, or in the flattened tensor.
///
/// >>> ad.argmax([[1, 5], [4, 3]], axis=1).tolist()
/// [1, 0]
#[pyfunction]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn argmax(py: Python<'_>, x: Arg, axis: Option<isize>, keepdims: bool) -> Output {
    run(py, x.0.len(), || ops::argmax(&x.0, axis, keepdims))
}

/// The index of the smallest element along `axis`, or in the flattened tensor.
///
/// >>> ad.argmin([4, 2, 2]).item()
/// 1
#[pyfunction]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn argmin(py: Python<'_>, x: Arg, axis: Option<isize>, keepdims: bool) -> Output {
    run(py, x.0.len(), || ops::argmin(&x.0, axis, keepdims))
}

/// The sum of the elements up to each one along `axis`, of the flattened tensor by default.
///
/// >>> ad.cumsum([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
/// [[1.0, 2.0], [4.0, 6.0]]
#[pyfunction]
#[pyo3(signature = (x, axis=None))]
fn cumsum(py: Python<'_>, x: Arg, axis: Option<isize>) -> Output {
    run(py, x.0.len(), || match axis {
        Some(axis) => ops::cumsum(&x.0, axis),
        None => ops::cumsum(&ops::reshape(&x.0, &[x.0.len()])?, 0),
    })
}

/// The same elements under another shape; one side may be -1.
///
/// >>> ad.reshape([1, 2, 3, 4], (2, -1)).tolist()
/// [[1, 2], [3, 4]]
#[pyfunction]
fn reshape(py: Python<'_>, x: Arg, newshape: Signed) -> Output {
    run(py, x.0.len(), || ops::reshape(&x.0, &ops::view::resolve_shape(&x.0, &newshape.0)?))
}

/// The axes reversed, or in the given order.
///
/// >>> ad.transpose([[1, 2, 3]]).tolist()
/// [[1], [2], [3]]
#[pyfunction]
#[pyo3(signature = (x, axes=None))]
fn transpose(py: Python<'_>, x: Arg, axes: Option<Axes>) -> Output {
    run(py, 0, || ops::transpose(&x.0, convert::axes(&axes)))
}

/// A new axis of side 1 at position `axis`.
///
/// >>> ad.expand_dims([1, 2], axis=1).tolist()
/// [[1], [2]]
#[pyfunction]
fn expand_dims(py: Python<'_>, x: Arg, axis: isize) -> Output {
    run(py, 0, || ops::expand_dims(&x.0, axis))
}

/// Without the axes of side 1, or without the given ones.
///
/// >>> ad.squeeze([[1, 2]]).tolist()
/// [1, 2]
#[pyfunction]
#[pyo3(signature = (x, axis=None))]
fn squeeze(py: Python<'_>, x: Arg, axis: Option<Axes>) -> Output {
    run(py, 0, || ops::squeeze(&x.0, axes(&axis)))
}

/// `x` repeated along new leading axes and axes of side 1.
///
/// >>> ad.broadcast_to([1, 2], (2, 2)).tolist()
/// [[1, 2], [1, 2]]
#[pyfunction]
fn broadcast_to(py: Python<'_>, x: Arg, shape: ShapeArg) -> Output {
    run(py, 0, || ops::broadcast_to(&x.0, &shape.0))
}

/// The given axes (all by default) run backwards.
///
/// >>> ad.flip([1, 2, 3]).tolist()
/// [3, 2, 1]
#[pyfunction]
#[pyo3(signature = (x, axis=None))]
fn flip(py: Python<'_>, x: Arg, axis: Option<Axes>) -> Output {
    run(py, 0, || ops::flip(&x.0, axes(&axis)))
}

/// Axes moved to other positions, the others keeping their order.
///
/// >>> ad.moveaxis(ad.zeros((2, 3, 4)), 0, -1).shape
/// (3, 4, 2)
#[pyfunction]
fn moveaxis(py: Python<'_>, x: Arg, source: Axes, destination: Axes) -> Output {
    run(py, 0, || ops::moveaxis(&x.0, &source.0, &destination.0))
}

/// Two axes exchanged.
///
/// >>> ad.swapaxes(ad.zeros((2, 3, 4)), 0, 2).shape
/// (4, 3, 2)
#[pyfunction]
fn swapaxes(py: Python<'_>, x: Arg, axis1: isize, axis2: isize) -> Output {
    run(py, 0, || ops::swapaxes(&x.0, axis1, axis2))
}

/// The tensors one after the other along `axis`.
///
/// >>> ad.concatenate([[1, 2], [3]]).tolist()
/// [1, 2, 3]
#[pyfunction]
#[pyo3(signature = (xs, axis=0))]
fn concatenate(py: Python<'_>, xs: Args, axis: isize) -> Output {
    let Args(xs) = xs;
    run(py, elements(&xs.iter().collect::<Vec<_>>()), || ops::concatenate(&xs, axis))
}

/// The tensors, of one shape, along a new axis.
///
/// >>> ad.stack([[1, 2], [3, 4]], axis=1).tolist()
/// [[1, 3], [2, 4]]
#[pyfunction]
#[pyo3(signature = (xs, axis=0))]
fn stack(py: Python<'_>, xs: Args, axis: isize) -> Output {
    let Args(xs) = xs;
    run(py, elements(&xs.iter().collect::<Vec<_>>()), || ops::stack(&xs, axis))
}

/// The slices of `x` along `axis` (of the flattened tensor by default) at `indices`.
///
/// >>> ad.take([10, 20, 30], [2, 0]).tolist()
/// [30, 10]
#[pyfunction]
#[pyo3(signature = (x, indices, axis=None))]
fn take(py: Python<'_>, x: Arg, indices: Arg, axis: Option<isize>) -> Output {
    run(py, elements(&[&x.0, &indices.0]), || ops::take(&x.0, &indices.0, axis))
}

/// `x` with a value before and after it: `pad_width` is a pair for each axis, or one for all.
///
/// >>> ad.pad([1, 2], (1, 2), constant_values=9).tolist()
/// [9, 1, 2, 9, 9]
#[pyfunction]
#[pyo3(signature = (x, pad_width, constant_values=0.0))]
fn pad(py: Python<'_>, x: Arg, pad_width: &Bound<'_, PyAny>, constant_values: f64) -> Output {
    let ndim = x.0.ndim();
    let widths: Vec<(usize, usize)> = if let Ok(width) = pad_width.extract::<usize>() {
        vec![(width, width); ndim]
    } else if let Ok(pair) = pad_width.extract::<(usize, usize)>() {
        vec![pair; ndim]
    } else {
        let pairs = pad_width.extract::<Items>().and_then(|Items(items)| {
            items.iter().map(|item| item.extract::<(usize, usize)>()).collect::<PyResult<_>>()
        });
        pairs.map_err(|_| {
            PyValueError::new_err(format!(
                "pad: pad_width must be a pair (before, after) for each axis, none negative, got {}",
                shown(pad_width)
            ))
        })?
    };
    let widths = if widths.len() == 1 { vec![widths[0]; ndim] } else { widths };
    run(py, x.0.len(), || ops::pad(&x.0, &widths, constant_values))
}

/// 1 at each label's class along a new axis, 0 elsewhere; labels that are no class give zeros.
///
/// >>> ad.one_hot([2, 0], num_classes=3).tolist()
/// [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
#[pyfunction]
#[pyo3(signature = (x, num_classes, axis=-1, dtype=FLOAT32), text_signature = "(x, num_classes, axis=-1, dtype='float32')")]
fn one_hot(py: Python<'_>, x: Arg, num_classes: i64, axis: isize, dtype: DTypeArg) -> Output {
    let classes = usize::try_from(num_classes).map_err(|_| {
        PyValueError::new_err(format!("one_hot: num_classes={num_classes} must not be negative"))
    })?;
    run(py, x.0.len(), || ops::one_hot(&x.0, classes, axis, dtype.0))
}

/// The matrix product; stacks of matrices broadcast over their leading axes.
///
/// >>> ad.matmul([[1, 2], [3, 4]], [[1], [1]]).tolist()
/// [[3], [7]]
#[pyfunction]
fn matmul(py: Python<'_>, x1: Arg, x2: Arg) -> Output {
    product(py, &x1.0, &x2.0).map(PyTensor::new)
}
