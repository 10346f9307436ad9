"""Cross-entropies, from logits and from probabilities."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan import _core
from autodan.testing import shapes
from opspecs.composed import EPSILON, row
from opspecs.nn import ROWS, log_softmax, of_range
from opspecs.spec import TO_FLOAT, Call, Error, Spec, axis_of, same_shapes

# Probabilities away from 0 and 1, where the losses clip them.
PROBABILITIES = (0.1, 0.9)
LABELS = "probabilities are clipped, and a label of 0 hides what they are"


@st.composite
def labelled(draw: st.DrawFn) -> Call:
    shape = draw(ROWS)
    batch = draw(st.sampled_from((shape[:-1], shape[:-1], (0, *shape[:-1]))))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = rng.integers(0, shape[-1], batch).astype(draw(st.sampled_from(("int64", "uint8"))))
    return Call(((*batch, shape[-1]),), {"labels": labels})


def sparse_cross_entropy(x, labels):
    return -np.take_along_axis(log_softmax(x), labels[..., None].astype(int), -1)[..., 0]


def cross_entropy(x, t):
    return -np.sum(t * log_softmax(x), axis=-1)


def of_cross_entropy(expected, x, t=None, labels=None):
    weight = 1.0 if t is None else np.sum(np.abs(t), axis=-1)
    return of_range(x) * weight + 4 * np.abs(expected)


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
    # The logarithm of a probability: of a sum and a quotient, or of a softmax of numbers below 1.
    return (output.shape[axis] + 8) * np.sum(np.abs(target), axis=axis) + 4 * np.abs(expected)


def binary(target, output, from_logits=False):
    if from_logits:
        return np.logaddexp(0.0, output) - target * output
    p = np.clip(output, EPSILON, 1 - EPSILON)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def of_binary(expected, target, output, from_logits=False):
    if from_logits:
        return 8 * (1 + np.abs(output) * (1 + np.abs(target)))
    # One minus epsilon is itself rounded, by half of what is as large as epsilon.
    p = np.clip(output, EPSILON, 1 - EPSILON)
    return 4 * (np.abs(target) / p + np.abs(1 - target) / (1 - p) + np.abs(expected))


@st.composite
def sparse_classified(draw: st.DrawFn) -> Call:
    shape = draw(ROWS.filter(lambda s: len(s) > 1))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = rng.integers(0, shape[-1], (*shape[:-1], 1) if draw(st.booleans()) else shape[:-1])
    place = draw(axis_of(shape))
    sides = list(shape[:-1])
    sides.insert(place % len(shape), shape[-1])
    return Call(
        (tuple(sides),),
        {
            "target": labels.astype(draw(st.sampled_from(("int64", "float32", "uint8")))),
            "from_logits": draw(st.booleans()),
            "axis": place,
        },
    )


def sparse_categorical(output, target, from_logits=False, axis=-1):
    output, target = np.moveaxis(output, axis, -1), target.astype(int)
    labels = target if target.ndim == output.ndim else target[..., None]
    p = log_softmax(output) if from_logits else np.log(np.clip(output, EPSILON, 1 - EPSILON))
    if not from_logits:
        p = log_softmax(p)
    return -np.take_along_axis(p, labels, -1)[..., 0]


def of_sparse(expected, output, target, from_logits=False, axis=-1):
    # The softmax of logarithms, which are -16 at the least.
    return output.shape[axis] + 40 + 4 * np.abs(expected)


SPECS = (
    Spec(
        name="sparse_softmax_cross_entropy",
        op=_core.sparse_softmax_cross_entropy,
        reference=sparse_cross_entropy,
        calls=labelled(),
        wide=((-40, 40),),
        dtypes=TO_FLOAT,
        bound=of_cross_entropy,
        gradients=(0,),
        # The softmax minus the target.
        slope_noise=lambda x, **kwargs: 2.0 * (x.shape[-1] + 16),
        special=True,
        zero_sign=False,
        errors=(
            Error(
                lambda: _core.sparse_softmax_cross_entropy(ad.ones((2, 3)), [0, 3]),
                ValueError,
                r"sparse_softmax_cross_entropy: label 3 \(at position 1\) is not a class: with 3",
            ),
            Error(
                lambda: _core.sparse_softmax_cross_entropy(ad.ones((2, 3)), [0, -1]),
                ValueError,
                r"sparse_softmax_cross_entropy: label -1 \(at position 1\)",
            ),
            Error(
                lambda: _core.sparse_softmax_cross_entropy(ad.ones((2, 3)), [0]),
                ValueError,
                r"sparse_softmax_cross_entropy: labels of shape \(1,\) do not fit .*\(2, 3\)",
            ),
            Error(
                lambda: _core.sparse_softmax_cross_entropy(ad.ones((2, 3)), [0.0, 1.0]),
                TypeError,
                "sparse_softmax_cross_entropy: expected integer labels, got float32",
            ),
        ),
    ),
    Spec(
        name="softmax_cross_entropy",
        op=_core.softmax_cross_entropy,
        reference=cross_entropy,
        calls=ROWS.map(lambda shape: Call((shape, shape))),
        domain=((-2, 2), (0, 1)),
        wide=((-40, 40), (0, 1)),
        dtypes=TO_FLOAT,
        bound=of_cross_entropy,
        gradients=(0, 1),
        slope_noise=lambda x, t: 2.0 * (x.shape[-1] + 16) * np.max(np.sum(t, -1), initial=1.0),
        alike=same_shapes(2, ROWS),
        special="a target of 0 times a logarithm of minus infinity",
        errors=(
            Error(
                lambda: _core.softmax_cross_entropy(ad.ones((2, 3)), ad.ones((2, 2))),
                ValueError,
                r"softmax_cross_entropy: targets of shape \(2, 2\) do not fit .*\(2, 3\)",
            ),
        ),
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
        dtypes=TO_FLOAT,
        bound=of_binary,
        # Targets over probabilities, which are at least 1/10.
        slope_noise=lambda t, y, from_logits: 8.0 if from_logits else 160.0,
        gradients=(0, 1),
        alike=same_shapes(2),
        mixes=None,
        special=LABELS,
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
        Error(
            lambda: ad.categorical_crossentropy([[1.0, 0.0]], [[0.5, 0.5]], axis=3),
            IndexError,
            "categorical_crossentropy: axis 3 is out of bounds for a tensor of 2 dimensions",
        ),
        domain=((0, 1), PROBABILITIES),
        dtypes=TO_FLOAT,
        bound=of_crossentropy,
        # Targets over probabilities, which are at least 1/10.
        slope_noise=lambda t, y, axis, **kwargs: 20 * (y.shape[axis] + 16),
        gradients=(0, 1),
        alike=same_shapes(2, ROWS),
        mixes=None,
        special=LABELS,
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
        Error(
            lambda: ad.sparse_categorical_crossentropy([0.5], [[0.5, 0.5]]),
            ValueError,
            r"sparse_categorical_crossentropy: label 0.5 \(at position \(0,\)\) is no whole number",
        ),
        Error(
            lambda: ad.sparse_categorical_crossentropy([2], [[0.5, 0.5]]),
            ValueError,
            r"label 2 \(at position 0\) is not a class: with 2 classes",
        ),
        Error(
            lambda: ad.sparse_categorical_crossentropy([0], [[0.5, 0.5]], axis=3),
            IndexError,
            "sparse_categorical_crossentropy: axis 3 is out of bounds for a tensor of 2 dimensions",
        ),
        op=lambda output, target, from_logits, axis: ad.sparse_categorical_crossentropy(
            target, output, from_logits, axis
        ),
        domain=(PROBABILITIES,),
        dtypes=TO_FLOAT,
        bound=of_sparse,
        slope_noise=lambda y, axis, **kwargs: 20 * (y.shape[axis] + 16),
        gradients=(0,),
        special=LABELS,
    ),
)
