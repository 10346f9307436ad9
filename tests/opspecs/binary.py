"""Functions of two and three tensors, element by element, with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

import autodan as ad
from autodan import _core
from opspecs.spec import (
    NUMBERS,
    SAME,
    TO_BOOL,
    TO_FLOAT,
    Error,
    Spec,
    elementwise,
    relative,
    same_shapes,
)


def sigmoid_cross_entropy(x, t):
    return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))


# The bound of what is correctly rounded, or nearly.
ROUNDED = relative(1)


def row(
    name: str,
    reference: Any,
    *,
    domain: Any = ((-2.0, 2.0),),
    bound: Any = ROUNDED,
    dtypes: Any = NUMBERS,
    gradients: tuple[int, ...] = (0, 1),
    **more: Any,
) -> Spec:
    op = getattr(_core, name)
    errors = (
        Error(
            lambda: op(ad.ones((2, 3)), ad.ones((2, 2))),
            ValueError,
            rf"{name}: shapes \(2, 3\) and \(2, 2\) do not broadcast: .*reshape or transpose",
        ),
        Error(lambda: op(1.0), TypeError, f"{name}.*missing"),
        Error(lambda: op([1.0], [object()]), TypeError, "cannot make a tensor of"),
    )
    return Spec(
        name=name,
        op=op,
        reference=reference,
        calls=elementwise(2),
        domain=domain,
        bound=bound,
        dtypes=dtypes,
        gradients=gradients,
        alike=same_shapes(2),
        special=True,
        errors=errors,
        **more,
    )


def power(a, b):
    # NumPy refuses negative powers of integers; here they are rounded toward zero.
    if np.result_type(a, b).kind in "iu":
        return np.trunc(np.power(a.astype("float64"), b.astype("float64"))).astype(a.dtype)
    return np.power(a, b)


def remainder(expected, a, b):
    return 3 * (np.abs(a) + np.abs(b))


def away_from_multiples(a, b):
    quotient = a / b
    return bool((np.abs(quotient - np.round(quotient)) > 1e-3).all())


COMPARISONS = (
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
)

SPECS = (
    row("add", np.add),
    row("subtract", np.subtract),
    row("multiply", np.multiply),
    row("divide", np.divide, domain=((-2, 2), (0.5, 2)), dtypes=TO_FLOAT),
    row(
        "divide_no_nan",
        lambda a, b: np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b)),
        domain=((-2, 2), (0, 2)),
        dtypes=TO_FLOAT,
        kinks=(0,),
        away=lambda a, b: bool((np.abs(b) > 0.3).all()),
    ),
    row("power", power, domain=((0.3, 2), (-2, 3)), bound=relative(2)),
    row("maximum", np.maximum, bound=None, distinct=True, zero_sign=False),
    row("minimum", np.minimum, bound=None, distinct=True, zero_sign=False),
    row(
        "floor_divide",
        np.floor_divide,
        domain=((-3, 3), (0.5, 2)),
        away=away_from_multiples,
        bound=None,
    ),
    row("mod", np.mod, domain=((-3, 3), (0.5, 2)), away=away_from_multiples, bound=remainder),
    row(
        "arctan2",
        np.arctan2,
        domain=((0.5, 2), (-2, 2)),
        bound=relative(3),
        dtypes=TO_FLOAT,
    ),
    row(
        "sigmoid_cross_entropy",
        sigmoid_cross_entropy,
        domain=((-3, 3), (0, 1)),
        # The sigmoid minus the target.
        slope_noise=lambda x, t: 8.0,
        bound=lambda y, x, t: 4 * (np.abs(x) * (1 + np.abs(t)) + 1),
        dtypes=TO_FLOAT,
    ),
    *(
        row(name, getattr(np, name), bound=None, dtypes=TO_BOOL, gradients=(), subnormals=True)
        for name in COMPARISONS
    ),
    Spec(
        name="where",
        op=ad.where,
        reference=lambda condition, a, b: np.where(condition != 0, a, b),
        calls=elementwise(3),
        domain=((0, 1), (-2, 2)),
        kinks=(0,),
        dtypes=SAME,
        gradients=(1, 2),
        alike=same_shapes(3),
        mixes=(1, None),
        special=True,
        subnormals=True,
        errors=(
            Error(
                lambda: ad.where(ad.ones((2,)), ad.ones((3,)), 0.0),
                ValueError,
                r"where: shapes .*\(2,\).*\(3,\)|where: shapes .*\(3,\).*\(2,\)",
            ),
            Error(lambda: ad.where([True]), TypeError, "missing"),
        ),
    ),
)
