"""Penalties on weights, added to the loss, under the names of `keras.regularizers`."""

from __future__ import annotations

import math
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.utils import resolve as identifiers
from autodan.utils.versioned import Versioned


class Regularizer(Versioned):
    """Base class: `__call__(x)` returns a scalar penalty (Keras `Regularizer`).

    >>> class SumSquares(Regularizer):
    ...     def __call__(self, x):
    ...         return (x * x).sum()
    >>> import autodan as ad
    >>> float(SumSquares()(ad.tensor([1.0, 2.0])))
    5.0
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must implement __call__(self, x).")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """Make a regularizer from `get_config()`'s result."""
        return cls(**config)


class L1L2(Regularizer):
    """`l1 * sum(abs(x)) + l2 * sum(square(x))` (Keras `L1L2`).

    Args:
        l1: Factor of the absolute values. Default 0.
        l2: Factor of the squares. Default 0.

    Raises:
        ValueError: a factor is negative or not finite.

    >>> import autodan as ad
    >>> float(L1L2(l1=0.5, l2=0.25)(ad.tensor([2.0, -2.0])))
    4.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor("l1", l1)
        self.l2 = _factor("l2", l2)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the penalty, a scalar."""
        if not self.l1:
            return _core.sum(_core.square(x)) * self.l2
        penalty = _core.sum(_core.abs(x)) * self.l1
        return penalty + _core.sum(_core.square(x)) * self.l2 if self.l2 else penalty

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """`l1 * sum(abs(x))` (Keras `L1`).

    Args:
        l1: Factor. Default 0.01.

    >>> import autodan as ad
    >>> float(L1(0.5)(ad.tensor([2.0, -2.0])))
    2.0
    """

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"l1": self.l1}


class L2(L1L2):
    """`l2 * sum(square(x))` (Keras `L2`).

    Args:
        l2: Factor. Default 0.01.

    >>> import autodan as ad
    >>> float(L2(0.5)(ad.tensor([2.0, -2.0])))
    4.0
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"l2": self.l2}


def _factor(name: str, value: float) -> float:
    value = float(value)
    if value < 0 or not math.isfinite(value):
        raise ValueError(
            f"Regularizer: `{name}` must be finite and not negative. Received: {name}={value}."
        )
    return value


l1 = L1
l2 = L2
l1_l2 = L1L2

_TABLE: dict[str, type[Regularizer]] = {
    "l1": L1,
    "L1": L1,
    "l2": L2,
    "L2": L2,
    "l1_l2": L1L2,
    "l1l2": L1L2,
    "L1L2": L1L2,
}


def get(identifier: Any) -> Any:
    """Return the regularizer for a name, config dict, class, instance or callable; None for None.

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.

    >>> get("l2").l2
    0.01
    """
    return identifiers.resolve("regularizer", identifier, _TABLE)


def serialize(regularizer: Any) -> Any:
    """Return the config of a regularizer, the name of a function, or None.

    Raises:
        ValueError: it is a function without a name, as a lambda.

    >>> serialize(L1(0.5))["config"]
    {'l1': 0.5}
    """
    return identifiers.serialize(regularizer, _TABLE)


def deserialize(config: Any) -> Any:
    """Make a regularizer from `serialize()`'s result.

    >>> deserialize(serialize(L1(0.2))).l1
    0.2
    """
    return get(config)
