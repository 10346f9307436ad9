"""Functions of `autodan.ops` that are composed of the core's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import shapes
from opspecs.nn import ROWS, log_softmax
from opspecs.reduce import of_largest, of_sum, reductions
from opspecs.shape import calls
from opspecs.spec import (
    FLOATS,
    SAME,
    TO_BOOL,
    TO_FLOAT,
    TO_INT64,
    Call,
    Error,
    Shape,
    Spec,
    axis_of,
    elementwise,
    relative,
)
from opspecs.unary import sigmoid

EPSILON = 1e-7
# Probabilities away from 0 and 1, where the losses clip them.
PROBABILITIES = (0.1, 0.9)
FRACTIONS = {dtype: dtype for dtype in FLOATS}


def row(name: str, reference: Any, strategy: Any, *errors: Error, **more: Any) -> Spec:
    return Spec(
        name=name,
        op=more.pop("op", None) or getattr(ad, name),
        reference=reference,
        calls=strategy,
        errors=errors,
        **more,
    )


@st.composite
def weighted(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=3, max_size=200, sides=(1, 2, 3, 7, 9)))
    axis = draw(st.none() | axis_of(shape))
    weights = (shape[axis],) if axis is not None and draw(st.booleans()) else shape
    return Call((shape, weights), {"axis": axis})


def average(x, weights, axis):
    return np.average(x, axis=axis, weights=weights)


def of_average(expected, x, weights, axis):
    return (2 * x.size + 4) * np.max(np.abs(x)) * np.ones_like(expected)


@st.composite
def normalized(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=4, max_size=200))
    axis = draw(axis_of(shape))
    side = (shape[axis],)
    return Call((shape, side, side, side, side), {"axis": axis, "epsilon": 1e-3})


def batch_normalization(x, mean, variance, offset, scale, axis, epsilon):
    def along(v):
        return np.reshape(v, [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])

    y = (x - along(mean)) / np.sqrt(along(variance) + epsilon)
    return y * along(scale) + along(offset)


def norm(x, ord=None, axis=None, keepdims=False):
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == math.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    power = 2 if ord in (None, 2, "fro") else ord
    return np.sum(np.abs(x) ** power, axis=axis, keepdims=keepdims) ** (1 / power)


def with_order(call: Call) -> st.SearchStrategy[Call]:
    orders = st.sampled_from((None, 1, 2, math.inf, "fro", 3))
    return orders.map(lambda order: Call(call.shapes, {**call.kwargs, "ord": order}))


def of_norm(expected, x, ord=None, axis=None, keepdims=False):
    return (x.size + 16) * np.abs(expected)


def normalize(x, axis=-1, order=2):
    return x / np.maximum(norm(x, order, axis, True), EPSILON)


def isclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    return np.isclose(a, b, rtol, atol, equal_nan)


def halves(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    even = [axis for axis, side in enumerate(shape) if side % 2 == 0]
    return st.sampled_from(even).map(lambda axis: {"axis": axis})


def glu(x, axis=-1):
    value, gate = np.split(x, 2, axis)
    return value * sigmoid(gate)


@st.composite
def dots(draw: st.DrawFn) -> Call:
    k = draw(st.sampled_from((1, 2, 9, 0)))
    left = draw(st.sampled_from(((), (k,), (3, k), (2, 3, k))))
    right = draw(st.sampled_from(((), (k,), (k, 4), (2, k, 4))))
    return Call((left, right))


@st.composite
def contractions(draw: st.DrawFn) -> Call:
    a, b, c, d = (draw(st.sampled_from((1, 2, 3, 7))) for _ in range(4))
    return draw(
        st.sampled_from(
            (
                Call(((a, b, c), (b, c, d)), {"axes": 2}),
                Call(((a, b), (b, c)), {"axes": 1}),
                Call(((a, b), (c, d)), {"axes": 0}),
                Call(((a, b, c), (c, d, a)), {"axes": [[0, 2], [2, 0]]}),
                Call(((a, b), (c, b)), {"axes": [-1, -1]}),
            )
        )
    )


def tensordot(a, b, axes):
    return np.tensordot(a, b, axes)


def of_tensordot(expected, a, b, axes):
    return (a.size + 1) * np.tensordot(np.abs(a), np.abs(b), axes)


def of_dot(expected, a, b):
    return (a.size + 1) * np.dot(np.abs(a), np.abs(b))


@st.composite
def classified(draw: st.DrawFn) -> Call:
    shape = draw(ROWS.filter(lambda s: len(s) > 1))
    logits = draw(st.booleans())
    axis = draw(axis_of(shape))
    return Call((shape, shape), {"from_logits": logits, "axis": axis})


def probabilities(output, from_logits, axis):
    if from_logits:
        return log_softmax(output, axis)
    return np.log(np.clip(output / output.sum(axis, keepdims=True), EPSILON, 1 - EPSILON))


def categorical(target, output, from_logits=False, axis=-1):
    return -np.sum(target * probabilities(output, from_logits, axis), axis=axis)


def of_crossentropy(expected, target, output, from_logits=False, axis=-1):
    # One minus epsilon is itself rounded: an error of one half in what is as large as epsilon.
    return (output.shape[axis] + 8) * (np.sum(np.abs(target), axis=axis) * 20 + np.abs(expected))


def binary(target, output, from_logits=False):
    if from_logits:
        return np.logaddexp(0.0, output) - target * output
    p = np.clip(output, EPSILON, 1 - EPSILON)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def of_binary(expected, target, output, from_logits=False):
    return 8 * (1 + np.abs(output) + np.abs(expected)) * 20


@st.composite
def sparse_classified(draw: st.DrawFn) -> Call:
    shape = draw(ROWS.filter(lambda s: len(s) > 1))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = rng.integers(0, shape[-1], (*shape[:-1], 1) if draw(st.booleans()) else shape[:-1])
    return Call((shape,), {"target": labels, "from_logits": draw(st.booleans())})


def sparse_categorical(output, target, from_logits=False):
    labels = target if target.ndim == output.ndim else target[..., None]
    p = log_softmax(output) if from_logits else np.log(np.clip(output, EPSILON, 1 - EPSILON))
    if not from_logits:
        p = log_softmax(p)
    return -np.take_along_axis(p, labels, -1)[..., 0]


def of_sparse(expected, output, target, from_logits=False):
    return (output.shape[-1] + 8) * (20 + np.abs(expected))


SPECS = (
    row(
        "average",
        average,
        weighted(),
        op=lambda x, weights, axis: ad.average(x, axis, weights),
        domain=((-2, 2), (0.5, 2)),
        dtypes={**TO_FLOAT, "bool": TypeError},
        bound=of_average,
        gradients=(0, 1),
    ),
    row(
        "batch_normalization",
        batch_normalization,
        normalized(),
        op=lambda x, mean, variance, offset, scale, axis, epsilon: ad.batch_normalization(
            x, mean, variance, axis, offset, scale, epsilon
        ),
        domain=((-2, 2), (-2, 2), (0.5, 2), (-2, 2)),
        dtypes=TO_FLOAT,
        bound=lambda y, x, mean, variance, offset, scale, **kwargs: 24 + np.abs(y) * 8,
        gradients=(0, 1, 2, 3, 4),
    ),
    row(
        "binary_crossentropy",
        binary,
        shapes(max_size=200).flatmap(
            lambda s: st.booleans().map(lambda logits: Call((s, s), {"from_logits": logits}))
        ),
        Error(
            lambda: ad.binary_crossentropy([1.0], [[0.5]]),
            ValueError,
            r"binary_crossentropy: labels of shape \(1,\) and outputs of shape \(1, 1\)",
        ),
        domain=((0, 1), PROBABILITIES),
        dtypes=FRACTIONS,
        bound=of_binary,
        gradients=(0, 1),
    ),
    row(
        "categorical_crossentropy",
        categorical,
        classified(),
        Error(
            lambda: ad.categorical_crossentropy([1], [[0.5, 0.5]]),
            ValueError,
            r"categorical_crossentropy: labels of shape \(1,\) do not fit .*\(1, 2\)",
        ),
        domain=((0, 1), PROBABILITIES),
        dtypes=FRACTIONS,
        bound=of_crossentropy,
        gradients=(0, 1),
    ),
    row(
        "sparse_categorical_crossentropy",
        sparse_categorical,
        sparse_classified(),
        Error(
            lambda: ad.sparse_categorical_crossentropy([0, 1], [[0.5, 0.5]]),
            ValueError,
            r"sparse_categorical_crossentropy: labels of shape \(2,\) do not fit outputs",
        ),
        op=lambda output, target, from_logits: ad.sparse_categorical_crossentropy(
            target, output, from_logits
        ),
        domain=(PROBABILITIES,),
        dtypes=FRACTIONS,
        bound=of_sparse,
        gradients=(0,),
    ),
    row(
        "count_nonzero",
        lambda x, axis: np.count_nonzero(x, axis=axis),
        reductions().map(lambda call: Call(call.shapes, {"axis": call.kwargs["axis"]})),
        domain=((-1, 1),),
        dtypes=TO_INT64,
    ),
    row(
        "divide_no_nan",
        lambda a, b: np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b)),
        elementwise(2),
        domain=((-2, 2), (0, 2)),
        kinks=(0,),
        dtypes=TO_FLOAT,
        bound=relative(1),
        gradients=(0, 1),
        away=lambda a, b: bool((np.abs(b) > 0.3).all()),
    ),
    row(
        "dot",
        np.dot,
        dots(),
        dtypes={**SAME, "bool": TypeError},
        bound=of_dot,
        gradients=(0, 1),
    ),
    row(
        "glu",
        glu,
        calls(
            halves, shapes(min_dims=1, max_size=200).filter(lambda s: any(n % 2 == 0 for n in s))
        ),
        Error(lambda: ad.glu([1.0, 2.0, 3.0]), ValueError, "cannot be divided into 2 equal parts"),
        dtypes=TO_FLOAT,
        bound=relative(5),
        gradients=(0,),
    ),
    row(
        "isclose",
        isclose,
        elementwise(2, ({}, {"rtol": 0.5}, {"atol": 1.0})),
        dtypes=TO_BOOL,
    ),
    row(
        "moments",
        lambda x, axes, keepdims: (
            np.mean(x, axis=axes, keepdims=keepdims),
            np.var(x, axis=axes, keepdims=keepdims),
        ),
        reductions(empty=False).map(
            lambda c: Call(c.shapes, {"axes": c.kwargs["axis"], "keepdims": c.kwargs["keepdims"]})
        ),
        dtypes=TO_FLOAT,
        bound=lambda y, x, axes, keepdims: (
            of_largest(1)(y[0], x, axes, keepdims),
            of_largest(2)(y[1], x, axes, keepdims),
        ),
        gradients=(0,),
    ),
    row(
        "norm",
        norm,
        reductions(empty=False, max_size=100).flatmap(with_order),
        Error(lambda: ad.norm([1.0], ord="nuc"), ValueError, "norm: `ord` must be.*'nuc'"),
        domain=((0.5, 2),),
        dtypes=TO_FLOAT,
        bound=of_norm,
        gradients=(0,),
        distinct=True,
    ),
    row(
        "normalize",
        normalize,
        calls(
            lambda s: axis_of(s).map(lambda axis: {"axis": axis}),
            shapes(min_dims=1, max_size=200),
        ),
        domain=((0.5, 2),),
        dtypes=TO_FLOAT,
        bound=lambda y, x, axis: (x.shape[axis] + 8) * np.abs(y),
        gradients=(0,),
    ),
    row(
        "outer",
        np.outer,
        st.tuples(shapes(max_size=30), shapes(max_size=30)).map(lambda pair: Call(pair)),
        dtypes={**SAME, "bool": TypeError},
        bound=relative(1),
        gradients=(0, 1),
    ),
    row(
        "vdot",
        np.vdot,
        shapes(max_size=200).map(lambda s: Call((s, s))),
        dtypes={**TO_INT64, **FRACTIONS, "bool": TypeError},
        bound=lambda y, a, b: of_sum(y, a * b),
        gradients=(0, 1),
    ),
    row(
        "tensordot",
        tensordot,
        contractions(),
        Error(
            lambda: ad.tensordot(ad.ones((2, 3)), ad.ones((2, 3)), 1),
            ValueError,
            r"tensordot: axes \[1\] of shape \(2, 3\) and axes \[0\] of shape \(2, 3\)",
        ),
        dtypes={**SAME, "bool": TypeError},
        bound=of_tensordot,
        gradients=(0, 1),
    ),
    row(
        "threshold",
        lambda x, threshold, default_value: np.where(x > threshold, x, default_value),
        shapes(max_size=200).map(lambda s: Call((s,), {"threshold": 0.5, "default_value": 1})),
        kinks=(0.5,),
        dtypes={**SAME, "bool": "int64"},
        gradients=(0,),
    ),
)
