"""What a row of the table of ops says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from autodan.testing import shapes

Shape = tuple[int, ...]
Dtypes = Mapping[str, str | type[Exception]]

INTEGERS = ("uint8", "int32", "int64")
FLOATS = ("float32", "float64")
ALL = ("bool", *INTEGERS, *FLOATS)

# Result dtype by operand dtype.
SAME: Dtypes = {dtype: dtype for dtype in ALL}
TO_FLOAT: Dtypes = {**SAME, **dict.fromkeys(("bool", *INTEGERS), "float32")}
KEEPS: Dtypes = {**SAME, "bool": "float32"}
NUMBERS: Dtypes = {**SAME, "bool": TypeError}
SUMS: Dtypes = {**SAME, **dict.fromkeys(("bool", *INTEGERS), "int64")}
TO_BOOL: Dtypes = dict.fromkeys(ALL, "bool")
TO_INT64: Dtypes = dict.fromkeys(ALL, "int64")


@dataclass(frozen=True)
class Call:
    """Shapes of the operands and the other arguments of one call."""

    shapes: tuple[Shape, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    """A wrong call, the exception that it raises and what the message must say (a pattern)."""

    call: Callable[[], Any]
    exception: type[Exception]
    message: str


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A row of the table.

    Args:
        name: Public name.
        op: The function: operands by position, other arguments by name.
        reference: The same in NumPy.
        calls: Shapes and arguments to call it with.
        domain: Range of each operand (the last one's for those that follow), narrow enough for
            differences to be exact to 1e-7.
        wide: The range for values only. Default: `domain`.
        kinks: Numbers from which operands keep away when gradients are compared.
        distinct: Whether all elements must differ clearly, for gradients of maxima.
        away: Whether operands are away from kinks that are no single numbers.
        dtypes: Result dtype by operand dtype, or the exception.
        bound: `terms * magnitude` of `autodan.testing.float32_tolerance` for each element, from
            the reference result, the operands and the arguments; None for exact results.
        gradients: The operands that the result can be differentiated by.
        second: Whether second derivatives exist.
        slopes: The gradient at each of the kinks, or a function of the arguments that gives it.
        slope_terms: Roundings that a float32 gradient goes through, besides those of its sum.
        slope_noise: From operands and arguments, `terms * magnitude` of the intermediate results
            that cancel in a gradient of weights 1, whose rounding is not small next to it.
        alike: Calls in which all operands have one shape, to be one tensor; None for functions
            of a single operand.
        mixes: The operands (first, last) whose dtypes meet in one; None where there is no such
            rule.
        special: True if NaN, infinities and zeros are as in NumPy, else the reason why they are
            not compared.
        zero_sign: Whether NumPy defines the sign of a zero result.
        subnormals: Whether subnormal numbers count in float32; arithmetic takes them for zero.
        errors: Wrong calls.
    """

    name: str
    op: Callable[..., Any]
    reference: Callable[..., Any]
    calls: st.SearchStrategy[Call]
    domain: tuple[tuple[float, float], ...] = ((-2.0, 2.0),)
    wide: tuple[tuple[float, float], ...] | None = None
    kinks: tuple[float, ...] = ()
    distinct: bool = False
    away: Callable[..., bool] | None = None
    dtypes: Dtypes = field(default_factory=lambda: SAME)
    bound: Callable[..., Any] | None = None
    gradients: tuple[int, ...] = ()
    second: bool = True
    slopes: Mapping[float, float | Callable[..., float]] = field(default_factory=dict)
    slope_terms: float = 16
    slope_noise: Callable[..., Any] | None = None
    alike: st.SearchStrategy[Call] | None = None
    mixes: tuple[int, int | None] | None = (0, None)
    special: bool | str
    zero_sign: bool = True
    subnormals: bool = False
    errors: tuple[Error, ...]

    def __repr__(self) -> str:
        return f"Spec({self.name})"


def relative(terms: float) -> Callable[..., Any]:
    """Return a bound of so many roundings of the result."""
    return lambda expected, *operands, **kwargs: terms * np.abs(expected)


@st.composite
def broadcasting(draw: st.DrawFn, operands: int, max_size: int = 400) -> tuple[Shape, ...]:
    """Draw shapes that broadcast with each other."""
    whole = draw(shapes(max_size=max_size))
    result = []
    for _ in range(operands):
        dropped = draw(st.sampled_from((0, 0, 1, 5)))
        ones = draw(st.sampled_from((0, 0, 1, 2, 5)))
        kept = enumerate(whole[dropped:])
        result.append(tuple(1 if ones >> axis & 1 else side for axis, side in kept))
    return tuple(result)


@st.composite
def elementwise(
    draw: st.DrawFn, operands: int, options: tuple[dict[str, Any], ...] = ({},)
) -> Call:
    """Draw a call of operands that broadcast, with one of the options."""
    return Call(draw(broadcasting(operands)), draw(st.sampled_from(options)))


def same_shapes(
    operands: int, shape: st.SearchStrategy[Shape] | None = None, **kwargs: Any
) -> st.SearchStrategy[Call]:
    """Return calls of so many operands of one shape."""
    drawn = shapes(max_size=200) if shape is None else shape
    return drawn.map(lambda s: Call((s,) * operands, kwargs))


def met(*dtypes: str) -> str:
    """Return the dtype that holds these: of floats the widest, else of integers, else bool."""
    for kind in (FLOATS, INTEGERS):
        present = [dtype for dtype in dtypes if dtype in kind]
        if present:
            return max(present, key=kind.index)
    return "bool"


def fixed(*calls: Call) -> st.SearchStrategy[Call]:
    """Return a strategy of these calls."""
    return st.sampled_from(calls)


def axis_of(shape: Shape) -> st.SearchStrategy[int]:
    """Return a strategy of the axes of a shape, from either end."""
    return st.integers(-len(shape), len(shape) - 1)


def axes_of(shape: Shape) -> st.SearchStrategy[Any]:
    """Return a strategy of None, an axis, or several axes of a shape."""
    if not shape:
        return st.sampled_from((None, ()))

    def signed(axes: set[int]) -> tuple[int, ...]:
        return tuple(axis - len(shape) if axis % 2 else axis for axis in axes)

    several = st.sets(st.integers(0, len(shape) - 1)).map(signed)
    return st.one_of(st.none(), axis_of(shape), several)
