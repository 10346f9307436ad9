//! The functions of neural networks: convolution, pooling, normalisation, losses.

use autodan_core::ops;
use autodan_core::ops::conv::Padding;
use autodan_core::ops::random::Key;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::convert::{Arg, Signed, shown};
use crate::enter::enter;
use crate::ops::{Output, run};
use crate::tensor::PyTensor;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        [
            bias_activation,
            conv2d,
            conv2d_bias,
            conv2d_max_pool,
            linear,
            max_pool2d,
            average_pool2d,
            softmax,
            log_softmax,
            sparse_softmax_cross_entropy,
            softmax_cross_entropy,
            batch_norm,
            dropout
        ]
    );
    Ok(())
}

/// A pair of integers of at least 0, or one for both: the argument `name` of `op`.
fn two(op: &str, name: &str, argument: Signed) -> PyResult<[usize; 2]> {
    let Signed(values) = argument;
    let wrong = || {
        let message = format!("{op}: {name} must be a positive integer or a pair of them, got {values:?}");
        PyValueError::new_err(message)
    };
    let [first, second] = match values[..] {
        [both] => [both, both],
        [first, second] => [first, second],
        _ => return Err(wrong()),
    };
    match (usize::try_from(first), usize::try_from(second)) {
        (Ok(first), Ok(second)) => Ok([first, second]),
        _ => Err(wrong()),
    }
}

/// "valid", "same", or ((top, bottom), (left, right)).
fn padding(op: &str, object: Option<&Bound<'_, PyAny>>) -> PyResult<Padding> {
    let Some(object) = object else { return Ok(Padding::Valid) };
    let wrong = || {
        PyValueError::new_err(format!(
            "{op}: padding must be 'valid', 'same' or ((top, bottom), (left, right)), none negative, got {}",
            shown(object)
        ))
    };
    if let Ok(name) = object.cast::<PyString>() {
        return match name.to_string().to_lowercase().as_str() {
            "valid" => Ok(Padding::Valid),
            "same" => Ok(Padding::Same),
            _ => Err(wrong()),
        };
    }
    let ((top, bottom), (left, right)) =
        object.extract::<((usize, usize), (usize, usize))>().map_err(|_| wrong())?;
    Ok(Padding::Explicit([[top, bottom], [left, right]]))
}

/// `activation(x + bias)` in one pass, with one bias for each element of the last axis; `activation` is
/// "linear", "relu", "tanh" or "sigmoid".
///
/// >>> _core.bias_activation([[1.0, -2.0]], [0.5, 1.0], "relu").tolist()
/// [[1.5, 0.0]]
#[pyfunction]
fn bias_activation(py: Python<'_>, x: Arg, bias: Arg, activation: &str) -> Output {
    run(py, x.0.len(), || ops::bias_activation(&x.0, &bias.0, activation))
}

/// The convolution of images (batch, height, width, channels) with a kernel (height, width, in / groups, out).
///
/// >>> _core.conv2d(ad.ones((1, 3, 3, 1)), ad.ones((2, 2, 1, 1))).reshape(2, 2).tolist()
/// [[4.0, 4.0], [4.0, 4.0]]
#[pyfunction]
#[pyo3(
    signature = (x, kernel, strides=Signed(vec![1]), padding=None, dilation=Signed(vec![1]), groups=1),
    text_signature = "(x, kernel, strides=1, padding='valid', dilation=1, groups=1)"
)]
fn conv2d(
    py: Python<'_>,
    x: Arg,
    kernel: Arg,
    strides: Signed,
    padding: Option<&Bound<'_, PyAny>>,
    dilation: Signed,
    groups: i64,
) -> Output {
    let (strides, padding, dilation, groups) = window("conv2d", strides, padding, dilation, groups)?;
    run(py, work(&x, &kernel), || ops::conv2d(&x.0, &kernel.0, strides, padding, dilation, groups))
}

/// Strides, padding, dilation and groups of a convolution.
fn window(
    op: &str,
    strides: Signed,
    padding: Option<&Bound<'_, PyAny>>,
    dilation: Signed,
    groups: i64,
) -> PyResult<([usize; 2], Padding, [usize; 2], usize)> {
    let padding = self::padding(op, padding)?;
    let (strides, dilation) = (two(op, "strides", strides)?, two(op, "dilation", dilation)?);
    let groups = usize::try_from(groups)
        .map_err(|_| PyValueError::new_err(format!("{op}: groups={groups} must be at least 1")))?;
    Ok((strides, padding, dilation, groups))
}

/// The work of a convolution, in what elementwise operations do to an element.
fn work(x: &Arg, kernel: &Arg) -> usize {
    x.0.len().saturating_mul(kernel.0.len() / kernel.0.shape().get(2).copied().unwrap_or(1).max(1)) / 16
}

/// `activation(conv2d(x, kernel) + bias)` with one bias for each filter; `activation` is "linear", "relu",
/// "tanh" or "sigmoid". The first two, and the bias, cost no pass over the memory.
///
/// >>> image, ones = ad.ones((1, 3, 3, 1)), ad.ones((2, 2, 1, 1))
/// >>> _core.conv2d_bias(image, ones, [-5.0], activation="relu").reshape(2, 2).tolist()
/// [[0.0, 0.0], [0.0, 0.0]]
#[pyfunction]
#[pyo3(
    signature = (
        x, kernel, bias, strides=Signed(vec![1]), padding=None, dilation=Signed(vec![1]), groups=1, activation="linear"
    ),
    text_signature = "(x, kernel, bias, strides=1, padding='valid', dilation=1, groups=1, activation='linear')"
)]
#[allow(clippy::too_many_arguments)]
fn conv2d_bias(
    py: Python<'_>,
    x: Arg,
    kernel: Arg,
    bias: Arg,
    strides: Signed,
    padding: Option<&Bound<'_, PyAny>>,
    dilation: Signed,
    groups: i64,
    activation: &str,
) -> Output {
    let (strides, padding, dilation, groups) = window("conv2d_bias", strides, padding, dilation, groups)?;
    run(py, work(&x, &kernel), || {
        ops::conv2d_bias(&x.0, &kernel.0, &bias.0, strides, padding, dilation, groups, activation)
    })
}

/// The largest element of each 2 x 2 window of `activation(conv2d(x, kernel) + bias)`, in one pass; an odd last
/// row or column is in no window. `activation` is "linear" or "relu".
///
/// >>> image = ad.arange(4.0).reshape(1, 2, 2, 1)
/// >>> _core.conv2d_max_pool(image, ad.ones((1, 1, 1, 1)), [0.5]).item()
/// 3.5
#[pyfunction]
#[pyo3(
    signature = (
        x, kernel, bias, strides=Signed(vec![1]), padding=None, dilation=Signed(vec![1]), groups=1, activation="linear"
    ),
    text_signature = "(x, kernel, bias, strides=1, padding='valid', dilation=1, groups=1, activation='linear')"
)]
fn conv2d_max_pool(
    py: Python<'_>,
    x: Arg,
    kernel: Arg,
    bias: Arg,
    strides: Signed,
    padding: Option<&Bound<'_, PyAny>>,
    dilation: Signed,
    groups: i64,
    activation: &str,
) -> Output {
    let (strides, padding, dilation, groups) = window("conv2d_max_pool", strides, padding, dilation, groups)?;
    run(py, work(&x, &kernel), || {
        ops::conv2d_max_pool(&x.0, &kernel.0, &bias.0, strides, padding, dilation, groups, activation)
    })
}

/// `activation(x @ kernel + bias)` for a kernel (inputs, outputs), with one bias for each output; `activation`
/// is "linear", "relu", "tanh" or "sigmoid". The first two, and the bias, cost no pass over the memory.
///
/// >>> _core.linear([[1.0, -2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.5, 1.0], "relu").tolist()
/// [[1.5, 0.0]]
#[pyfunction]
#[pyo3(signature = (x, kernel, bias, activation="linear"))]
fn linear(py: Python<'_>, x: Arg, kernel: Arg, bias: Arg, activation: &str) -> Output {
    let outputs = kernel.0.shape().last().copied().unwrap_or(1);
    run(py, x.0.len().saturating_mul(outputs) / 16, || ops::linear(&x.0, &kernel.0, &bias.0, activation))
}

/// Size, strides (by default the size) and padding of a pooling's windows.
fn windows(
    op: &str,
    pool_size: Signed,
    strides: Option<Signed>,
    padding: Option<&Bound<'_, PyAny>>,
) -> PyResult<([usize; 2], [usize; 2], Padding)> {
    let size = two(op, "pool_size", pool_size)?;
    let strides = strides.map_or(Ok(size), |strides| two(op, "strides", strides))?;
    Ok((size, strides, self::padding(op, padding)?))
}

/// The largest element of each window; `strides` is by default the window.
///
/// >>> image = ad.arange(4.0).reshape(1, 2, 2, 1)
/// >>> _core.max_pool2d(image, 2).item()
/// 3.0
#[pyfunction]
#[pyo3(
    signature = (x, pool_size, strides=None, padding=None),
    text_signature = "(x, pool_size, strides=None, padding='valid')"
)]
fn max_pool2d(
    py: Python<'_>,
    x: Arg,
    pool_size: Signed,
    strides: Option<Signed>,
    padding: Option<&Bound<'_, PyAny>>,
) -> Output {
    let (size, strides, padding) = windows("max_pool2d", pool_size, strides, padding)?;
    run(py, x.0.len(), || ops::max_pool2d(&x.0, size, strides, padding))
}

/// The mean of each window's elements, padding not counted; `strides` is by default the window.
///
/// >>> image = ad.arange(4.0).reshape(1, 2, 2, 1)
/// >>> _core.average_pool2d(image, 2).item()
/// 1.5
#[pyfunction]
#[pyo3(
    signature = (x, pool_size, strides=None, padding=None),
    text_signature = "(x, pool_size, strides=None, padding='valid')"
)]
fn average_pool2d(
    py: Python<'_>,
    x: Arg,
    pool_size: Signed,
    strides: Option<Signed>,
    padding: Option<&Bound<'_, PyAny>>,
) -> Output {
    let (size, strides, padding) = windows("average_pool2d", pool_size, strides, padding)?;
    run(py, x.0.len(), || ops::average_pool2d(&x.0, size, strides, padding))
}

/// `exp(x) / sum(exp(x))` along `axis`.
///
/// >>> ad.softmax([0.0, 0.0]).tolist()
/// [0.5, 0.5]
#[pyfunction]
#[pyo3(signature = (x, axis=-1), text_signature = "(x, axis=-1)")]
fn softmax(py: Python<'_>, x: Arg, axis: isize) -> Output {
    run(py, x.0.len(), || ops::softmax(&x.0, axis))
}

/// The logarithm of the softmax along `axis`.
///
/// >>> ad.log_softmax([0.0, 0.0]).numpy().round(4)
/// array([-0.6931, -0.6931], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, axis=-1), text_signature = "(x, axis=-1)")]
fn log_softmax(py: Python<'_>, x: Arg, axis: isize) -> Output {
    run(py, x.0.len(), || ops::log_softmax(&x.0, axis))
}

/// The cross-entropy of each row's softmax with an integer label.
///
/// >>> _core.sparse_softmax_cross_entropy([[0.0, 0.0]], [1]).numpy().round(4)
/// array([0.6931], dtype=float32)
#[pyfunction]
fn sparse_softmax_cross_entropy(py: Python<'_>, logits: Arg, labels: Arg) -> Output {
    run(py, logits.0.len(), || ops::sparse_softmax_cross_entropy(&logits.0, &labels.0))
}

/// The cross-entropy of each row's softmax with a distribution.
///
/// >>> _core.softmax_cross_entropy([[0.0, 0.0]], [[0.5, 0.5]]).numpy().round(4)
/// array([0.6931], dtype=float32)
#[pyfunction]
fn softmax_cross_entropy(py: Python<'_>, logits: Arg, targets: Arg) -> Output {
    run(py, logits.0.len(), || ops::softmax_cross_entropy(&logits.0, &targets.0))
}

/// `x` normalised with the mean and the biased variance over every axis but `axis`; returns the result, the mean and
/// the variance.
///
/// >>> y, mean, variance = _core.batch_norm([[1.0], [3.0]], epsilon=0.0)
/// >>> y.tolist(), mean.tolist(), variance.tolist()
/// ([[-1.0], [1.0]], [2.0], [1.0])
#[pyfunction]
#[pyo3(
    signature = (x, gamma=None, beta=None, axis=-1, epsilon=1e-3),
    text_signature = "(x, gamma=None, beta=None, axis=-1, epsilon=0.001)"
)]
fn batch_norm(
    py: Python<'_>,
    x: Arg,
    gamma: Option<Arg>,
    beta: Option<Arg>,
    axis: isize,
    epsilon: f64,
) -> PyResult<(PyTensor, PyTensor, PyTensor)> {
    let (gamma, beta) = (gamma.as_ref().map(|gamma| &gamma.0), beta.as_ref().map(|beta| &beta.0));
    let [y, mean, variance] = enter(py, x.0.len(), || ops::batch_norm(&x.0, gamma, beta, axis, epsilon))?;
    Ok((PyTensor::new(y), PyTensor::new(mean), PyTensor::new(variance)))
}

/// `x` with a fraction `rate` of its elements set to 0 and the others scaled by `1 / (1 - rate)`; which ones is a
/// function of seed and counter.
///
/// >>> _core.dropout([1.0, 2.0, 3.0], rate=0.0, seed=1, counter=0).tolist()
/// [1.0, 2.0, 3.0]
#[pyfunction]
fn dropout(py: Python<'_>, x: Arg, rate: f64, seed: u64, counter: u64) -> Output {
    run(py, x.0.len(), || ops::random::dropout(&x.0, rate, Key { seed, counter }))
}
