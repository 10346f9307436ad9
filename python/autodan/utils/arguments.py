"""Reading numbers that users pass: NumPy's integers are as good as Python's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def positive_integer(owner: str, name: str, value: Any) -> int:
    """Return a number of units, filters and the like.

    Args:
        owner: Whose argument it is, for the message.
        name: The argument.
        value: What was passed.

    Raises:
        ValueError: it is not an integer of 1 or more.

    >>> positive_integer("Dense", "units", np.int64(3))
    3
    """
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{owner}: `{name}` must be a positive integer. Received: {name}={value}.")
    return int(value)


def pair(value: int | Sequence[int], name: str, minimum: int = 1) -> tuple[int, int]:
    """Return a window argument as a pair of integers: 2 means (2, 2).

    Raises:
        ValueError: they are not two, or one is below `minimum`.
        TypeError: it is neither an integer nor a sequence.

    >>> pair(2, "strides"), pair((1, 2), "strides")
    ((2, 2), (1, 2))
    """
    message = (
        f"`{name}` must be an integer of {minimum} or more, or two of them. "
        f"Received: {name}={value!r}."
    )
    if not isinstance(value, int | np.integer | Sequence | np.ndarray):
        raise TypeError(message)
    sides = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(sides) != 2 or not all(isinstance(s, int | np.integer) and s >= minimum for s in sides):
        raise ValueError(message)
    return int(sides[0]), int(sides[1])


def axes_of(owner: str, axis: Any, ndim: int) -> list[int]:
    """Return one axis or several, counted from the first.

    Args:
        owner: Whose argument it is, for the message.
        axis: An integer or a sequence of them; negative ones count from the last.
        ndim: Number of dimensions of the tensor.

    Raises:
        TypeError: it is neither, or holds a bool.
        IndexError: there is no such axis.
        ValueError: one is named twice.

    >>> axes_of("softmax", -1, 3), axes_of("softmax", (0, -1), 3)
    ([2], [0, 2])
    """
    axes = tuple(axis) if isinstance(axis, Sequence | np.ndarray) else (axis,)
    found: list[int] = []
    for one in axes:
        if not isinstance(one, int | np.integer) or isinstance(one, bool):
            raise TypeError(
                f"{owner}: axis must be an integer or a sequence of integers. Received: {axis!r}."
            )
        if not -ndim <= one < ndim:
            raise IndexError(
                f"{owner}: axis {one} is out of bounds for a tensor of {ndim} dimensions"
            )
        if int(one) % ndim in found:
            raise ValueError(f"{owner}: axis {one} is named twice in {list(axes)}")
        found.append(int(one) % ndim)
    return found


def shape_of_sides(shape: int | Sequence[int | None]) -> tuple[int | None, ...]:
    """Return a shape as a tuple of integers, None for unknown sides; 3 means (3,).

    Raises:
        ValueError: a side is neither None nor an integer of 0 or more.

    >>> shape_of_sides(3), shape_of_sides([None, np.int64(4)])
    ((3,), (None, 4))
    """
    sides = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not all(s is None or (isinstance(s, int | np.integer) and s >= 0) for s in sides):
        raise ValueError(f"A shape holds integers of 0 or more, or None. Received: {sides}.")
    return tuple(None if side is None else int(side) for side in sides)
