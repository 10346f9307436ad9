"""Views against copies: how an operand lies in memory must not change what is computed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autodan import _core
from autodan._core import Tensor
from autodan.testing.close import as_array, as_list, assert_close

__all__ = ["View", "check_views"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A way from a base array to a view of it, the same for NumPy arrays and tensors.

    Args:
        base: Shape of the base array.
        steps: What is done to it one after the other: ("index", key), or the name of a function
            that NumPy and `autodan` share and its arguments, such as ("transpose", axes) or
            ("broadcast_to", shape).

    >>> import autodan as ad
    >>> view = View((2, 3), (("transpose", (1, 0)), ("index", slice(None, None, -1))))
    >>> view(ad.reshape(ad.arange(6), (2, 3))).tolist()
    [[2, 5], [1, 4], [0, 3]]
    """

    base: Shape
    steps: tuple[tuple[Any, ...], ...] = ()

    def __call__(self, x: Any) -> Any:
        """Return the view of `x`, an array or tensor of the base's shape."""
        for name, *arguments in self.steps:
            if name == "index":
                x = x[arguments[0]]
            else:
                x = getattr(_core if isinstance(x, Tensor) else np, name)(x, *arguments)
        return x

    def scatter(self, gradient: Any) -> NDArray[Any]:
        """Return the gradient by the base that a gradient by the view amounts to.

        Args:
            gradient: Array of the view's shape.

        >>> import numpy as np
        >>> View((2,), (("broadcast_to", (3, 2)),)).scatter(np.ones((3, 2))).tolist()
        [3.0, 3.0]
        """
        places = self.places().ravel()
        # Adding to minus zero changes nothing, not even the sign of a zero.
        total = np.full(math.prod(self.base), -0.0, np.asarray(gradient).dtype)
        with np.errstate(invalid="ignore", over="ignore"):  # gradients may be infinite
            np.add.at(total, places, np.ravel(gradient))
        total[np.bincount(places, minlength=total.size) == 0] = 0.0
        return total.reshape(self.base)

    def places(self) -> NDArray[np.int64]:
        """Return for each element of the view its place in the flat base.

        >>> View((2, 2), (("flip", 1),)).places().tolist()
        [[1, 0], [3, 2]]
        """
        return np.asarray(self(np.arange(math.prod(self.base)).reshape(self.base)))


def check_views(
    fn: Callable[..., Any], bases: Sequence[Any], views: Sequence[View], seed: int = 0
) -> None:
    """Assert that `fn` gives on views the bits that it gives on copies, and its gradients too.

    Each operand is viewed alone, the others being copies, then all are. A gradient by a base is
    compared with the gradient by the copy, added up over the places of the view: bit for bit
    where no place is read twice, else within the rounding of that sum.

    Args:
        fn: A function of tensors, one for each view, that returns a tensor or several.
        bases: Arrays that the views are of. Those that are the same object become one tensor, so
            that the operands may overlap.
        views: The way to each operand from its base.
        seed: Seed of the weights of the gradients. Default 0.

    Raises:
        AssertionError: something differs; the message names operand, view and element.

    >>> import autodan as ad, numpy as np
    >>> reverse = View((3,), (("flip", 0),))
    >>> check_views(ad.multiply, [np.ones(3), np.arange(3.0)], [View((3,)), reverse])
    >>> def careless(x):
    ...     return x * (1.0 if x.numpy().strides == (8,) else 2.0)
    >>> check_views(careless, [np.ones(3)], [reverse])
    Traceback (most recent call last):
    ...
    AssertionError: operand 0 as a view (('flip', 0),): output 0 at (0,) is 2.0, on a copy 1.0
    """
    arrays = [np.asarray(base) for base in bases]
    operands = [np.array(view(x)) for x, view in zip(arrays, views, strict=True)]
    expected = as_list(fn(*(_core.tensor(x) for x in operands)))
    sets = [{i} for i in range(len(views))]
    for viewed in sets if len(sets) < 2 else [*sets, set(range(len(views)))]:
        tensors = {id(bases[i]): _core.tensor(arrays[i]) for i in viewed}
        mixed = [
            views[i](tensors[id(bases[i])]) if i in viewed else _core.tensor(operands[i])
            for i in range(len(views))
        ]
        names = [f"operand {i} as a view {views[i].steps}" for i in sorted(viewed)]
        _compare_bits(", ".join(names), as_list(fn(*mixed)), expected)
    _compare_gradients(fn, bases, operands, views, seed)


def _compare_bits(what: str, got: list[Tensor], expected: list[Tensor]) -> None:
    for i, (a, b) in enumerate(zip(map(as_array, got), map(as_array, expected), strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise AssertionError(
                f"{what}: output {i} has shape {a.shape} and dtype {a.dtype}, "
                f"on a copy {b.shape} and {b.dtype}"
            )
        if a.tobytes() != b.tobytes():
            at = first_difference(a, b)
            raise AssertionError(f"{what}: output {i} at {at} is {a[at]}, on a copy {b[at]}")


def first_difference(a: NDArray[Any], b: NDArray[Any]) -> Shape:
    """Return where the first element is whose bits differ."""
    size = a.dtype.itemsize
    bits = (np.ascontiguousarray(x).reshape(-1).view(f"V{size}").tolist() for x in (a, b))
    flat = next(i for i, (x, y) in enumerate(zip(*bits, strict=True)) if x != y)
    return tuple(int(i) for i in np.unravel_index(flat, a.shape))


def _compare_gradients(
    fn: Callable[..., Any],
    bases: Sequence[Any],
    operands: Sequence[NDArray[Any]],
    views: Sequence[View],
    seed: int,
) -> None:
    floats = [i for i, x in enumerate(operands) if np.issubdtype(x.dtype, np.floating)]
    copies = [_core.tensor(x, None, i in floats) for i, x in enumerate(operands)]
    leaves = {id(bases[i]): _core.tensor(np.asarray(bases[i]), None, True) for i in floats}
    viewed = [
        views[i](leaves[id(bases[i])]) if i in floats else copies[i] for i in range(len(views))
    ]
    by_copy = _gradients(fn, copies, [copies[i] for i in floats], seed)
    by_base = _gradients(fn, viewed, list(leaves.values()), seed)
    for (key, base), got in zip(leaves.items(), by_base, strict=True):
        pairs = [pair for pair in zip(floats, by_copy, strict=True) if id(bases[pair[0]]) == key]
        what = ", ".join(f"gradient by operand {i}, a view {views[i].steps}" for i, _ in pairs)
        mine = [(i, as_array(g)) for i, g in pairs if g is not None]
        if (got is None) != (not mine):
            raise AssertionError(f"{what}: only one of view and copy has a gradient")
        if got is None:
            continue
        reads = sum(np.bincount(views[i].places().ravel(), minlength=base.size) for i, _ in mine)
        # Not `sum`, which starts from a zero: minus zero plus zero is zero.
        total = functools.reduce(np.add, [views[i].scatter(g) for i, g in mine])
        if np.max(reads, initial=0) <= 1:
            _compare_bits(what, [got], [_core.tensor(total)])
            continue
        size = sum(views[i].scatter(np.abs(g)) for i, g in mine)
        rounding = np.finfo(total.dtype).eps * np.reshape(reads, base.shape) * size
        try:
            assert_close(got, total, 0.0, rounding + np.finfo(total.dtype).tiny)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None


def _gradients(
    fn: Callable[..., Any], operands: Iterable[Tensor], leaves: list[Tensor], seed: int
) -> list[Tensor | None]:
    """Return the gradients of a random combination of the outputs that have any."""
    outputs = [y for y in as_list(fn(*operands)) if y.requires_grad]
    if not outputs:
        return [None] * len(leaves)
    rng = np.random.default_rng(seed)
    weights = [_core.tensor(rng.normal(size=y.shape), y.dtype) for y in outputs]
    return list(_core.grad(outputs, leaves, weights))
