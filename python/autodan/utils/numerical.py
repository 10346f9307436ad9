"""NumPy helpers for labels and inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["normalize", "to_categorical"]


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float64]:
    """Turns integer labels into one-hot vectors. As Keras `utils.to_categorical`.

    Args:
        x: integers from 0 to `num_classes - 1`, of any shape; a last axis of size 1 is dropped
            when it is not the only one.
        num_classes: length of the vectors. None (default) takes the largest label plus one.

    Returns:
        A float64 array of shape `x.shape + (num_classes,)`.

    Raises:
        ValueError: a label is not a whole number or is out of range, or there are no labels to
            take the number of classes from.

    Example:
        >>> to_categorical([0, 2, 1])
        array([[1., 0., 0.],
               [0., 0., 1.],
               [0., 1., 0.]])
    """
    given = np.asarray(x)
    with np.errstate(invalid="ignore"):  # NaN is refused below
        labels = given.astype(np.int64)
    if given.dtype.kind == "f" and not np.array_equal(labels, given):
        raise ValueError("to_categorical: labels must be whole numbers, e.g. x.argmax(axis=-1)")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        if labels.size == 0:
            raise ValueError("to_categorical: no labels; pass num_classes")
        num_classes = int(labels.max()) + 1
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        worst = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(
            f"to_categorical: label {worst} is not in 0 to {num_classes - 1} "
            f"(num_classes={num_classes})"
        )
    categorical = np.zeros((*labels.shape, num_classes))
    np.put_along_axis(categorical, labels[..., None], 1.0, axis=-1)
    return categorical


def normalize(x: ArrayLike, axis: int = -1, order: float = 2) -> NDArray[Any]:
    """Divides by the norm along an axis; what is all zero stays so. As Keras `utils.normalize`.

    Args:
        x: an array with at least one axis.
        axis: the axis whose norm becomes 1. Default: the last.
        order: which norm, as for `numpy.linalg.norm`. Default: 2, the Euclidean one.

    Returns:
        A floating-point array of `x`'s shape.

    Raises:
        numpy.exceptions.AxisError: `x` has no such axis.

    Example:
        >>> normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)
