"""What the library is tested with, for those who write layers and ops of their own.

`check_gradients` compares gradients with central differences, `assert_close` values with a
reference, under a bound such as `float32_tolerance` rather than a tuned number. `shapes`, `views`
and `arrays` are strategies for property tests with hypothesis (`pip install 'autodan[test]'`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autodan import _core
from autodan._core import Tensor

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = [
    "View",
    "arrays",
    "assert_close",
    "check_gradients",
    "float32_tolerance",
    "shapes",
    "views",
]

Shape = tuple[int, ...]

# Sides next to the lengths of vectors and unrolled loops, where kernels go wrong.
SIDES = (1, 2, 3, 0, 7, 8, 9, 15, 16, 17, 31, 33)
_WHOLE_JACOBIAN = 64


def float32_tolerance(magnitude: Any, terms: int = 1) -> NDArray[np.float64]:
    """Return `2 * terms * 2**-24 * magnitude`, the error that `terms` roundings may make.

    To that comes `2**-126`, below which float32 kernels take numbers for zero.

    For a product of matrices the magnitude is `abs(a) @ abs(b)` and the terms are those of one
    sum (Higham, Accuracy and Stability of Numerical Algorithms, section 3.5).

    Args:
        magnitude: Size of what is rounded: for a single function its value, for a sum the sum of
            the absolute values.
        terms: Number of roundings one after the other. Default 1.

    >>> float(float32_tolerance(1.0)) == 2 * 2.0**-24 + 2.0**-126
    True
    """
    # The last summand is the smallest number that is not taken for zero.
    return 2 * terms * 2.0**-24 * np.abs(np.asarray(magnitude, "float64")) + 2.0**-126


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: Any = 0.0) -> None:
    """Assert that shapes are equal and `abs(actual - expected) <= atol + rtol * abs(expected)`.

    Args:
        actual: A tensor or array.
        expected: A tensor or array; NaN matches NaN, an infinity itself.
        rtol: Relative tolerance. Default 1e-5.
        atol: Absolute tolerance, a number or an array of one for each element. Default 0.

    Raises:
        AssertionError: they differ; the message shows the worst element.

    >>> import autodan as ad
    >>> assert_close(ad.tensor([1.0, 2.0]), [1.0, 2.0])
    >>> assert_close([1.0, 2.5], [1.0, 2.0])
    Traceback (most recent call last):
    ...
    AssertionError: 1 of 2 elements differ; the worst, at (1,): got 2.5, expected 2.0,
    2.5e+04 times the tolerance of 2e-05
    """
    got, want = _array(actual), _array(expected)
    if got.shape != want.shape:
        raise AssertionError(f"shapes differ: got {got.shape}, expected {want.shape}")
    a, b = got.astype("float64"), want.astype("float64")
    finite = np.isfinite(a) & np.isfinite(b)
    tolerance = np.broadcast_to(atol + rtol * np.abs(np.where(finite, b, 0.0)), b.shape)
    error = np.abs(np.where(finite, a, 0.0) - np.where(finite, b, 0.0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    bad = ~(same | (finite & (error <= tolerance)))
    if not bad.any():
        return
    with np.errstate(all="ignore"):
        ratio = np.where(bad, np.where(finite, error / tolerance, np.inf), -1.0)
    at = tuple(int(i) for i in np.unravel_index(int(ratio.argmax()), ratio.shape))
    raise AssertionError(
        f"{int(bad.sum())} of {bad.size} elements differ; the worst, at {at}: got {got[at]}, "
        f"expected {want[at]}, {float(ratio[at]):.3g} times the tolerance of "
        f"{float(tolerance[at]):.3g}"
    )


def _array(x: Any) -> NDArray[Any]:
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def check_gradients(
    fn: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    step: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
) -> None:
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

    Raises:
        AssertionError: a gradient is wrong.

    >>> import autodan as ad
    >>> check_gradients(lambda x, y: ad.tanh(x) * y, [1.0, 2.0], [[3.0], [4.0]], order=2)
    >>> check_gradients(lambda x: x * x.detach(), [1.0])
    Traceback (most recent call last):
    ...
    AssertionError: gradient of order 1: 1 of 1 elements differ; the worst, at (0, 0): got 1.0, ...
    """
    arrays_ = [np.array(_array(x), "float64") for x in inputs]
    for reached in range(1, order + 1):
        try:
            _compare(fn, arrays_, step, rtol, atol, np.random.default_rng(seed))
        except AssertionError as error:
            raise AssertionError(f"gradient of order {reached}: {error}") from None
        fn = _gradient(fn, seed + reached)


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _leaves(arrays_: Sequence[NDArray[np.float64]]) -> list[Tensor]:
    return [_core.tensor(x, "float64", True) for x in arrays_]


def _compare(
    fn: Callable[..., Any],
    arrays_: list[NDArray[np.float64]],
    step: float,
    rtol: float,
    atol: float,
    rng: np.random.Generator,
) -> None:
    leaves = _leaves(arrays_)
    outputs = _outputs(fn(*leaves))
    n, m = sum(x.size for x in arrays_), sum(y.size for y in outputs)
    whole = n <= _WHOLE_JACOBIAN and m <= _WHOLE_JACOBIAN
    directions = np.eye(n) if whole else _unit(rng.normal(size=(1, n)))
    cotangents = np.eye(m) if whole else rng.normal(size=(1, m))

    def values(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = _split(flat, [x.shape for x in arrays_])
        return _join([_array(y) for y in _outputs(fn(*_leaves(parts)))])

    centre = _join(arrays_)
    differences = [
        (values(centre + step * u) - values(centre - step * u)) / (2 * step) for u in directions
    ]
    expected = cotangents @ np.reshape(differences, (len(directions), m)).T
    rows = [_pull_back(outputs, leaves, v) for v in cotangents]
    actual = np.reshape(rows, (len(cotangents), n)) @ directions.T
    assert_close(actual, expected, rtol, atol)


def _pull_back(
    outputs: list[Tensor], leaves: list[Tensor], cotangent: NDArray[np.float64]
) -> NDArray[np.float64]:
    parts = _split(cotangent, [y.shape for y in outputs])
    weights = [_core.tensor(part, y.dtype) for part, y in zip(parts, outputs, strict=True)]
    grads = _core.grad(outputs, leaves, weights, True)
    return _join(
        [np.zeros(x.shape) if g is None else g.numpy() for x, g in zip(leaves, grads, strict=True)]
    )


def _gradient(fn: Callable[..., Any], seed: int) -> Callable[..., list[Tensor]]:
    """Return the function that gives the gradients of a random combination of fn's outputs."""

    def gradient(*leaves: Tensor) -> list[Tensor]:
        outputs = _outputs(fn(*leaves))
        rng = np.random.default_rng(seed)
        weights = [_core.tensor(rng.normal(size=y.shape), y.dtype) for y in outputs]
        grads = _core.grad(outputs, list(leaves), weights, False, True)
        pairs = zip(leaves, grads, strict=True)
        return [_core.zeros_like(x.detach()) if g is None else g for x, g in pairs]

    return gradient


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(x)
    return x / length if length > 0 else x


def _join(parts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)


def _split(flat: NDArray[np.float64], shapes_: Sequence[Shape]) -> list[NDArray[np.float64]]:
    ends = np.cumsum([math.prod(shape) for shape in shapes_])
    parts = np.split(flat, ends[:-1]) if len(shapes_) else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes_, strict=True)]


@dataclass(frozen=True)
class View:
    """A way from a base array to a view of it, the same for NumPy arrays and tensors.

    Args:
        base: Shape of the base array.
        steps: What is done to it one after the other: ("transpose", axes), ("index", key) or
            ("broadcast", shape).

    >>> import autodan as ad
    >>> view = View((2, 3), (("transpose", (1, 0)), ("index", slice(None, None, -1))))
    >>> view(ad.reshape(ad.arange(6), (2, 3))).tolist()
    [[2, 5], [1, 4], [0, 3]]
    """

    base: Shape
    steps: tuple[tuple[str, Any], ...] = ()

    def __call__(self, x: Any) -> Any:
        """Return the view of `x`, an array or tensor of the base's shape."""
        for kind, argument in self.steps:
            if kind == "transpose":
                x = x.transpose(argument)
            elif kind == "index":
                x = x[argument]
            elif isinstance(x, Tensor):
                x = _core.broadcast_to(x, argument)
            else:
                x = np.broadcast_to(x, argument)
        return x


def _strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError(
            "autodan.testing: strategies need hypothesis. Install it: pip install 'autodan[test]'"
        ) from error
    return strategies


@functools.cache
def _composite(draws: Callable[..., Any]) -> Callable[..., Any]:
    """Return the strategy of a function of `draw`, made once: hypothesis reads its source."""
    return _strategies().composite(draws)


def shapes(
    min_dims: int = 0,
    max_dims: int = 5,
    max_size: int = 600,
    sides: Sequence[int] = SIDES,
) -> SearchStrategy[Shape]:
    """Return a hypothesis strategy of shapes whose sides lie next to the lengths of vectors.

    Args:
        min_dims: Least number of dimensions. Default 0.
        max_dims: Largest number of dimensions. Default 5.
        max_size: Largest number of elements. Default 600.
        sides: The sides to choose from; one of them is 1 or 0.

    Raises:
        ImportError: hypothesis is not installed.

    >>> import hypothesis
    >>> @hypothesis.given(shapes(max_dims=3))
    ... def test(shape):
    ...     assert len(shape) <= 3
    >>> test()
    """
    return _composite(_draw_shape)(min_dims, max_dims, max_size, sides)


def _draw_shape(
    draw: DrawFn, min_dims: int, max_dims: int, max_size: int, sides: Sequence[int]
) -> Shape:
    st = _strategies()
    shape: list[int] = []
    size = 1
    for _ in range(draw(st.integers(min_dims, max_dims))):
        side = draw(st.sampled_from([side for side in sides if size * side <= max_size]))
        shape.append(side)
        size *= max(side, 1)
    return tuple(shape)


def views(shape: Shape, max_steps: int = 3) -> SearchStrategy[View]:
    """Return a hypothesis strategy of views that have this shape.

    They transpose, slice with steps of either sign from some offset, select, add axes and
    broadcast.

    Args:
        shape: Shape of the view.
        max_steps: Largest number of steps from the base to the view. Default 3.

    Raises:
        ImportError: hypothesis is not installed.

    >>> import hypothesis, numpy
    >>> @hypothesis.given(views((2, 3)))
    ... def test(view):
    ...     assert view(numpy.zeros(view.base)).shape == (2, 3)
    >>> test()
    """
    return _composite(_draw_view)(shape, max_steps)


def _draw_view(draw: DrawFn, shape: Shape, max_steps: int) -> View:
    st = _strategies()
    room = 16 * max(math.prod(shape), 16)
    base, steps = shape, []
    for _ in range(draw(st.integers(0, max_steps))):
        kind = draw(st.sampled_from(("transpose", "slice", "select", "broadcast", "expand")))
        before, step = _step_before(draw, st, kind, base)
        if math.prod(before) <= room:
            base = before
            steps.append(step)
    return View(base, tuple(reversed(steps)))


def _step_before(draw: DrawFn, st: Any, kind: str, shape: Shape) -> tuple[Shape, tuple[str, Any]]:
    """Return a shape and the step that leads from it to `shape`."""
    if kind == "transpose":
        axes = tuple(draw(st.permutations(range(len(shape)))))
        return tuple(shape[axes.index(axis)] for axis in range(len(shape))), ("transpose", axes)
    if kind == "slice":
        ranges = [_range_before(draw, st, side) for side in shape]
        return tuple(side for side, _ in ranges), ("index", tuple(key for _, key in ranges))
    if kind == "select":
        axis, index = draw(st.integers(0, len(shape))), draw(st.sampled_from((1, 0, -1)))
        key = (slice(None),) * axis + (index,)
        return (*shape[:axis], 2, *shape[axis:]), ("index", key)
    if kind == "broadcast":
        dropped = draw(st.integers(0, len(shape)))
        ones = draw(st.integers(0, 2 ** len(shape) - 1))
        kept = enumerate(shape[dropped:])
        return tuple(1 if ones >> axis & 1 else side for axis, side in kept), ("broadcast", shape)
    new = [axis for axis, side in enumerate(shape) if side == 1]
    if not new:
        return shape, ("index", ...)
    axis = draw(st.sampled_from(new))
    return shape[:axis] + shape[axis + 1 :], ("index", (slice(None),) * axis + (None,))


def _range_before(draw: DrawFn, st: Any, side: int) -> tuple[int, slice]:
    """Return a side and the slice that leads from it to `side`."""
    step = draw(st.sampled_from((1, -1, 2, -3)))
    offset, rest = draw(st.sampled_from(((0, 0), (1, 0), (0, 2), (3, 1))))
    if side == 0:
        return offset + rest, slice(offset, offset, step)
    span = (side - 1) * abs(step) + 1
    first, last = (offset, offset + span - 1) if step > 0 else (offset + span - 1, offset)
    stop = last + 1 if step > 0 else last - 1 if last > 0 else None
    return offset + span + rest, slice(first, stop, step)


def arrays(
    shape: Shape | SearchStrategy[Shape],
    low: float = -2.0,
    high: float = 2.0,
    dtype: str = "float64",
) -> SearchStrategy[NDArray[Any]]:
    """Return a hypothesis strategy of NumPy arrays, of smooth values or of whole numbers (ties).

    Args:
        shape: A shape or a strategy of shapes.
        low: Least value. Default -2.
        high: Largest value. Default 2.
        dtype: NumPy dtype of the arrays. Default "float64".

    Raises:
        ImportError: hypothesis is not installed.

    >>> import hypothesis
    >>> @hypothesis.given(arrays(shapes(), low=0.0, high=1.0))
    ... def test(x):
    ...     assert ((x >= 0) & (x <= 1)).all()
    >>> test()
    """
    return _composite(_draw_array)(shape, low, high, dtype)


def _draw_array(
    draw: DrawFn,
    shape: Shape | SearchStrategy[Shape],
    low: float,
    high: float,
    dtype: str,
) -> NDArray[Any]:
    st = _strategies()
    sides = shape if isinstance(shape, tuple) else draw(shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = math.ceil(low), math.floor(high)
    if not np.issubdtype(np.dtype(dtype), np.floating) or (
        whole[0] <= whole[1] and draw(st.booleans())
    ):
        return rng.integers(*whole, sides, endpoint=True).astype(dtype)
    return rng.uniform(low, high, sides).astype(dtype)
