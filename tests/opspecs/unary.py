"""Functions of one tensor, element by element."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import numpy as np

import autodan as ad
from autodan import _core
from opspecs.spec import (
    ALL,
    KEEPS,
    SAME,
    TO_BOOL,
    TO_FLOAT,
    Call,
    Error,
    Spec,
    elementwise,
    fixed,
    relative,
)

erf = np.vectorize(math.erf, otypes=["float64"])


def sigmoid(x):
    return np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    )


def softplus(x):
    return np.logaddexp(0.0, x)


def mish(x):
    return x * np.tanh(softplus(x))


def hard_sigmoid(x):
    return np.clip(x / 6 + 0.5, 0.0, 1.0)


def selu(x):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def celu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x) / alpha))


def leaky_relu(x, negative_slope=0.2):
    return np.where(x > 0, x, negative_slope * x)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu(x, approximate=True):
    return gelu_tanh(x) if approximate else 0.5 * x * (1 + erf(x / np.sqrt(2)))


def clip(x, x_min=None, x_max=None):
    return x if x_min is None and x_max is None else np.clip(x, x_min, x_max)


def of_operand(terms: float) -> Any:
    """Roundings of the size of the operand, for differences that cancel."""
    return lambda expected, x, **kwargs: terms * (np.abs(x) + np.abs(expected))


# The bound of what is correctly rounded, or nearly.
ROUNDED = relative(2)


def cancels(x, **kwargs):
    """Return the noise of slopes that fall to zero between x = -2 and 0: sums of a few terms."""
    return 8 * (1 + np.max(np.abs(x), initial=0.0))


def row(
    name: str,
    reference: Any,
    domain: tuple[float, float] = (-2.0, 2.0),
    wide: tuple[float, float] | None = None,
    *,
    bound: Any = ROUNDED,
    dtypes: Any = TO_FLOAT,
    gradients: tuple[int, ...] = (0,),
    options: tuple[dict[str, Any], ...] = ({},),
    slopes: Any = MappingProxyType({}),
    errors: tuple[Error, ...] = (),
    **more: Any,
) -> Spec:
    op = getattr(_core, name)
    wrong = (
        Error(lambda: op(), TypeError, f"{name}.*missing"),
        Error(lambda: op(1j), TypeError, "cannot make a tensor of complex128"),
        Error(lambda: op([[1.0], [1.0, 2.0]]), ValueError, "cannot make a tensor of list"),
    )
    return Spec(
        name=name,
        op=op,
        reference=reference,
        calls=elementwise(1, options),
        domain=(domain,),
        wide=(wide or domain,),
        bound=bound,
        dtypes=dtypes,
        gradients=gradients,
        kinks=tuple(slopes),
        slopes=slopes,
        special=True,
        errors=(*wrong, *errors),
        **more,
    )


SPECS = (
    row("negative", np.negative, dtypes=KEEPS, bound=None),
    row("abs", np.abs, dtypes=KEEPS, bound=None, slopes={0: 0}),
    row("sign", np.sign, dtypes=KEEPS, bound=None, slopes={0: 0}, zero_sign=False),
    row("square", np.square, wide=(-100, 100), dtypes=KEEPS, bound=relative(1)),
    row("sqrt", np.sqrt, (0.5, 4), (0, 1e6), bound=relative(1)),
    row("rsqrt", lambda x: 1 / np.sqrt(x), (0.5, 4), (1e-3, 1e6)),
    row("reciprocal", lambda x: 1 / x, (0.5, 4), (1e-3, 1e6), bound=relative(1)),
    row("exp", np.exp, wide=(-87, 88)),
    row("exp2", np.exp2, wide=(-80, 80), bound=relative(1)),
    row("expm1", np.expm1, wide=(-20, 80)),
    row("log", np.log, (0.5, 4), (1e-6, 1e6)),
    row("log1p", np.log1p, (-0.5, 4), (-0.99, 1e6)),
    row("log2", np.log2, (0.5, 4), (1e-6, 1e6), bound=relative(3)),
    row("log10", np.log10, (0.5, 4), (1e-6, 1e6), bound=relative(3)),
    row("sin", np.sin, wide=(-1000, 1000)),
    row("cos", np.cos, wide=(-1000, 1000)),
    row("tan", np.tan, (-1, 1), (-100, 100), bound=relative(4)),
    row("sinh", np.sinh, wide=(-80, 80), bound=relative(4)),
    row("cosh", np.cosh, wide=(-80, 80), bound=relative(4)),
    row("tanh", np.tanh, wide=(-20, 20), bound=relative(3)),
    row("arcsin", np.arcsin, (-0.9, 0.9), (-1, 1), bound=relative(4)),
    row("arccos", np.arccos, (-0.9, 0.9), (-1, 1), bound=relative(4)),
    row("arctan", np.arctan, wide=(-1000, 1000), bound=relative(4)),
    row("arcsinh", np.arcsinh, wide=(-1e6, 1e6), bound=relative(6)),
    row("arccosh", np.arccosh, (1.5, 4), (1, 1e6), bound=relative(6)),
    row("arctanh", np.arctanh, (-0.8, 0.8), (-0.999, 0.999), bound=relative(6)),
    row("erf", erf, wide=(-6, 6)),
    row(
        "floor",
        np.floor,
        wide=(-1e6, 1e6),
        dtypes=KEEPS,
        bound=None,
        slopes=dict.fromkeys((-2, -1, 0, 1, 2), 0),
    ),
    row(
        "ceil",
        np.ceil,
        wide=(-1e6, 1e6),
        dtypes=KEEPS,
        bound=None,
        slopes=dict.fromkeys((-2, -1, 0, 1, 2), 0),
    ),
    row(
        "round",
        np.round,
        wide=(-8, 8),
        dtypes=KEEPS,
        bound=None,
        slopes=dict.fromkeys((-1.5, -0.5, 0.5, 1.5), 0),
    ),
    row(
        "trunc",
        np.trunc,
        wide=(-1e6, 1e6),
        dtypes=KEEPS,
        bound=None,
        slopes=dict.fromkeys((-2, -1, 0, 1, 2), 0),
    ),
    row("sigmoid", sigmoid, wide=(-80, 80), bound=relative(3)),
    row(
        "relu",
        lambda x: np.maximum(x, 0),
        dtypes=KEEPS,
        bound=None,
        slopes={0: 0},
        zero_sign=False,
    ),
    row(
        "relu6",
        lambda x: np.clip(x, 0, 6),
        (-2, 8),
        bound=None,
        slopes={0: 0, 6: 0},
        zero_sign=False,
    ),
    row("silu", lambda x: x * sigmoid(x), wide=(-80, 80), bound=relative(4), slope_noise=cancels),
    row("softplus", softplus, wide=(-80, 80), bound=relative(3)),
    row("softsign", lambda x: x / (1 + np.abs(x)), wide=(-1e6, 1e6), slopes={0: 1}),
    row("mish", mish, wide=(-80, 80), bound=relative(8), slope_noise=cancels),
    row("log_sigmoid", lambda x: -softplus(-x), wide=(-80, 80), bound=relative(3)),
    row(
        "hard_sigmoid",
        hard_sigmoid,
        (-4, 4),
        bound=lambda y, x: 2 * (np.abs(x) + 0.5),
        slopes={-3: 0, 3: 0},
    ),
    row(
        "hard_silu",
        lambda x: x * hard_sigmoid(x),
        (-4, 4),
        bound=lambda y, x: 3 * np.abs(x) * (np.abs(x) + 0.5),
        slopes={-3: 0, 3: 1},
        slope_noise=cancels,
        zero_sign=False,
    ),
    row("hard_tanh", lambda x: np.clip(x, -1, 1), bound=None, slopes={-1: 0, 1: 0}),
    row("tanh_shrink", lambda x: x - np.tanh(x), wide=(-20, 20), bound=of_operand(4)),
    row(
        "selu",
        selu,
        wide=(-80, 80),
        bound=relative(4),
        slopes={0: 1.0507009873554805 * 1.6732632423543772},
    ),
    row(
        "elu",
        elu,
        wide=(-80, 80),
        bound=relative(3),
        slopes={0: lambda alpha=1.0: alpha},
        options=({}, {"alpha": 0.5}, {"alpha": 2.0}),
    ),
    row(
        "celu",
        celu,
        wide=(-80, 80),
        bound=relative(5),
        slopes={0: 1},
        options=({}, {"alpha": 0.5}, {"alpha": 2.0}),
    ),
    row(
        "leaky_relu",
        leaky_relu,
        wide=(-80, 80),
        slopes={0: lambda negative_slope=0.2: negative_slope},
        options=({}, {"negative_slope": 0.3}, {"negative_slope": 0.0}),
        zero_sign=False,
    ),
    row(
        "gelu",
        gelu,
        wide=(-8, 8),
        bound=of_operand(8),
        slope_noise=cancels,
        options=({}, {"approximate": False}),
        zero_sign=False,
    ),
    row(
        "clip",
        clip,
        bound=None,
        slopes={-0.5: 1, 0.75: 1},
        options=(
            {"x_min": -0.5, "x_max": 0.75},
            {"x_min": -0.5},
            {"x_max": 0.75},
            {"x_min": -0.5, "x_max": np.inf},
        ),
        zero_sign=False,
    ),
    row("isnan", np.isnan, dtypes=TO_BOOL, bound=None, gradients=(), subnormals=True),
    row("isinf", np.isinf, dtypes=TO_BOOL, bound=None, gradients=(), subnormals=True),
    row("isfinite", np.isfinite, dtypes=TO_BOOL, bound=None, gradients=(), subnormals=True),
    row("logical_not", np.logical_not, dtypes=TO_BOOL, bound=None, gradients=(), subnormals=True),
    Spec(
        name="cast",
        op=ad.cast,
        reference=lambda x, dtype: x.astype(dtype),
        calls=fixed(
            *(Call((shape,), {"dtype": dtype}) for dtype in ALL for shape in ((), (2, 33)))
        ),
        domain=((0, 100),),
        dtypes=SAME,
        special="how a NaN or infinity becomes an integer is left to the processor",
        errors=(
            Error(
                lambda: ad.cast([1.0], "float16"),
                TypeError,
                r"'float16' is not a supported dtype; those are bool, uint8, .*float64",
            ),
            Error(lambda: ad.cast([1.0], object), TypeError, "is not a supported dtype"),
        ),
    ),
)
