"""NumPy-like functions of `keras.ops` that are composed of the core's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from autodan import _core
from autodan._core import Tensor
from autodan.config import floatx, standardize_dtype
from autodan.utils.arguments import axes_of

__all__ = [
    "absolute",
    "amax",
    "amin",
    "append",
    "array",
    "average",
    "convert_to_numpy",
    "convert_to_tensor",
    "count_nonzero",
    "dot",
    "hstack",
    "identity",
    "is_tensor",
    "isclose",
    "norm",
    "ones",
    "outer",
    "ravel",
    "shape",
    "size",
    "split",
    "stop_gradient",
    "swish",
    "tensordot",
    "tile",
    "true_divide",
    "vdot",
    "vstack",
    "zeros",
]

absolute = _core.abs
amax = _core.max
amin = _core.min
true_divide = _core.divide
swish = _core.silu

_MOST_PARTS = 1 << 20


def floating(x: Any) -> Tensor:
    """Return `x` as a tensor of floats: integers and bools become `floatx()`.

    >>> floating([1, 2]).dtype
    'float32'
    """
    x = _core.asarray(x)
    return x if x.dtype.startswith("float") else _core.cast(x, floatx())


def array(x: Any, dtype: Any = None) -> Tensor:
    """Return `x` as a tensor (Keras `ops.array`).

    Args:
        x: A tensor, an array, a number or nested lists of them.
        dtype: The dtype to cast to. Default: that of `x`; Python floats are float32.

    >>> array([1, 2], dtype="float32").tolist()
    [1.0, 2.0]
    """
    return _core.asarray(x, dtype=None if dtype is None else standardize_dtype(dtype))


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None) -> Tensor:
    """Return `x` as a tensor (Keras `ops.convert_to_tensor`); `sparse` must be None or False.

    Raises:
        ValueError: `sparse` is True: autodan has dense tensors only.

    >>> convert_to_tensor([1.0, 2.0]).shape
    (2,)
    """
    if sparse:
        raise ValueError("convert_to_tensor: sparse tensors are not supported. Leave sparse=None.")
    return array(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """Return the values as a NumPy array (Keras `ops.convert_to_numpy`).

    >>> convert_to_numpy(array([1, 2])).tolist()
    [1, 2]
    """
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)


def is_tensor(x: Any) -> bool:
    """Return whether `x` is a Tensor (Keras `ops.is_tensor`).

    >>> is_tensor(array(1.0)), is_tensor(1.0)
    (True, False)
    """
    return isinstance(x, Tensor)


def stop_gradient(variable: Any) -> Tensor:
    """Return the same values without a gradient (Keras `ops.stop_gradient`).

    >>> stop_gradient(array([1.0])).requires_grad
    False
    """
    return _core.asarray(variable).detach()


def shape(x: Any) -> tuple[int, ...]:
    """Return the shape as a tuple (Keras `ops.shape`).

    >>> shape([[1, 2, 3]])
    (1, 3)
    """
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def size(x: Any) -> int:
    """Return the number of elements (Keras `ops.size`).

    >>> size([[1, 2, 3]])
    3
    """
    return math.prod(shape(x))


def zeros(shape: int | Sequence[int], dtype: Any = None) -> Tensor:
    """Return zeros of this shape, `floatx()` by default (Keras `ops.zeros`).

    >>> zeros((2,)).tolist()
    [0.0, 0.0]
    """
    return _core.zeros(shape, standardize_dtype(dtype))


def ones(shape: int | Sequence[int], dtype: Any = None) -> Tensor:
    """Return ones of this shape, `floatx()` by default (Keras `ops.ones`).

    >>> ones((2,)).tolist()
    [1.0, 1.0]
    """
    return _core.ones(shape, standardize_dtype(dtype))


def identity(n: int, dtype: Any = None) -> Tensor:
    """Return the identity matrix of side `n` (Keras `ops.identity`).

    >>> identity(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return _core.eye(n, n, standardize_dtype(dtype))


def ravel(x: Any) -> Tensor:
    """Return `x` with one axis (Keras `ops.ravel`).

    >>> ravel([[1, 2], [3, 4]]).tolist()
    [1, 2, 3, 4]
    """
    return _core.reshape(x, (-1,))


def append(x1: Any, x2: Any, axis: int | None = None) -> Tensor:
    """Return `x2` appended to `x1` along `axis`, or both flattened for None (Keras).

    >>> append([1, 2], [[3], [4]]).tolist()
    [1, 2, 3, 4]
    """
    if axis is None:
        return _core.concatenate([ravel(x1), ravel(x2)])
    return _core.concatenate([x1, x2], axis=axis)


def _tensors(op: str, xs: Any) -> list[Tensor]:
    if not isinstance(xs, Iterable):
        raise TypeError(f"{op}: pass a list of tensors. Received one of type {type(xs).__name__}.")
    return [_core.asarray(x) for x in xs]


def hstack(xs: Sequence[Any]) -> Tensor:
    """Join along the second axis, the first for one-dimensional tensors (Keras `ops.hstack`).

    Raises:
        ValueError: there are no tensors, or their other sides differ.

    >>> hstack([[1, 2], [3]]).tolist()
    [1, 2, 3]
    """
    tensors = _tensors("hstack", xs)
    if not tensors:
        raise ValueError("hstack: there are no tensors to join")
    return _core.concatenate(tensors, axis=0 if tensors[0].ndim <= 1 else 1)


def vstack(xs: Sequence[Any]) -> Tensor:
    """Join along the first axis, one-dimensional tensors as rows (Keras `ops.vstack`).

    >>> vstack([[1, 2], [3, 4]]).tolist()
    [[1, 2], [3, 4]]
    """
    tensors = _tensors("vstack", xs)
    rows = [_core.reshape(x, (1, -1)) if x.ndim < 2 else x for x in tensors]
    return _core.concatenate(rows, axis=0)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Split into equal parts, or at the given indices (Keras `ops.split`).

    Raises:
        ValueError: the axis cannot be divided into that many equal parts.
        IndexError: there is no such axis.

    >>> [part.tolist() for part in split([1, 2, 3, 4], 2)]
    [[1, 2], [3, 4]]
    >>> [part.tolist() for part in split([1, 2, 3, 4], [1])]
    [[1], [2, 3, 4]]
    """
    x = _core.asarray(x)
    (place,) = axes_of("split", axis, x.ndim)
    length = x.shape[place]
    if isinstance(indices_or_sections, int | np.integer):
        parts = int(indices_or_sections)
        # An empty axis divides into any number of parts, but not into more than a list can hold.
        if parts < 1 or length % parts or parts > max(length, _MOST_PARTS):
            raise ValueError(
                f"split: axis {axis} of shape {x.shape} cannot be divided into {parts} equal "
                "parts. Pass the indices to split at instead."
            )
        cuts = [length // parts * i for i in range(parts + 1)]
    elif isinstance(indices_or_sections, Sequence | np.ndarray):
        cuts = [0, *indices_or_sections, length]
    else:
        raise TypeError(
            "split: pass a number of equal parts or the indices to split at. "
            f"Received: {indices_or_sections!r}."
        )
    before = (slice(None),) * place
    return [x[(*before, slice(a, b))] for a, b in itertools.pairwise(cuts)]


def tile(x: Any, repeats: int | Sequence[int]) -> Tensor:
    """Repeat the whole tensor along each axis (Keras `ops.tile`).

    Raises:
        TypeError: `repeats` are no integers.
        ValueError: one is negative.

    >>> tile([1, 2], 2).tolist()
    [1, 2, 1, 2]
    """
    x = _core.asarray(x)
    counts = tuple(repeats) if isinstance(repeats, Sequence | np.ndarray) else (repeats,)
    received = f"Received: repeats={repeats!r}."
    if not all(isinstance(count, int | np.integer) for count in counts):
        raise TypeError(f"tile: repeats must be an integer or a sequence of integers. {received}")
    if any(count < 0 for count in counts):
        raise ValueError(f"tile: repeats must be 0 or more. {received}")
    counts = tuple(int(count) for count in counts)
    rank = max(x.ndim, len(counts))
    counts = (1,) * (rank - len(counts)) + counts
    sizes = (1,) * (rank - x.ndim) + tuple(x.shape)
    interleaved = _core.reshape(x, [side for n in sizes for side in (1, n)])
    shape = [side for n, count in zip(sizes, counts, strict=True) for side in (count, n)]
    total = [n * count for n, count in zip(sizes, counts, strict=True)]
    return _core.reshape(_core.broadcast_to(interleaved, shape), total)


def average(x: Any, axis: int | None = None, weights: Any = None) -> Tensor:
    """Return the mean along `axis`, weighted if `weights` are given (Keras `ops.average`).

    Args:
        x: A tensor.
        axis: The axis, or None for all elements.
        weights: Weights of the shape of `x`, or of its size along `axis`.

    Raises:
        ValueError: the weights have another shape.
        IndexError: there is no such axis.

    >>> float(average([1.0, 3.0], weights=[3.0, 1.0]))
    1.5
    """
    x = floating(x)
    if weights is None:
        return _core.mean(x, axis=axis)
    weights = _core.asarray(weights)
    place = None if axis is None else axes_of("average", axis, x.ndim)[0]
    along = None if place is None else (x.shape[place],)
    if weights.shape not in (x.shape, along):
        fitting = f"{x.shape}" if along is None else f"{x.shape} or {along}"
        raise ValueError(
            f"average: weights of shape {weights.shape} do not fit a tensor of shape {x.shape}; "
            f"they need shape {fitting}."
        )
    if weights.shape != x.shape:
        sides = [-1 if i == place else 1 for i in range(x.ndim)]
        weights = _core.broadcast_to(_core.reshape(weights, sides), x.shape)
    return _core.sum(x * weights, axis=axis) / _core.sum(weights, axis=axis)


def count_nonzero(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Count the elements that are not zero (Keras `ops.count_nonzero`).

    >>> int(count_nonzero([0, 3, 4]))
    2
    """
    return _core.sum(_core.cast(_core.not_equal(x, 0), "int32"), axis=axis)


def isclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Return where `abs(x1 - x2) <= atol + rtol * abs(x2)` (Keras `ops.isclose`).

    >>> isclose([1.0, 2.0], [1.0, 3.0]).tolist()
    [True, False]
    """
    # Differences of integers may wrap around.
    x1, x2 = (
        x if x.dtype.startswith("float") else _core.cast(x, "float64")
        for x in (_core.asarray(x1), _core.asarray(x2))
    )
    allowed = _core.add(atol, _core.multiply(rtol, _core.abs(x2)))
    near = _core.less_equal(_core.abs(x1 - x2), allowed)
    close = _core.logical_or(_core.logical_and(near, _core.isfinite(x2)), _core.equal(x1, x2))
    if equal_nan:
        close = _core.logical_or(close, _core.logical_and(_core.isnan(x1), _core.isnan(x2)))
    return close


def norm(
    x: Any,
    ord: float | str | None = None,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """Return the vector norm along `axis`, Euclidean by default (Keras `ops.norm`).

    Args:
        x: A tensor.
        ord: None, 2 or "fro" (Euclidean), 1, `math.inf`, or another number above 0.
        axis: One axis or several, taken together as one vector; None for all.
        keepdims: Whether to keep the reduced axes with size 1.

    Raises:
        ValueError: `ord` is none of these.

    >>> float(norm([3.0, 4.0]))
    5.0
    """
    x = floating(x)
    if ord in (None, 2, "fro", "euclidean"):
        return _core.sqrt(_core.sum(_core.square(x), axis=axis, keepdims=keepdims))
    if ord == 1:
        return _core.sum(_core.abs(x), axis=axis, keepdims=keepdims)
    if ord == math.inf:
        return _core.max(_core.abs(x), axis=axis, keepdims=keepdims)
    if isinstance(ord, str) or ord is None or ord <= 0:
        raise ValueError(f"norm: `ord` must be None, 'fro', inf or above 0. Received: {ord!r}.")
    return _core.sum(_core.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def outer(x1: Any, x2: Any) -> Tensor:
    """Return the products of all pairs, shape (size of x1, size of x2) (Keras `ops.outer`).

    >>> outer([1, 2], [3, 4]).tolist()
    [[3, 4], [6, 8]]
    """
    return _core.reshape(x1, (-1, 1)) * _core.reshape(x2, (1, -1))


def vdot(x1: Any, x2: Any) -> Tensor:
    """Return the sum of the products of all elements (Keras `ops.vdot`).

    Raises:
        ValueError: the numbers of elements differ.

    >>> float(vdot([1.0, 2.0], [3.0, 4.0]))
    11.0
    """
    x1, x2 = _core.asarray(x1), _core.asarray(x2)
    if x1.size != x2.size:
        raise ValueError(
            f"vdot: tensors of shapes {x1.shape} and {x2.shape} have {x1.size} and {x2.size} "
            "elements; they need as many."
        )
    return _core.sum(ravel(x1) * ravel(x2))


def dot(x1: Any, x2: Any) -> Tensor:
    """Sum over the last axis of `x1` and the second last of `x2` (Keras `ops.dot`).

    >>> float(dot([1.0, 2.0], [3.0, 4.0]))
    11.0
    """
    x1, x2 = _core.asarray(x1), _core.asarray(x2)
    if x1.ndim == 0 or x2.ndim == 0:
        return x1 * x2
    if x2.ndim <= 2:
        return _core.matmul(x1, x2)
    return tensordot(x1, x2, [[-1], [-2]])


def tensordot(x1: Any, x2: Any, axes: int | Sequence[Any] = 2) -> Tensor:
    """Sum the products over the given axes of both tensors (Keras `ops.tensordot`).

    Args:
        x1: A tensor.
        x2: A tensor.
        axes: How many last axes of `x1` and first axes of `x2`, or two lists of axes.

    Raises:
        ValueError: the axes do not have the same sizes, or one is named twice.
        IndexError: there is no such axis.

    >>> tensordot([[1.0, 2.0]], [[3.0], [4.0]], 1).tolist()
    [[11.0]]
    """
    x1, x2 = _core.asarray(x1), _core.asarray(x2)
    shapes = f"tensors of shapes {x1.shape} and {x2.shape}"
    if isinstance(axes, int | np.integer):
        most = min(x1.ndim, x2.ndim)
        if not 0 <= axes <= most:
            raise ValueError(f"tensordot: axes={axes} must be 0 to {most} for {shapes}.")
        left, right = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    elif isinstance(axes, Sequence | np.ndarray) and len(axes) == 2:
        left = axes_of("tensordot", axes[0], x1.ndim)
        right = axes_of("tensordot", axes[1], x2.ndim)
    else:
        raise ValueError(
            f"tensordot: axes must be a number or two lists of axes, for {shapes}. "
            f"Received: {axes!r}."
        )
    sizes = [x1.shape[a] for a in left]
    if sizes != [x2.shape[a] for a in right]:
        raise ValueError(
            f"tensordot: axes {left} of shape {x1.shape} and axes {right} of shape {x2.shape} "
            "must have the same sizes."
        )
    rest1 = [a for a in range(x1.ndim) if a not in left]
    rest2 = [a for a in range(x2.ndim) if a not in right]
    shape1 = [x1.shape[a] for a in rest1]
    shape2 = [x2.shape[a] for a in rest2]
    inner = math.prod(sizes)
    a = _core.reshape(_core.transpose(x1, rest1 + left), (math.prod(shape1), inner))
    b = _core.reshape(_core.transpose(x2, right + rest2), (inner, math.prod(shape2)))
    return _core.reshape(_core.matmul(a, b), shape1 + shape2)
