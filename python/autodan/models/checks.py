"""What is refused before the first step: lengths, NaN and labels that cannot be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_CHUNK = 1 << 20


def check_same_length(columns: Sequence[Any]) -> int:
    """Return the common length of the columns of a data set.

    Raises:
        ValueError: they differ.

    >>> check_same_length([])
    0
    """
    lengths = {rows.name: len(rows) for rows in columns}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(
            f"`{rows.name}` has {len(rows)} (shape {rows.array.shape})" for rows in columns
        )
        raise ValueError(
            f"All arrays need the same number of samples, but {listing}. "
            "Check that they were loaded, sliced and shuffled together."
        )
    return next(iter(lengths.values()), 0)


def check_finite(name: str, array: np.ndarray) -> None:
    """Refuse NaN and infinity.

    The sum of a chunk tells cheaply that there is none; only an odd sum is looked into.

    Raises:
        ValueError: there is one; the message says where.

    >>> check_finite("x", np.array([[1.0, np.nan]]))
    Traceback (most recent call last):
        ...
    ValueError: `x` contains nan at index (0, 1); training on it would turn all weights into NaN. \
Remove or replace such values first, for example with np.nan_to_num(x).
    """
    if array.dtype.kind != "f" or not array.size:
        return
    rows = max(1, _CHUNK // max(1, array[:1].size))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(array), rows):
            chunk = array[start : start + rows]
            if np.isfinite(chunk.sum()) or np.isfinite(chunk).all():
                continue
            first = np.argwhere(~np.isfinite(chunk))[0]
            value = chunk[tuple(first)]
            where = (start + int(first[0]), *map(int, first[1:]))
            raise ValueError(
                f"`{name}` contains {value} at index {where}; training on it would turn all "
                "weights into NaN. Remove or replace such values first, for example with "
                f"np.nan_to_num({name})."
            )


def check_labels(
    name: str, labels: np.ndarray, classes: int, ignore_class: int | None = None
) -> None:
    """Refuse class labels that a model with so many outputs cannot learn.

    Args:
        name: What the labels are called in messages.
        labels: Integer labels, of any shape.
        classes: Size of the model's last axis.
        ignore_class: A label that is always accepted.

    Raises:
        ValueError: a label is not a whole number, or out of range; the message says where.

    >>> check_labels("y", np.array([0, 10]), 10)
    Traceback (most recent call last):
        ...
    ValueError: `y` contains label 10 at index 1, but the model has 10 outputs, for labels 0 to 9. \
Give the last layer 11 units, or renumber the labels from 0.
    """
    if not labels.size or labels.dtype.kind not in "fiu":
        return
    low, high = labels.min(), labels.max()
    whole = labels.dtype.kind != "f" or bool((labels == np.floor(labels)).all())
    if low >= 0 and high < classes and whole:
        return
    bad = (labels < 0) | (labels >= classes)
    if ignore_class is not None:
        bad &= labels != ignore_class
    if not whole:
        bad |= labels != np.floor(labels)
    if not bad.any():
        return
    where = tuple(map(int, np.argwhere(bad)[0]))
    label = labels[where]
    place = where[0] if labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1) else where
    start = (
        f"`{name}` contains label {label} at index {place}, but the model has {classes} outputs, "
        f"for labels 0 to {classes - 1}."
    )
    if not whole:
        raise ValueError(
            f"{start} Labels must be whole numbers; for probabilities use the loss "
            "'categorical_crossentropy', for numbers 'mse'."
        )
    if low < 0:
        raise ValueError(f"{start} Renumber the labels from 0.")
    raise ValueError(
        f"{start} Give the last layer {int(high) + 1} units, or renumber the labels from 0."
    )
