"""Functions of `autodan.ops` that are composed of the core's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import shapes
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
    same_shapes,
)
from opspecs.unary import sigmoid

EPSILON = 1e-7
FRACTIONS = {dtype: dtype for dtype in FLOATS}


X = ad.ones((2, 3))
# The products themselves are compared by matmul, whose reference has no such shortcut.
SKIPS = "np.dot skips a factor of a single zero: times an infinity it is 0 there, not NaN"


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
    return Call((shape, weights) if draw(st.integers(0, 3)) else (shape,), {"axis": axis})


def average(x, weights=None, axis=None):
    return np.average(x, axis=axis, weights=weights)


def of_average(expected, x, weights=None, axis=None):
    return (2 * x.size + 4) * np.max(np.abs(x)) * np.ones_like(expected)


@st.composite
def normalized(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=4, max_size=200))
    axis = draw(axis_of(shape))
    side = (shape[axis],)
    affine = draw(st.sampled_from(((True, True), (True, False), (False, True), (False, False))))
    epsilon = draw(st.sampled_from((1e-3, 0.5)))
    kwargs = {"affine": affine, "axis": axis, "epsilon": epsilon}
    return Call((shape, side, side, *(side for given in affine if given)), kwargs)


def optional(parameters: Any, affine: tuple[bool, bool], default: Any) -> Any:
    """Yield offset and scale, the default for those that are not given."""
    rest = iter(parameters)
    return [
        next(rest) if given else fallback for given, fallback in zip(affine, default, strict=True)
    ]


def batch_normalization_op(x, mean, variance, *parameters, affine, axis, epsilon):
    offset, scale = optional(parameters, affine, (None, None))
    return ad.batch_normalization(x, mean, variance, axis, offset, scale, epsilon)


def batch_normalization(x, mean, variance, *parameters, affine, axis, epsilon):
    offset, scale = optional(parameters, affine, (np.zeros(1), np.ones(1)))

    def along(v):
        return np.reshape(v, [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])

    y = (x - along(mean)) / np.sqrt(along(variance) + epsilon)
    return y * along(scale) + along(offset)


def of_batch_normalization(expected, x, mean, variance, *parameters, **kwargs):
    # The sum of the magnitudes of what is added up, each a product of three rounded factors.
    sizes = (np.abs(p) for p in parameters)
    return 8 * batch_normalization(np.abs(x), -np.abs(mean), variance, *sizes, **kwargs)


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


def normalize(x, axis=-1, order=2, epsilon=None):
    return x / np.maximum(norm(x, order, axis, True), EPSILON if epsilon is None else epsilon)


def with_order_and_epsilon(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "axis": axis_of(shape),
            "order": st.sampled_from((2, 1, 3)),
            "epsilon": st.sampled_from((None, 1e-3, 50.0)),
        }
    )


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
    return float(a.size + 1) * np.tensordot(np.abs(a), np.abs(b), axes)


def of_dot(expected, a, b):
    return float(a.size + 1) * np.dot(np.abs(a), np.abs(b))


SPECS = (
    row(
        "average",
        average,
        weighted(),
        Error(
            lambda: ad.average(X, 1, [1.0, 2.0]),
            ValueError,
            r"average: weights of shape \(2,\) do not fit .*\(2, 3\).*\(3,\)",
        ),
        Error(lambda: ad.average(X, None, [1.0]), ValueError, r"average: weights of shape \(1,\)"),
        Error(lambda: ad.average(X, 2, X), IndexError, "average: axis 2 is out of bounds"),
        op=lambda x, *weights, axis: ad.average(x, axis, *weights),
        alike=same_shapes(2, axis=None).filter(lambda call: 0 not in call.shapes[0]),
        special="a weight of 0 times an infinity, and a sum of weights of 0",
        domain=((-2, 2), (0.5, 2)),
        dtypes=TO_FLOAT,
        bound=of_average,
        # Weights are at least 1/2, and so are their sums.
        slope_noise=lambda x, *weights, axis: 4 * (x.size + 16) * np.max(np.abs(x)),
        gradients=(0, 1),
    ),
    row(
        "batch_normalization",
        batch_normalization,
        normalized(),
        Error(
            lambda: ad.batch_normalization(X, [0.0], [1.0] * 3, axis=1),
            ValueError,
            r"batch_normalization: mean of shape \(1,\) does not fit .*\(2, 3\).*\(3,\)",
        ),
        Error(
            lambda: ad.batch_normalization(X, [0.0] * 3, [1.0] * 3, axis=1, scale=[1.0, 2.0]),
            ValueError,
            r"batch_normalization: scale of shape \(2,\)",
        ),
        Error(
            lambda: ad.batch_normalization(X, [0.0] * 3, [1.0] * 3, axis=3),
            IndexError,
            "batch_normalization: axis 3 is out of bounds for a tensor of 2 dimensions",
        ),
        op=batch_normalization_op,
        # The parameters meet each other before they meet x.
        mixes=None,
        alike=same_shapes(
            5,
            st.sampled_from(((1,), (3,), (9,), (17,))),
            affine=(True, True),
            axis=0,
            epsilon=0.5,
        ),
        special="the order of the multiplications decides which of them overflows",
        domain=((-2, 2), (-2, 2), (0.5, 2), (-2, 2)),
        dtypes=TO_FLOAT,
        bound=of_batch_normalization,
        slope_noise=lambda x, *parameters, **kwargs: 16.0 * (x.size + 16),
        gradients=(0, 1, 2, 3, 4),
    ),
    row(
        "count_nonzero",
        lambda x, axis: np.count_nonzero(x, axis=axis),
        reductions().map(lambda call: Call(call.shapes, {"axis": call.kwargs["axis"]})),
        Error(lambda: ad.count_nonzero(X, 2), IndexError, "axis 2 is out of bounds"),
        Error(lambda: ad.count_nonzero(X, (0, 0)), ValueError, "axis 0 is named twice"),
        domain=((-1, 1),),
        dtypes=TO_INT64,
        special=True,
        subnormals=True,
    ),
    row(
        "dot",
        np.dot,
        dots(),
        Error(
            lambda: ad.dot(X, X),
            ValueError,
            r"matmul: shapes \(2, 3\) and \(2, 3\) do not match",
        ),
        Error(lambda: ad.dot(X, ad.ones((2, 2, 2))), ValueError, r"tensordot: .*\(2, 2, 2\)"),
        alike=same_shapes(2, st.sampled_from(((), (3,), (9, 9), (2, 2, 2)))),
        special=SKIPS,
        zero_sign=False,
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
        Error(lambda: ad.glu([1.0, 2.0, 3.0]), ValueError, r"glu: axis -1 of shape \(3,\) .*even"),
        Error(lambda: ad.glu(X, axis=5), IndexError, "glu: axis 5 is out of bounds"),
        special=True,
        dtypes=TO_FLOAT,
        bound=relative(5),
        gradients=(0,),
    ),
    row(
        "isclose",
        isclose,
        elementwise(2, ({}, {"rtol": 0.5}, {"atol": 1.0}, {"equal_nan": True})),
        Error(lambda: ad.isclose(X, ad.ones((2, 2))), ValueError, r"shapes \(2, 3\) and \(2, 2\)"),
        Error(lambda: ad.isclose(X, X, rtol="a"), TypeError, "cannot make a tensor of <U1"),
        dtypes=TO_BOOL,
        alike=same_shapes(2),
        special=True,
        subnormals=True,
    ),
    row(
        "moments",
        lambda x, axes, keepdims, synchronized: (
            np.mean(x, axis=axes, keepdims=keepdims),
            np.var(x, axis=axes, keepdims=keepdims),
        ),
        reductions(empty=False).map(
            lambda c: Call(
                c.shapes,
                {
                    "axes": c.kwargs["axis"],
                    "keepdims": c.kwargs["keepdims"],
                    "synchronized": c.kwargs["keepdims"],
                },
            )
        ),
        Error(lambda: ad.moments(X, 2), IndexError, "axis 2 is out of bounds"),
        Error(lambda: ad.moments(X, (0, 0)), ValueError, "axis 0 is named twice"),
        dtypes=TO_FLOAT,
        bound=lambda y, x, axes, keepdims, synchronized: (
            of_largest(1)(y[0], x, axes, keepdims),
            of_largest(2)(y[1], x, axes, keepdims),
        ),
        gradients=(0,),
        special="compared by mean and var",
    ),
    row(
        "norm",
        norm,
        reductions(empty=False, max_size=100).flatmap(with_order),
        Error(lambda: ad.norm([1.0], ord="nuc"), ValueError, "norm: `ord` must be.*'nuc'"),
        Error(lambda: ad.norm([1.0], ord=0), ValueError, "norm: `ord` must be.*above 0.*0"),
        Error(lambda: ad.norm(X, axis=2), IndexError, "axis 2 is out of bounds"),
        domain=((0.5, 2),),
        dtypes=TO_FLOAT,
        bound=of_norm,
        gradients=(0,),
        special="squares and powers leave the range before the root",
        distinct=True,
    ),
    row(
        "normalize",
        normalize,
        calls(
            with_order_and_epsilon,
            shapes(min_dims=1, max_size=200),
        ),
        Error(lambda: ad.normalize(X, axis=2), IndexError, "axis 2 is out of bounds"),
        Error(lambda: ad.normalize(X, order="a"), ValueError, "norm: `ord` must be.*'a'"),
        special="squares and powers leave the range before the root",
        domain=((0.5, 2),),
        dtypes=TO_FLOAT,
        bound=lambda y, x, axis, **kwargs: (x.shape[axis] + 8) * np.abs(y),
        # Norms are at least 1/2, and elements at most their norm.
        slope_noise=lambda x, axis, **kwargs: 4 * (x.shape[axis] + 16),
        gradients=(0,),
    ),
    row(
        "outer",
        np.outer,
        st.tuples(shapes(max_size=30), shapes(max_size=30)).map(lambda pair: Call(pair)),
        Error(lambda: ad.outer(X, None), TypeError, "cannot make a tensor of"),
        alike=same_shapes(2, shapes(max_size=20)),
        special=True,
        dtypes={**SAME, "bool": TypeError},
        bound=relative(1),
        gradients=(0, 1),
    ),
    row(
        "vdot",
        np.vdot,
        shapes(max_size=200).map(lambda s: Call((s, s))),
        Error(
            lambda: ad.vdot(X, ad.ones((2, 2))),
            ValueError,
            r"vdot: tensors of shapes \(2, 3\) and \(2, 2\) have 6 and 4 elements",
        ),
        alike=same_shapes(2),
        special=True,
        zero_sign=False,
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
        Error(
            lambda: ad.tensordot(X, X, 3),
            ValueError,
            r"tensordot: axes=3 .* 0 to 2 .*\(2, 3\) and \(2, 3\)",
        ),
        Error(lambda: ad.tensordot(X, X, -1), ValueError, "tensordot: axes=-1"),
        Error(lambda: ad.tensordot(X, X, [[5], [0]]), IndexError, "tensordot: axis 5 is out of"),
        Error(lambda: ad.tensordot(X, X, [[0, 0], [0, 0]]), ValueError, "axis 0 is named twice"),
        Error(lambda: ad.tensordot(X, X, "ab"), TypeError, "tensordot: axis .*'a'"),
        Error(lambda: ad.tensordot(X, X, [0]), ValueError, r"tensordot: axes .*two.*\[0\]"),
        alike=same_shapes(2, st.sampled_from(((3,), (9, 9), (2, 2, 2))), axes=1),
        dtypes={**SAME, "bool": TypeError},
        special=SKIPS,
        zero_sign=False,
        bound=of_tensordot,
        gradients=(0, 1),
    ),
    row(
        "threshold",
        lambda x, threshold, default_value: np.where(x > threshold, x, default_value),
        calls(
            lambda s: st.fixed_dictionaries(
                {
                    "threshold": st.sampled_from((0.5, -0.5)),
                    "default_value": st.sampled_from((1, 3)),
                }
            )
        ),
        Error(lambda: ad.threshold(X, "a", 1), TypeError, "cannot make a tensor of <U1"),
        Error(lambda: ad.threshold(X, 0.5, None), TypeError, "cannot make a tensor of"),
        kinks=(0.5, -0.5),
        slopes={0.5: lambda threshold, **_: float(threshold < 0), -0.5: 0},
        special=True,
        subnormals=True,
        dtypes={**SAME, "bool": "int64"},
        gradients=(0,),
    ),
)
