"""Gradients against central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autodan import _core
from autodan._core import Tensor
from autodan.testing.close import as_array, as_list, shares

__all__ = ["check_gradients"]

Shape = tuple[int, ...]
Vector = NDArray[np.float64]

_WHOLE_JACOBIAN = 64


def check_gradients(
    fn: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    step: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
) -> float:
    """Assert that the gradients of `fn` are its central differences, in float64.

    The whole Jacobian is compared for up to 64 elements of inputs and outputs each, one random
    direction beyond.

    Args:
        fn: A differentiable function of tensors that returns a tensor or several. It is called
            many times, and must give the same result for the same inputs.
        *inputs: Arrays or tensors, away from points where `fn` has no derivative.
        order: 2 checks the gradients of the gradients as well. Default 1.
        step: Half the distance of the two points of a difference. Default 1e-5.
        rtol: Relative tolerance. Default 1e-5.
        atol: Absolute tolerance. Default 1e-7.
        seed: Seed of the random directions. Default 0.

    Returns:
        The largest error as a share of its tolerance `atol + rtol * abs(difference)`.

    Raises:
        AssertionError: a gradient is wrong; the message names the worst element of the inputs,
            the gradient by it (analytic) and its central difference (numeric).

    >>> import autodan as ad
    >>> share = check_gradients(lambda x, y: ad.tanh(x) * y, [1.0, 2.0], [[3.0], [4.0]], order=2)
    >>> share < 0.1
    True
    >>> check_gradients(lambda x: x * x.detach(), [1.0, 4.0])
    Traceback (most recent call last):
    ...
    AssertionError: gradient of order 1: 2 of 4 entries of the Jacobian differ; the worst, of
    output 0 at (1,) by input 0 at (1,): analytic 4.0, numeric 7.99..., ... times the tolerance ...
    """
    check = _Check(fn, [np.array(as_array(x), "float64") for x in inputs], step, rtol, atol)
    worst = 0.0
    for reached in range(1, order + 1):
        try:
            worst = max(worst, check.run(np.random.default_rng(seed)))
        except AssertionError as error:
            raise AssertionError(f"gradient of order {reached}: {error}") from None
        check.fn = _gradient(check.fn, seed + reached)
    return worst


class _Check:
    """One comparison of a function's gradients with its differences."""

    def __init__(
        self,
        fn: Callable[..., Any],
        inputs: list[Vector],
        step: float,
        rtol: float,
        atol: float,
    ) -> None:
        self.fn, self.step, self.rtol, self.atol = fn, step, rtol, atol
        self.shapes = [x.shape for x in inputs]
        self.centre = _join(inputs)

    def run(self, rng: np.random.Generator) -> float:
        leaves = self.leaves(self.centre)
        outputs = as_list(self.fn(*leaves))
        sides = [y.shape for y in outputs]
        n, m = self.centre.size, sum(y.size for y in outputs)
        if n <= _WHOLE_JACOBIAN and m <= _WHOLE_JACOBIAN:
            numeric = np.reshape([self.difference(u) for u in np.eye(n)], (n, m)).T
            rows = [_pull_back(outputs, leaves, v) for v in np.eye(m)]
            return self.compare(np.reshape(rows, (m, n)), numeric, sides)
        direction, cotangent = _unit(rng.normal(size=n)), rng.normal(size=m)
        gradient = _pull_back(outputs, leaves, cotangent)
        analytic, numeric = gradient @ direction, cotangent @ self.difference(direction)
        share, tolerance = shares(np.asarray(analytic), np.asarray(numeric), self.rtol, self.atol)
        if share > 1.0:
            at, slope = self.blame(gradient, cotangent, direction)
            raise AssertionError(
                f"in a random direction: analytic {analytic}, numeric {numeric}, "
                f"{float(share):.3g} times the tolerance of {float(tolerance):.3g}; "
                f"most is due to {_place('input', at, self.shapes)}: analytic {gradient[at]}, "
                f"numeric {slope}"
            )
        return float(share)

    def leaves(self, flat: Vector) -> list[Tensor]:
        return [_core.tensor(x, "float64", True) for x in _split(flat, self.shapes)]

    def values(self, flat: Vector) -> Vector:
        return _join([as_array(y) for y in as_list(self.fn(*self.leaves(flat)))])

    def difference(self, u: Vector) -> Vector:
        there, back = (self.values(self.centre + h * u) for h in (self.step, -self.step))
        with np.errstate(invalid="ignore"):
            return np.asarray((there - back) / (2 * self.step))

    def compare(self, analytic: Vector, numeric: Vector, sides: Sequence[Shape]) -> float:
        share, tolerance = shares(analytic, numeric, self.rtol, self.atol)
        if not (share > 1.0).any():
            return float(share.max(initial=0.0))
        row, column = (int(i) for i in np.unravel_index(int(share.argmax()), share.shape))
        raise AssertionError(
            f"{int((share > 1.0).sum())} of {share.size} entries of the Jacobian differ; the "
            f"worst, of {_place('output', row, sides)} by {_place('input', column, self.shapes)}: "
            f"analytic {analytic[row, column]}, numeric {numeric[row, column]}, "
            f"{share[row, column]:.3g} times the tolerance of {tolerance[row, column]:.3g}"
        )

    def blame(self, gradient: Vector, cotangent: Vector, u: Vector) -> tuple[int, float]:
        """Return the element that errs, found by halving, and its numeric gradient."""
        some = np.arange(self.centre.size)
        while some.size > 1:
            halves = np.array_split(some, 2)
            masked = [np.where(np.isin(np.arange(u.size), half), u, 0.0) for half in halves]
            errors = [abs(gradient @ d - cotangent @ self.difference(d)) for d in masked]
            # A NaN is the largest of errors.
            some = halves[int(np.argmax(np.nan_to_num(errors, nan=np.inf)))]
        at = int(some[0])
        return at, float(cotangent @ self.difference(np.eye(1, u.size, at)[0]))


def _place(what: str, index: int, shapes: Sequence[Shape]) -> str:
    """Name an element of the inputs or outputs by its index among all."""
    for i, shape in enumerate(shapes):
        size = math.prod(shape)
        if index < size:
            return f"{what} {i} at {tuple(int(k) for k in np.unravel_index(index, shape))}"
        index -= size
    raise IndexError(f"there are fewer elements than {index}")


def _pull_back(outputs: list[Tensor], leaves: list[Tensor], cotangent: Vector) -> Vector:
    parts = _split(cotangent, [y.shape for y in outputs])
    weights = [_core.tensor(part, y.dtype) for part, y in zip(parts, outputs, strict=True)]
    grads = _core.grad(outputs, leaves, weights, True)
    return _join(
        [np.zeros(x.shape) if g is None else g.numpy() for x, g in zip(leaves, grads, strict=True)]
    )


def _gradient(fn: Callable[..., Any], seed: int) -> Callable[..., list[Tensor]]:
    """Return the function that gives the gradients of a random combination of fn's outputs."""

    def gradient(*leaves: Tensor) -> list[Tensor]:
        outputs = as_list(fn(*leaves))
        rng = np.random.default_rng(seed)
        weights = [_core.tensor(rng.normal(size=y.shape), y.dtype) for y in outputs]
        grads = _core.grad(outputs, list(leaves), weights, False, True)
        pairs = zip(leaves, grads, strict=True)
        return [_core.zeros_like(x.detach()) if g is None else g for x, g in pairs]

    return gradient


def _unit(x: Vector) -> Vector:
    length = np.linalg.norm(x)
    return x / length if length > 0 else x


def _join(parts: Sequence[NDArray[Any]]) -> Vector:
    return np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)


def _split(flat: Vector, shapes: Sequence[Shape]) -> list[Vector]:
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(flat, ends[:-1]) if len(shapes) else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
