"""Neural-network functions of `keras.ops`: convolution, pooling, normalization, crossentropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autodan import _core
from autodan._core import Tensor
from autodan.config import epsilon as fuzz
from autodan.config import standardize_data_format
from autodan.ops.numpy import floating, norm, split
from autodan.utils.arguments import axes_of, pair

__all__ = [
    "average_pool",
    "batch_normalization",
    "binary_crossentropy",
    "categorical_crossentropy",
    "conv",
    "glu",
    "log_softmax",
    "max_pool",
    "moments",
    "multi_hot",
    "normalize",
    "one_hot",
    "softmax",
    "sparse_categorical_crossentropy",
    "threshold",
]

Axes = int | Sequence[int]
_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)


def _images(x: Any, op: str, channels_first: bool) -> Tensor:
    """Return `x` in the layout of the kernels, (N, H, W, C)."""
    x = _core.asarray(x) if not isinstance(x, Tensor) else x
    if x.ndim != 4:
        layout = "(N, C, H, W)" if channels_first else "(N, H, W, C)"
        raise ValueError(
            f"{op}: inputs must have 4 dimensions {layout}. Received shape {x.shape}. "
            "Add the missing axis, for example with x[..., None]."
        )
    return _core.transpose(x, _TO_LAST) if channels_first else x


def conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
) -> Tensor:
    """Convolve images with a kernel (Keras `ops.conv`).

    Args:
        inputs: Shape (N, H, W, C), or (N, C, H, W) for "channels_first".
        kernel: Shape (kh, kw, C / groups, filters); the number of groups follows from it.
        strides: Step of the window. Default 1.
        padding: "valid" (none) or "same" (output side is ceil(side / stride)).
        data_format: "channels_last" or "channels_first". Default: `image_data_format()`.
        dilation_rate: Distance of the kernel's taps. Default 1.

    Raises:
        ValueError: the shapes do not fit.

    >>> import autodan as ad
    >>> conv(ad.ones((1, 3, 3, 1)), ad.ones((3, 3, 1, 2))).tolist()
    [[[[9.0, 9.0]]]]
    """
    channels_first = standardize_data_format(data_format) == "channels_first"
    x = _images(inputs, "conv", channels_first)
    kernel = kernel if isinstance(kernel, Tensor) else _core.asarray(kernel)
    depth = kernel.shape[2] if kernel.ndim == 4 else 0
    if not depth or x.shape[3] % depth:
        raise ValueError(
            f"conv: kernel of shape {kernel.shape} does not fit inputs of shape {x.shape}: its "
            f"third side must divide the {x.shape[3]} channels (kernels are (kh, kw, in, out))."
        )
    steps, rate = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
    y = _core.conv2d(x, kernel, steps, padding, rate, x.shape[3] // depth)
    return _core.transpose(y, _TO_FIRST) if channels_first else y


def max_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Take the maximum of each window (Keras `ops.max_pool`).

    Args:
        inputs: Shape (N, H, W, C), or (N, C, H, W) for "channels_first".
        pool_size: Size of the window.
        strides: Step of the window. Default: `pool_size`.
        padding: "valid" (none) or "same".
        data_format: "channels_last" or "channels_first". Default: `image_data_format()`.

    Raises:
        ValueError: the shapes do not fit.

    >>> max_pool([[[[1.0], [2.0]], [[3.0], [4.0]]]], 2).tolist()
    [[[[4.0]]]]
    """
    return _pool(_core.max_pool2d, "max_pool", inputs, pool_size, strides, padding, data_format)


def average_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """Take the mean of each window, padding not counted (Keras `ops.average_pool`).

    Args:
        inputs: Shape (N, H, W, C), or (N, C, H, W) for "channels_first".
        pool_size: Size of the window.
        strides: Step of the window. Default: `pool_size`.
        padding: "valid" (none) or "same".
        data_format: "channels_last" or "channels_first". Default: `image_data_format()`.

    Raises:
        ValueError: the shapes do not fit.

    >>> average_pool([[[[1.0], [2.0]], [[3.0], [4.0]]]], 2).tolist()
    [[[[2.5]]]]
    """
    return _pool(
        _core.average_pool2d, "average_pool", inputs, pool_size, strides, padding, data_format
    )


def _pool(
    kernel: Any,
    op: str,
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None,
    padding: str,
    data_format: str | None,
) -> Tensor:
    channels_first = standardize_data_format(data_format) == "channels_first"
    x = _images(inputs, op, channels_first)
    window = pair(pool_size, "pool_size")
    y = kernel(x, window, window if strides is None else pair(strides, "strides"), padding)
    return _core.transpose(y, _TO_FIRST) if channels_first else y


def moments(
    x: Any, axes: Axes, keepdims: bool = False, synchronized: bool = False
) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over `axes` (Keras `ops.moments`).

    Args:
        x: A tensor.
        axes: One axis or several.
        keepdims: Whether to keep the reduced axes with size 1. Default False.
        synchronized: Accepted for Keras's sake; there is one device.

    >>> [float(m) for m in moments([1.0, 3.0], 0)]
    [2.0, 1.0]
    """
    return _core.mean(x, axis=axes, keepdims=keepdims), _core.var(x, axis=axes, keepdims=keepdims)


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    axis: int,
    offset: Any = None,
    scale: Any = None,
    epsilon: float = 1e-3,
) -> Tensor:
    """Normalize with given statistics (Keras `ops.batch_normalization`).

    Args:
        x: A tensor.
        mean: Mean, shape (size of `axis`,).
        variance: Variance, of the same shape.
        axis: The axis of the features.
        offset: Added at the end, of the same shape. Default: nothing.
        scale: Factor before that, of the same shape. Default: 1.
        epsilon: Added to the variance. Default 1e-3.

    >>> batch_normalization([[1.0], [3.0]], [2.0], [1.0], -1, epsilon=0.0).tolist()
    [[-1.0], [1.0]]
    """
    x = _core.asarray(x) if not isinstance(x, Tensor) else x
    (place,) = axes_of("batch_normalization", axis, x.ndim)
    parameters = {"mean": mean, "variance": variance, "offset": offset, "scale": scale}
    for name, value in parameters.items():
        shape = (x.shape[place],) if value is None else _core.asarray(value).shape
        if shape != (x.shape[place],):
            raise ValueError(
                f"batch_normalization: {name} of shape {shape} does not fit inputs of shape "
                f"{x.shape}; along axis {axis} it needs shape {(x.shape[place],)}."
            )
    factor = _core.rsqrt(_core.add(variance, epsilon))
    if scale is not None:
        factor = factor * scale
    shift = factor * mean
    shift = -shift if offset is None else offset - shift
    if place != x.ndim - 1:
        sides = [1] * x.ndim
        sides[place] = x.shape[place]
        factor, shift = _core.reshape(factor, sides), _core.reshape(shift, sides)
    return x * factor + shift


def normalize(x: Any, axis: Axes = -1, order: float = 2, epsilon: float | None = None) -> Tensor:
    """Divide by the norm along `axis` (Keras `ops.normalize`).

    Args:
        x: A tensor.
        axis: One axis or several. Default -1.
        order: Order of the norm. Default 2.
        epsilon: Least norm to divide by. Default: `config.epsilon()`.

    >>> normalize([[3.0, 4.0]]).numpy().round(4).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    least = fuzz() if epsilon is None else epsilon
    return _core.divide(x, _core.maximum(norm(x, ord=order, axis=axis, keepdims=True), least))


def softmax(x: Any, axis: Axes = -1) -> Tensor:
    """Return `exp(x) / sum(exp(x))` along one axis or several (Keras `ops.softmax`).

    >>> softmax([[1.0, 1.0]]).tolist()
    [[0.5, 0.5]]
    """
    return _over_axes(_core.softmax, "softmax", x, axis)


def log_softmax(x: Any, axis: Axes = -1) -> Tensor:
    """Return the logarithm of the softmax, computed stably (Keras `ops.log_softmax`).

    >>> log_softmax([[0.0, 0.0]]).numpy().round(3).tolist()
    [[-0.6930000185966492, -0.6930000185966492]]
    """
    return _over_axes(_core.log_softmax, "log_softmax", x, axis)


def _over_axes(function: Any, name: str, x: Any, axis: Axes) -> Tensor:
    """Apply a function of one axis to several, as if they were flattened into one."""
    if type(axis) is int:
        return function(x, axis)
    x = _core.asarray(x)
    axes = axes_of(name, axis, x.ndim)
    rest = [a for a in range(x.ndim) if a not in axes]
    order = rest + axes
    moved = _core.transpose(x, order)
    flat = _core.reshape(moved, [*moved.shape[: len(rest)], math.prod(moved.shape[len(rest) :])])
    inverse = sorted(range(x.ndim), key=order.__getitem__)
    return _core.transpose(_core.reshape(function(flat, -1), moved.shape), inverse)


def glu(x: Any, axis: int = -1) -> Tensor:
    """Return the first half of `x` times the sigmoid of the second (Keras `ops.glu`).

    Raises:
        ValueError: the axis has an odd size.
        IndexError: there is no such axis.

    >>> glu([2.0, 0.0]).tolist()
    [1.0]
    """
    x = _core.asarray(x)
    (place,) = axes_of("glu", axis, x.ndim)
    if x.shape[place] % 2:
        raise ValueError(f"glu: axis {axis} of shape {x.shape} must have an even size.")
    value, gate = split(x, 2, place)
    return value * _core.sigmoid(gate)


def threshold(x: Any, threshold: float, default_value: float) -> Tensor:
    """Return `x` where it exceeds the threshold, else the default value (Keras).

    >>> threshold([1.0, 3.0], 2.0, 0.0).tolist()
    [0.0, 3.0]
    """
    return _core.where(_core.greater(x, threshold), x, default_value)


def one_hot(
    x: Any, num_classes: int, axis: int = -1, dtype: str | None = None, sparse: bool = False
) -> Tensor:
    """Turn integers into vectors with a single 1 (Keras `ops.one_hot`).

    Args:
        x: Integer tensor of any shape.
        num_classes: Length of the vectors.
        axis: Where the new axis goes. Default -1.
        dtype: Default "float32".
        sparse: Must be False: autodan has dense tensors only.

    Raises:
        ValueError: `sparse` is True.

    >>> one_hot([0, 2], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if sparse:
        raise ValueError("one_hot: sparse tensors are not supported. Leave sparse=False.")
    return _core.one_hot(x, num_classes, axis, dtype or "float32")


def multi_hot(x: Any, num_classes: int, axis: int = -1, dtype: str | None = None) -> Tensor:
    """Turn sets of integers along the last axis into vectors of 0 and 1 (Keras `ops.multi_hot`).

    Args:
        x: Integers, shape (sets, members), or (members,) for a single set.
        num_classes: Length of the vectors.
        axis: Where `one_hot` puts the classes, before the second axis of its result (the first for
            a single set) is joined. Default -1.
        dtype: Default "float32".

    >>> multi_hot([[0, 2]], 3).tolist()
    [[1.0, 0.0, 1.0]]
    """
    x = _core.asarray(x)
    members = _core.one_hot(x, num_classes, axis, dtype or "float32")
    return _core.max(members, axis=1 if x.ndim > 1 else 0)


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """Return `-log(p[target])` per sample (Keras `ops.sparse_categorical_crossentropy`).

    Args:
        target: Integer labels, shape (...) or (..., 1).
        output: Shape (..., classes): probabilities, or logits with `from_logits`.
        from_logits: Whether `output` holds logits. Default False.
        axis: The axis of the classes. Default -1.

    Raises:
        ValueError: the shapes do not fit, or a label is out of range or no whole number.

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).numpy().round(3).tolist()
    [0.6930000185966492]
    """
    output, target = floating(output), _core.asarray(target)
    if axes_of("sparse_categorical_crossentropy", axis, output.ndim) != [output.ndim - 1]:
        output = _core.moveaxis(output, axis, -1)
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = _core.squeeze(target, -1)
    if target.shape != output.shape[:-1]:
        raise ValueError(
            f"sparse_categorical_crossentropy: labels of shape {target.shape} do not fit outputs "
            f"of shape {output.shape}. Labels need shape {output.shape[:-1]}; for one-hot labels "
            "use categorical_crossentropy."
        )
    if not from_logits:
        # The softmax of these logarithms is the probabilities, made to sum to 1.
        output = _core.log(_core.clip(output, fuzz(), 1.0 - fuzz()))
    return _core.sparse_softmax_cross_entropy(output, _integers(target))


def _integers(target: Tensor) -> Tensor:
    """Return labels as integers; floats must be whole numbers."""
    if not target.dtype.startswith(("float", "bool")):
        return target
    labels = _core.cast(target, "int64")
    wrong = np.argwhere(_core.not_equal(labels, target).numpy())
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"sparse_categorical_crossentropy: label {float(target[at])} (at position {at}) is no "
            "whole number; for probabilities of classes use categorical_crossentropy."
        )
    return labels


def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """Return `-sum(target * log(p))` per sample (Keras `ops.categorical_crossentropy`).

    Args:
        target: One-hot or soft labels, the shape of `output`.
        output: Shape (..., classes): probabilities, or logits with `from_logits`.
        from_logits: Whether `output` holds logits. Default False.
        axis: The axis of the classes. Default -1.

    Raises:
        ValueError: the shapes differ.

    >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).numpy().round(3).tolist()
    [0.6930000185966492]
    """
    output = floating(output)
    target = _core.cast(target, output.dtype)
    if target.shape != output.shape:
        raise ValueError(
            f"categorical_crossentropy: labels of shape {target.shape} do not fit outputs of "
            f"shape {output.shape}. For integer labels use sparse_categorical_crossentropy."
        )
    if axes_of("categorical_crossentropy", axis, output.ndim) != [output.ndim - 1]:
        output, target = _core.moveaxis(output, axis, -1), _core.moveaxis(target, axis, -1)
    if from_logits:
        return _core.softmax_cross_entropy(output, target)
    output = output / _core.sum(output, axis=-1, keepdims=True)
    output = _core.clip(output, fuzz(), 1.0 - fuzz())
    return -_core.sum(target * _core.log(output), axis=-1)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """Return the crossentropy of each element with its label (Keras `ops.binary_crossentropy`).

    Args:
        target: Labels between 0 and 1, the shape of `output`.
        output: Probabilities, or logits with `from_logits`.
        from_logits: Whether `output` holds logits. Default False.

    Raises:
        ValueError: the shapes differ.

    >>> binary_crossentropy([1.0, 0.0], [0.5, 0.5]).numpy().round(3).tolist()
    [0.6930000185966492, 0.6930000185966492]
    """
    output = floating(output)
    target = _core.cast(target, output.dtype)
    if target.shape != output.shape:
        raise ValueError(
            f"binary_crossentropy: labels of shape {target.shape} and outputs of shape "
            f"{output.shape} must have the same shape. Reshape the labels to {output.shape}."
        )
    if from_logits:
        return _core.sigmoid_cross_entropy(output, target)
    output = _core.clip(output, fuzz(), 1.0 - fuzz())
    return -(target * _core.log(output) + (1.0 - target) * _core.log(1.0 - output))
