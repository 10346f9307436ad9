"""Reductions over axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan import _core
from autodan.testing import shapes
from opspecs.spec import (
    SUMS,
    TO_BOOL,
    TO_FLOAT,
    TO_INT64,
    Call,
    Error,
    Shape,
    Spec,
    axes_of,
    axis_of,
)


def reduced(shape: Shape, axis: Any) -> tuple[int, ...]:
    """Return the sides that a reduction over `axis` joins."""
    if axis is None:
        return shape
    return tuple(shape[a] for a in ((axis,) if isinstance(axis, int) else axis))


@st.composite
def reductions(
    draw: st.DrawFn, empty: bool = True, max_size: int = 400, single: bool = False
) -> Call:
    """Draw a reduction; unless `empty`, every result has elements to come from."""
    shape = draw(shapes(max_size=max_size))
    axis = draw(axes_of(shape) if not single else one_or_none(shape))
    if not empty and 0 in reduced(shape, axis):
        shape = tuple(max(side, 1) for side in shape)
    return Call((shape,), {"axis": axis, "keepdims": draw(st.booleans())})


def one_or_none(shape: Shape) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), axis_of(shape)) if shape else st.none()


def terms(x: Any, axis: Any) -> int:
    return math.prod(reduced(np.shape(x), axis)) + 4


def of_sum(expected, x, axis=None, keepdims=False):
    return terms(x, axis) * np.sum(np.abs(x), axis=axis, keepdims=keepdims)


def of_mean(expected, x, axis=None, keepdims=False):
    return terms(x, axis) * np.mean(np.abs(x), axis=axis, keepdims=keepdims)


def of_largest(power):
    def bound(expected, x, axis=None, keepdims=False):
        return terms(x, axis) * np.max(np.abs(x), axis=axis, keepdims=keepdims) ** power

    return bound


def logsumexp(x, axis=None, keepdims=False):
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.reshape(total, np.sum(x, axis=axis).shape)


def of_logsumexp(expected, x, axis=None, keepdims=False):
    # The sum, the differences in its exponents, and what is added to its logarithm.
    largest = np.max(np.abs(x), axis=axis, keepdims=keepdims)
    return terms(x, axis) + 2 * largest + 4 * np.abs(expected)


def errors(name: str, op: Any, single: bool) -> tuple[Error, ...]:
    x = ad.ones((2, 3))
    common = (
        Error(
            lambda: op(x, axis=2),
            IndexError,
            f"{name}: axis 2 is out of bounds for a tensor of 2 dimensions",
        ),
        Error(lambda: op(x, axis=-3), IndexError, f"{name}: axis -3"),
        Error(lambda: op(x, axis="rows"), TypeError, "integer|'str' object"),
    )
    if single:
        return common
    twice = Error(lambda: op(x, axis=(0, -2)), ValueError, f"{name}: axis -2 is named twice")
    return (*common, twice)


def row(name: str, reference: Any, *, single: bool = False, calls: Any = None, **more: Any) -> Spec:
    op = getattr(_core, name)
    wrong = errors(name, op, single)
    if name in ("max", "min", "argmax", "argmin", "logsumexp"):
        no_elements = Error(
            lambda: op(ad.zeros((2, 0)), axis=1), ValueError, rf"{name}: .*no elements.*\(2, 0\)"
        )
        wrong = (*wrong, no_elements)
    return Spec(
        name=name,
        op=op,
        reference=reference,
        calls=calls if calls is not None else reductions(),
        errors=wrong,
        **{"special": True, **more},
    )


def spread(x, axis=None, keepdims=False):
    """Return the noise of the gradient of a variance, 2 (x - mean) / n."""
    count = max(math.prod(reduced(np.shape(x), axis)), 1)
    return terms(x, axis) * 4 * np.max(np.abs(x), initial=0.0) / count


def spread_over_deviation(x, axis=None, keepdims=False):
    return spread(x, axis) / np.min(np.std(x, axis=axis), initial=1.0) * 2


def arg(function: Any) -> Any:
    return lambda x, axis=None, keepdims=False: function(x, axis=axis, keepdims=keepdims)


NONEMPTY = reductions(empty=False)
SMALL = reductions(max_size=60)
SINGLE = reductions(empty=False, single=True)

SPECS = (
    row("sum", np.sum, dtypes=SUMS, bound=of_sum, gradients=(0,), zero_sign=False),
    row(
        "prod",
        np.prod,
        calls=SMALL,
        domain=((-1.5, 1.5),),
        dtypes=SUMS,
        bound=lambda y, x, axis=None, keepdims=False: terms(x, axis) * np.abs(y),
        gradients=(0,),
        second=False,
        special="what overflows on the way depends on the order of the factors",
    ),
    row(
        "mean",
        np.mean,
        calls=NONEMPTY,
        dtypes=TO_FLOAT,
        bound=of_mean,
        gradients=(0,),
        zero_sign=False,
    ),
    row(
        "var",
        np.var,
        calls=NONEMPTY,
        dtypes=TO_FLOAT,
        bound=of_largest(2),
        gradients=(0,),
        slope_noise=spread,
    ),
    row(
        "std",
        np.std,
        calls=NONEMPTY,
        dtypes=TO_FLOAT,
        bound=of_largest(1),
        gradients=(0,),
        slope_noise=spread_over_deviation,
        away=lambda x, axis, keepdims: bool((np.std(x, axis=axis) > 1e-2).all()),
    ),
    row(
        "max",
        np.max,
        calls=NONEMPTY,
        gradients=(0,),
        distinct=True,
        zero_sign=False,
    ),
    row(
        "min",
        np.min,
        calls=NONEMPTY,
        gradients=(0,),
        distinct=True,
        zero_sign=False,
    ),
    row("any", np.any, dtypes=TO_BOOL, domain=((-1, 1),), subnormals=True),
    row("all", np.all, dtypes=TO_BOOL, domain=((-1, 1),), subnormals=True),
    row("argmax", arg(np.argmax), single=True, calls=SINGLE, dtypes=TO_INT64),
    row("argmin", arg(np.argmin), single=True, calls=SINGLE, dtypes=TO_INT64),
    row(
        "logsumexp",
        logsumexp,
        calls=NONEMPTY,
        wide=((-80, 80),),
        dtypes=TO_FLOAT,
        bound=of_logsumexp,
        gradients=(0,),
    ),
)
