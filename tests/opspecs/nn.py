"""Matrix products, softmax, normalization and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan import _core
from autodan.testing import shapes
from opspecs.shape import calls
from opspecs.spec import (
    NUMBERS,
    TO_FLOAT,
    Call,
    Error,
    Shape,
    Spec,
    axis_of,
    relative,
    same_shapes,
)

SIDE = st.sampled_from((1, 2, 3, 0, 7, 8, 9, 15, 16, 17, 31, 33))


@st.composite
def products(draw: st.DrawFn) -> Call:
    m, k, n = draw(SIDE), draw(SIDE), draw(SIDE)
    form = draw(st.sampled_from(("mm", "vm", "mv", "vv", "bm", "bb", "vb", "bv")))
    stack = draw(st.sampled_from(((2,), (3, 1), (0,), (2, 2))))
    other = tuple(1 if draw(st.booleans()) else side for side in stack)
    left: dict[str, Shape] = {"m": (m, k), "v": (k,), "b": (*stack, m, k)}
    right: dict[str, Shape] = {"m": (k, n), "v": (k,), "b": (*other, k, n)}
    return Call((left[form[0]], right[form[1]]))


def log_softmax(x, axis=-1):
    axis = axis if isinstance(axis, int) else tuple(axis)
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def softmax(x, axis=-1):
    return np.exp(log_softmax(x, axis))


def of_range(x: Any, axis: Any = -1) -> Any:
    """Return the roundings of a softmax: of its sum, and of the differences in its exponents."""
    sides = np.take(np.shape(x), axis)
    return int(np.prod(sides)) + 8 + np.max(np.abs(x), initial=0.0, where=np.isfinite(x)) * 2


def over_axes(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    several = st.sets(st.integers(0, len(shape) - 1), min_size=1).map(lambda s: tuple(sorted(s)))
    return st.one_of(axis_of(shape), several).map(lambda axis: {"axis": axis})


ROWS = shapes(min_dims=1, max_dims=4, max_size=300, sides=(1, 2, 3, 7, 8, 9, 16, 17, 33))


@st.composite
def normalizations(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=4, max_size=300, sides=(1, 2, 3, 7, 8, 9, 17, 33)))
    axis = draw(axis_of(shape))
    affine = draw(st.sampled_from(((True, True), (True, False), (False, True), (False, False))))
    kwargs = {"affine": affine, "axis": axis, "epsilon": draw(st.sampled_from((0.1, 1.0)))}
    return Call((shape, *((shape[axis],) for given in affine if given)), kwargs)


def batch_norm_op(x, *parameters, affine, **kwargs):
    rest = iter(parameters)
    gamma, beta = (next(rest) if given else None for given in affine)
    return _core.batch_norm(x, gamma, beta, **kwargs)


def batch_norm(x, *parameters, affine, axis, epsilon):
    rest = iter(parameters)
    last = np.moveaxis(x, axis, -1)
    others = tuple(range(x.ndim - 1))
    mean, variance = last.mean(others), last.var(others)
    y = (last - mean) / np.sqrt(variance + epsilon)
    y = y * (next(rest) if affine[0] else 1.0)
    y = y + (next(rest) if affine[1] else 0.0)
    return np.moveaxis(y, -1, axis), mean, variance


def of_batch_norm(expected, x, *parameters, affine, axis, epsilon):
    terms = x.size // max(x.shape[axis], 1) + 12
    size = np.max(np.abs(x), initial=0.0)
    slope = np.max(np.abs(parameters[0]), initial=0.0) if affine[0] else 1.0
    y = np.abs(expected[0]) + (1 + size**2 / epsilon) * size * slope / math.sqrt(epsilon)
    return terms * y, terms * (size + 0 * expected[1]), terms * (size**2 + 0 * expected[2])


ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


@st.composite
def biased(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=4, max_size=300, sides=(1, 2, 3, 7, 8, 9, 17, 33)))
    return Call((shape, shape[-1:]), {"activation": draw(st.sampled_from(tuple(ACTIVATIONS)))})


@st.composite
def linears(draw: st.DrawFn) -> Call:
    rows = draw(st.sampled_from(((4,), (), (2, 3), (0,), (33,))))
    inputs, outputs = draw(SIDE), draw(SIDE)
    activation = draw(st.sampled_from(tuple(ACTIVATIONS)))
    return Call(((*rows, inputs), (inputs, outputs), (outputs,)), {"activation": activation})


def linear(x, kernel, bias, activation="linear"):
    return ACTIVATIONS[activation](x @ kernel + bias)


def of_linear(expected, x, kernel, bias, activation="linear"):
    # No activation has a slope above 1; evaluating one costs a few roundings of its value.
    z = np.abs(x) @ np.abs(kernel) + np.abs(bias)
    return (kernel.shape[0] + 3) * z + 8 * np.abs(expected)


def dropout(x, rate, seed, counter):
    mask = _core.dropout(np.ones(x.shape), rate, seed, counter).numpy()
    return np.where(mask == 0, 0.0, x * mask)


def axis_errors(name: str) -> tuple[Error, ...]:
    op = getattr(ad, name)
    x = ad.ones((2, 3))
    return (
        Error(lambda: op(x, axis=2), IndexError, f"{name}: axis 2 is out of bounds"),
        Error(lambda: op(x, axis=(0, 5)), IndexError, f"{name}: axis 5 is out of bounds"),
        Error(lambda: op(x, axis=(1, -1)), ValueError, f"{name}: axis -1 is named twice"),
        Error(lambda: op(x, axis="rows"), TypeError, f"{name}: axis .*'rows'"),
        Error(lambda: op(x, axis=None), TypeError, f"{name}: axis .*None"),
    )


SPECS = (
    Spec(
        name="matmul",
        op=ad.matmul,
        reference=np.matmul,
        calls=products(),
        dtypes=NUMBERS,
        bound=lambda y, a, b: (a.shape[-1] + 1) * np.matmul(np.abs(a), np.abs(b)),
        gradients=(0, 1),
        alike=SIDE.flatmap(lambda n: same_shapes(2, st.sampled_from(((n,), (n, n), (2, n, n))))),
        special=True,
        zero_sign=False,
        errors=(
            Error(
                lambda: ad.matmul(ad.ones((2, 3)), ad.ones((2, 3))),
                ValueError,
                r"matmul: shapes \(2, 3\) and \(2, 3\) do not match: .*\(3\).*\(2\).*transpose",
            ),
            Error(
                lambda: ad.matmul(ad.ones((2, 1, 3)), ad.ones((3, 3, 1))),
                ValueError,
                "matmul: shapes .*leading sides do not broadcast",
            ),
            Error(lambda: ad.matmul(1.0, ad.ones((2,))), ValueError, "matmul: .*multiply"),
        ),
    ),
    *(
        Spec(
            name=name,
            op=getattr(ad, name),
            reference=reference,
            calls=calls(over_axes, ROWS),
            wide=((-40, 40),),
            dtypes=TO_FLOAT,
            bound=bound,
            gradients=(0,),
            special=True,
            errors=(
                *axis_errors(name),
                Error(
                    lambda name=name: getattr(_core, name)(1.0),
                    ValueError,
                    f"{name}: a scalar has no axis",
                ),
                Error(
                    lambda name=name: getattr(_core, name)([1.0], 1), IndexError, f"{name}: axis 1"
                ),
            ),
        )
        for name, reference, bound in (
            ("softmax", softmax, lambda y, x, axis=-1: of_range(x, axis) * y),
            ("log_softmax", log_softmax, lambda y, x, axis=-1: of_range(x, axis) + 4 * np.abs(y)),
        )
    ),
    Spec(
        name="batch_norm",
        op=batch_norm_op,
        reference=batch_norm,
        calls=normalizations(),
        dtypes=TO_FLOAT,
        bound=of_batch_norm,
        gradients=(0, 1, 2),
        slope_noise=lambda x, *parameters, epsilon, **kwargs: (
            (x.size + 16)
            * (1 + np.max(np.square(x), initial=0.0) / epsilon)
            * (2 / math.sqrt(epsilon))
        ),
        second=False,
        alike=same_shapes(
            3,
            st.sampled_from(((1,), (3,), (9,), (17,))),
            affine=(True, True),
            axis=0,
            epsilon=1.0,
        ),
        mixes=None,
        special="the mean of a channel spreads what is special over it; squares overflow",
        errors=(
            Error(
                lambda: _core.batch_norm(ad.ones((2, 3)), ad.ones((2,))),
                ValueError,
                r"batch_norm: gamma has shape \(2,\) but axis 1 .*\(2, 3\) has 3 channels",
            ),
            Error(
                lambda: _core.batch_norm(ad.ones((2, 3)), axis=2), IndexError, "batch_norm: axis 2"
            ),
        ),
    ),
    Spec(
        name="bias_activation",
        op=_core.bias_activation,
        reference=lambda x, bias, activation: ACTIVATIONS[activation](x + bias),
        calls=biased(),
        away=lambda x, bias, activation: np.min(np.abs(x + bias), initial=1.0) > 1e-3,
        dtypes=TO_FLOAT,
        bound=lambda y, x, bias, activation: 8 * (np.abs(x) + np.abs(bias) + np.abs(y)),
        gradients=(0, 1),
        # 1 - y**2 loses what y is short of 1.
        slope_noise=lambda x, bias, activation: 16.0 * (1 + x.size),
        alike=same_shapes(2, st.sampled_from(((1,), (3,), (17,))), activation="tanh"),
        special=True,
        zero_sign=False,
        errors=(
            Error(
                lambda: _core.bias_activation(ad.ones((2, 3)), ad.ones((2,)), "relu"),
                ValueError,
                r"bias_activation: the bias has shape \(2,\) but the input has shape \(2, 3\)",
            ),
            Error(
                lambda: _core.bias_activation(ad.ones((2, 3)), 1.0, "relu"),
                ValueError,
                r"bias_activation: the bias has shape \(\)",
            ),
            Error(
                lambda: _core.bias_activation(1.0, 1.0, "relu"),
                ValueError,
                r"bias_activation: .*the input has shape \(\)",
            ),
            Error(
                lambda: _core.bias_activation([1.0], [1.0], "gelu"),
                ValueError,
                "bias_activation: activation 'gelu' must be 'linear', 'relu', 'tanh' or 'sigmoid'",
            ),
        ),
    ),
    Spec(
        name="linear",
        op=_core.linear,
        reference=linear,
        calls=linears(),
        dtypes=TO_FLOAT,
        bound=of_linear,
        away=lambda x, kernel, bias, activation: (
            np.min(np.abs(x @ kernel + bias), initial=1.0) > 1e-3
        ),
        gradients=(0, 1, 2),
        slope_noise=lambda x, kernel, bias, **kwargs: (
            # 1 - y**2 loses what y is short of 1.
            16.0 * (1 + np.abs(x).sum() + np.abs(kernel).sum() + x.size + bias.size)
        ),
        special=True,
        zero_sign=False,
        errors=(
            Error(
                lambda: _core.linear(ad.ones((2, 3)), ad.ones((4, 5)), ad.ones(5)),
                ValueError,
                r"linear: an input of shape \(2, 3\), weights of shape \(4, 5\) .* do not match",
            ),
            Error(
                lambda: _core.linear(ad.ones((2, 3)), ad.ones((3, 5)), ad.ones(4)),
                ValueError,
                r"linear: .* a bias of shape \(4,\) do not match",
            ),
            Error(
                lambda: _core.linear(ad.ones((2, 3)), ad.ones((3, 5)), ad.ones(5), "gelu"),
                ValueError,
                "linear: activation 'gelu' must be",
            ),
        ),
    ),
    Spec(
        name="dropout",
        op=_core.dropout,
        reference=dropout,
        calls=calls(
            lambda s: st.fixed_dictionaries(
                {
                    "rate": st.sampled_from((0.5, 0.0, 0.25, 1.0)),
                    "seed": st.sampled_from((0, 2**64 - 1)),
                    "counter": st.sampled_from((0, 7, 2**64 - 1)),
                }
            )
        ),
        dtypes=TO_FLOAT,
        bound=relative(1),
        gradients=(0,),
        special=True,
        errors=(
            Error(
                lambda: _core.dropout([1.0], 1.5, 0, 0),
                ValueError,
                "dropout: rate=1.5 must be between 0 and 1",
            ),
            Error(lambda: _core.dropout([1.0], 0.5, -1, 0), OverflowError, "negative"),
        ),
    ),
)
