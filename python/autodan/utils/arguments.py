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
        ValueError: it is neither an integer nor two, or one is below `minimum`.

    >>> pair(2, "strides"), pair((1, 2), "strides")
    ((2, 2), (1, 2))
    """
    sides = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(sides) != 2 or not all(isinstance(s, int | np.integer) and s >= minimum for s in sides):
        raise ValueError(
            f"`{name}` must be an integer of {minimum} or more, or two of them. "
            f"Received: {name}={value}."
        )
    return int(sides[0]), int(sides[1])


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
