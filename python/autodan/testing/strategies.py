"""Strategies for property tests with hypothesis: shapes, views, ordinary and special values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autodan.testing.layouts import View

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["arrays", "overlapping_views", "shapes", "special_values", "views"]

Shape = tuple[int, ...]

# Sides next to the lengths of vectors and unrolled loops, where kernels go wrong.
SIDES = (1, 2, 3, 0, 7, 8, 9, 15, 16, 17, 31, 33)
_STEPS = (
    "transpose",
    "slice",
    "select",
    "broadcast_to",
    "expand",
    "squeeze",
    "reshape",
    "flip",
    "swapaxes",
)


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
    return _composite(_draw_shape)(min_dims, max_dims, max_size, tuple(sides))


def _draw_shape(
    draw: DrawFn, min_dims: int, max_dims: int, max_size: int, sides: tuple[int, ...]
) -> Shape:
    st = _strategies()
    shape: list[int] = []
    size = 1
    for _ in range(draw(st.integers(min_dims, max_dims))):
        # Tuples rather than lists: hypothesis keeps the strategies of what can be hashed.
        side = draw(st.sampled_from(tuple(side for side in sides if size * side <= max_size)))
        shape.append(side)
        size *= max(side, 1)
    return tuple(shape)


def views(shape: Shape, max_steps: int = 3) -> SearchStrategy[View]:
    """Return a hypothesis strategy of views that have this shape.

    They transpose, slice with steps of either sign from some offset, select, flip, add, drop and
    exchange axes, reshape and broadcast.

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


def overlapping_views(
    shapes: Sequence[Shape], max_steps: int = 3
) -> SearchStrategy[tuple[View, ...]]:
    """Return a hypothesis strategy of views of one base that have these shapes and may overlap.

    Args:
        shapes: Shapes of the views.
        max_steps: Largest number of steps to each view. Default 3.

    Raises:
        ImportError: hypothesis is not installed.

    >>> import hypothesis, numpy
    >>> @hypothesis.given(overlapping_views([(2, 3), (3,)]))
    ... def test(pair):
    ...     base = numpy.zeros(pair[0].base)
    ...     assert pair[0].base == pair[1].base
    ...     assert [view(base).shape for view in pair] == [(2, 3), (3,)]
    >>> test()
    """
    return _composite(_draw_overlapping)(tuple(shapes), max_steps)


def _draw_overlapping(draw: DrawFn, shapes: tuple[Shape, ...], max_steps: int) -> tuple[View, ...]:
    st = _strategies()
    alone = [draw(_composite(_draw_view)(shape, max_steps)) for shape in shapes]
    sizes = [math.prod(view.base) for view in alone]
    starts = [draw(st.sampled_from((0, 0, 1, 3))) for _ in alone]
    base = (max(start + size for start, size in zip(starts, sizes, strict=True)),)
    return tuple(
        View(
            base,
            (("index", slice(start, start + size)), ("reshape", view.base), *view.steps),
        )
        for view, start, size in zip(alone, starts, sizes, strict=True)
    )


def _draw_view(draw: DrawFn, shape: Shape, max_steps: int) -> View:
    st = _strategies()
    room = 16 * max(math.prod(shape), 16)
    base, steps = shape, []
    for _ in range(draw(st.integers(0, max_steps))):
        kind = draw(st.sampled_from(_STEPS))
        before, step = _step_before(draw, st, kind, base)
        if math.prod(before) <= room:
            base = before
            steps.append(step)
    return View(base, tuple(reversed(steps)))


def _step_before(draw: DrawFn, st: Any, kind: str, shape: Shape) -> tuple[Shape, tuple[Any, ...]]:
    """Return a shape and the step that leads from it to `shape`."""
    nothing = shape, ("index", ...)
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
    if kind == "broadcast_to":
        dropped = draw(st.integers(0, len(shape)))
        ones = draw(st.integers(0, 2 ** len(shape) - 1))
        kept = enumerate(shape[dropped:])
        return tuple(1 if ones >> axis & 1 else side for axis, side in kept), (kind, shape)
    if kind == "squeeze":
        axis = draw(st.integers(0, len(shape)))
        return (*shape[:axis], 1, *shape[axis:]), (kind, axis)
    if kind == "expand":
        new = tuple(axis for axis, side in enumerate(shape) if side == 1)
        if not new:
            return nothing
        axis = draw(st.sampled_from(new))
        return shape[:axis] + shape[axis + 1 :], ("expand_dims", axis)
    if not shape:
        return nothing
    axis = draw(st.integers(0, len(shape) - 1))
    if kind == "flip":
        return shape, (kind, axis)
    other = draw(st.integers(0, len(shape) - 1))
    if kind == "swapaxes":
        sides = list(shape)
        sides[axis], sides[other] = sides[other], sides[axis]
        return tuple(sides), (kind, axis, other)
    # Reshape: neighbours from one side that was both, or one side from two that were its factors.
    if axis < other:
        joined = math.prod(shape[axis : other + 1])
        return (*shape[:axis], joined, *shape[other + 1 :]), (kind, shape)
    factor = draw(st.sampled_from((2, 3, 1)))
    if shape[axis] % factor:
        return nothing
    return (*shape[:axis], factor, shape[axis] // factor, *shape[axis + 1 :]), (kind, shape)


def _range_before(draw: DrawFn, st: Any, side: int) -> tuple[int, slice]:
    """Return a side and the slice that leads from it to `side`."""
    step, offset, rest = draw(st.sampled_from(_RANGES))
    if side == 0:
        return offset + rest, slice(offset, offset, step)
    span = (side - 1) * abs(step) + 1
    first, last = (offset, offset + span - 1) if step > 0 else (offset + span - 1, offset)
    stop = last + 1 if step > 0 else last - 1 if last > 0 else None
    return offset + span + rest, slice(first, stop, step)


# Step, elements before and elements after.
_RANGES = tuple(
    (step, *around) for step in (1, -1, 2, -3) for around in ((0, 0), (1, 0), (0, 2), (3, 1))
)


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


def special_values(
    x: NDArray[Any], values: Sequence[float] | None = None
) -> SearchStrategy[NDArray[Any]]:
    """Return a hypothesis strategy of copies of `x` with special values at random places.

    Args:
        x: Array of floats.
        values: What to put in. Default: NaN, infinities, zeros of both signs, the largest and
            smallest numbers of the dtype, subnormal ones, and ones and halves.

    Raises:
        ImportError: hypothesis is not installed.

    >>> import hypothesis, numpy
    >>> @hypothesis.given(special_values(numpy.ones(9), [numpy.inf]))
    ... def test(x):
    ...     assert ((x == 1) | numpy.isinf(x)).all()
    >>> test()
    """
    chosen = _all_special(x.dtype.name) if values is None else tuple(values)
    return _composite(_draw_special)(x, chosen)


@functools.cache
def _all_special(dtype: str) -> tuple[float, ...]:
    info = np.finfo(dtype)
    sizes = (0.0, 0.5, 1.0, np.inf, info.max, info.tiny, info.smallest_subnormal * 3)
    return (*(float(sign * x) for x in sizes for sign in (1, -1)), float("nan"))


def _draw_special(draw: DrawFn, x: NDArray[Any], values: tuple[float, ...]) -> NDArray[Any]:
    st = _strategies()
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # One place in ten, or a single one: what is special must not hide behind something else.
    chance = draw(st.sampled_from((0.1, 0.5, 0.0)))
    mask = rng.random(x.shape) < chance
    if chance == 0.0 and x.size:
        mask.reshape(-1)[rng.integers(x.size)] = True
    return np.where(mask, rng.choice(values, x.shape), x).astype(x.dtype)
