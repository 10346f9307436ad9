"""What a layer expects of its input, and the symbolic tensor that carries a shape and no values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autodan.config import standardize_dtype
from autodan.utils.naming import unique_name

Shape = tuple[int | None, ...]


class KerasTensor:
    """A shape and a dtype without values: what `Input` returns (Keras `KerasTensor`).

    Calling a layer on one builds the layer and returns the KerasTensor of its output.

    Args:
        shape: Shape with the batch axis; None entries are unknown.
        dtype: Dtype. Default "float32".
        name: Name. Default: made up.

    >>> KerasTensor((None, 3)).shape
    (None, 3)
    """

    def __init__(
        self, shape: Sequence[int | None], dtype: str = "float32", name: str | None = None
    ) -> None:
        self.shape: Shape = tuple(shape)
        self.dtype = standardize_dtype(dtype)
        self.name = name or unique_name("keras_tensor")

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no values yet: it cannot decide an `if` or `while`.")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self!r} has no values yet: it cannot become a NumPy array.")


class InputSpec:
    """The shapes that a layer accepts (Keras `InputSpec`).

    Args:
        shape: Exact shape; None entries are free.
        ndim: Exact number of dimensions.
        max_ndim: Largest number of dimensions.
        min_ndim: Smallest number of dimensions.
        axes: Sizes of certain axes, such as `{-1: 64}`.
        dtype: Exact dtype.

    >>> InputSpec(min_ndim=2, axes={-1: 64}).problem((32, 28))
    'expected axis -1 to have size 64'
    """

    def __init__(
        self,
        dtype: str | None = None,
        shape: Sequence[int | None] | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int] | None = None,
    ) -> None:
        self.dtype = None if dtype is None else standardize_dtype(dtype)
        self.shape = None if shape is None else tuple(shape)
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.axes = dict(axes or {})

    def problem(self, shape: Shape, dtype: str | None = None) -> str | None:
        """Return what a shape and dtype violate, or None if they are accepted."""
        rank = len(shape)
        if self.ndim is not None and rank != self.ndim:
            return f"expected {self.ndim} dimensions"
        if self.min_ndim is not None and rank < self.min_ndim:
            return f"expected at least {self.min_ndim} dimensions"
        if self.max_ndim is not None and rank > self.max_ndim:
            return f"expected at most {self.max_ndim} dimensions"
        for axis, size in self.axes.items():
            if not -rank <= axis < rank or shape[axis] not in (size, None):
                return f"expected axis {axis} to have size {size}"
        for got, want in zip(shape, self.shape or (), strict=False):
            if want is not None and got not in (want, None):
                return f"expected shape {self.shape}"
        if self.dtype is not None and dtype is not None and dtype != self.dtype:
            return f"expected dtype {self.dtype}"
        return None

    def remedy(self, shape: Shape) -> str:
        """Return the likely fix for a shape that has a problem."""
        rank = len(shape)
        wanted = self.ndim if self.ndim is not None else self.min_ndim
        if wanted is not None and rank == wanted - 1:
            if wanted == 2:
                return "Add the batch axis: x[None, :]."
            return "Add the missing axis: x[..., None] for channels, x[None] for a batch of one."
        if wanted is not None and rank == wanted + 1 and shape[-1] == 1:
            return "Remove the last axis: x[..., 0]."
        size = self.axes.get(-1)
        sides = shape[1:]
        if size is not None and None not in sides and math.prod(s or 0 for s in sides) == size:
            return "Flatten the input first: add a Flatten() layer before this one."
        if self.axes:
            return (
                "The layer was built for another input: use a new layer, or give data of the "
                "size it was built for."
            )
        return "Reshape the input, or use a layer for inputs of this shape."

    def __repr__(self) -> str:
        parts = ", ".join(f"{k}={v}" for k, v in vars(self).items() if v not in (None, {}))
        return f"InputSpec({parts})"


class ShapeLeaf(tuple):
    """A shape that nested structures treat as a leaf until it is merged."""

    __slots__ = ()

    def __new__(cls, tensor: Any) -> ShapeLeaf:
        """Take the shape of a tensor."""
        return super().__new__(cls, tensor.shape)


def is_shape(shape: Any) -> bool:
    """Return whether this is one shape, not a structure of several.

    >>> is_shape((None, 3)), is_shape([(None, 3)])
    (True, False)
    """
    return isinstance(shape, tuple) and all(side is None or isinstance(side, int) for side in shape)


def map_shapes(function: Callable[..., Any], *structures: Any) -> Any:
    """Apply a function to the shapes of structures that are alike.

    >>> map_shapes(len, [(None, 3), (None,)])
    [2, 1]
    """
    first = structures[0]
    if is_shape(first):
        return function(*structures)
    if isinstance(first, dict):
        return {key: map_shapes(function, *(s[key] for s in structures)) for key in first}
    if not isinstance(first, (list, tuple)):
        raise TypeError(f"Expected a shape, or a list or dict of shapes. Received: {first!r}.")
    return [map_shapes(function, *items) for items in zip(*structures, strict=True)]


def shapes_of(inputs: Any) -> Any:
    """Return the shapes of nested inputs, the size of the batch unknown.

    >>> import numpy as np
    >>> shapes_of([np.zeros((2, 3)), np.zeros(4)])
    [(None, 3), (None,)]
    """
    if isinstance(inputs, dict):
        return {key: shapes_of(value) for key, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return [shapes_of(value) for value in inputs]
    shape = getattr(inputs, "shape", None)
    return None if shape is None else (None, *shape[1:]) if len(shape) else ()
