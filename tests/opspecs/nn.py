"""Products, convolution, pooling, softmax, losses and normalization."""

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


def pads(n: int, window: int, stride: int, dilation: int, padding: Any, axis: int) -> Any:
    if padding == "same":
        reach = (window - 1) * dilation + 1
        total = max((-(-n // stride) - 1) * stride + reach - n, 0) if n else 0
        return total // 2, total - total // 2
    return (0, 0) if padding == "valid" else padding[axis]


def windows(x, size, strides, padding, dilation, value):
    """Yield the taps of a window: its place and the elements under it, shape (N, H, W, C)."""
    widths = [pads(x.shape[1 + a], size[a], strides[a], dilation[a], padding, a) for a in (0, 1)]
    padded = np.pad(x, ((0, 0), *widths, (0, 0)), constant_values=value)
    reach = [(size[a] - 1) * dilation[a] + 1 for a in (0, 1)]
    count = [max((padded.shape[1 + a] - reach[a]) // strides[a] + 1, 0) for a in (0, 1)]
    for i in range(size[0]):
        for j in range(size[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + count[0] * strides[0], strides[0])
            columns = slice(left, left + count[1] * strides[1], strides[1])
            yield i, j, padded[:, rows, columns][:, : count[0], : count[1]]


def conv2d(x, kernel, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1):
    depth, filters = kernel.shape[2], kernel.shape[3] // groups
    total = 0.0
    for i, j, taps in windows(x, kernel.shape[:2], strides, padding, dilation, 0):
        parts = [
            taps[..., g * depth : (g + 1) * depth]
            @ kernel[i, j, :, g * filters : (g + 1) * filters]
            for g in range(groups)
        ]
        total = total + np.concatenate(parts, axis=-1)
    return total


def of_conv2d(expected, x, kernel, **kwargs):
    return (kernel[..., 0].size + 2) * conv2d(np.abs(x), np.abs(kernel), **kwargs)


@st.composite
def convolutions(draw: st.DrawFn) -> Call:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    size, strides = draw(pair), draw(pair)
    dilation = draw(st.sampled_from(((1, 1), (1, 1), (2, 1), (2, 2))))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    depth, filters = draw(
        st.sampled_from(((1, 1), (3, 4), (2, 1), (1, 8), (5, 17), (16, 3), (0, 2)))
    )
    explicit = st.tuples(st.tuples(*[st.integers(0, 2)] * 2), st.tuples(*[st.integers(0, 2)] * 2))
    padding = draw(st.one_of(st.sampled_from(("valid", "same")), explicit))
    # At least one window, and a little more.
    more = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    sides = tuple((size[a] - 1) * dilation[a] + 1 + more[a] for a in (0, 1))
    batch = draw(st.sampled_from((1, 2, 0, 3)))
    kwargs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    return Call(((batch, *sides, depth * groups), (*size, depth, filters * groups)), kwargs)


def max_pool2d(x, pool_size, strides=None, padding="valid"):
    taps = windows(x, pool_size, strides or pool_size, padding, (1, 1), -np.inf)
    return np.max([tap for _, _, tap in taps], axis=0)


def average_pool2d(x, pool_size, strides=None, padding="valid"):
    strides = strides or pool_size
    total = sum(tap for _, _, tap in windows(x, pool_size, strides, padding, (1, 1), 0))
    ones = windows(np.ones_like(x), pool_size, strides, padding, (1, 1), 0)
    return total / sum(tap for _, _, tap in ones)


def of_average_pool(expected, x, **kwargs):
    return 12 * average_pool2d(np.abs(x), **kwargs)


@st.composite
def poolings(draw: st.DrawFn) -> Call:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    size = draw(pair)
    pads_ = st.tuples(*(st.tuples(*[st.integers(0, side - 1)] * 2) for side in size))
    padding = draw(st.one_of(st.sampled_from(("valid", "same")), pads_))
    more = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    channels = draw(st.sampled_from((1, 3, 8, 17, 0)))
    shape = (draw(st.sampled_from((1, 2, 0))), size[0] + more[0], size[1] + more[1], channels)
    kwargs = {"pool_size": size, "strides": draw(st.none() | pair), "padding": padding}
    return Call((shape,), kwargs)


def windows_of_ops(call: Call) -> Call:
    """Return the call as the functions of `keras.ops` have it: they know two paddings."""
    kwargs = dict(call.kwargs)
    if not isinstance(kwargs["padding"], str):
        kwargs["padding"] = "same"
    if "dilation" in kwargs:
        kwargs["dilation_rate"] = kwargs.pop("dilation")
        del kwargs["groups"]
    return Call(call.shapes, kwargs)


def grouped(x, kernel, dilation_rate, **kwargs):
    groups = x.shape[-1] // kernel.shape[2]
    return conv2d(x, kernel, dilation=dilation_rate, groups=groups, **kwargs)


def log_softmax(x, axis=-1):
    axis = axis if isinstance(axis, int) else tuple(axis)
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def softmax(x, axis=-1):
    return np.exp(log_softmax(x, axis))


def of_range(x: Any, axis: Any = -1) -> Any:
    """Roundings of a row's softmax: those of its sum, and of the differences in its exponents."""
    sides = np.take(np.shape(x), axis)
    return int(np.prod(sides)) + 8 + np.max(np.abs(x), initial=0.0) * 2


def over_axes(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    several = st.sets(st.integers(0, len(shape) - 1), min_size=1).map(lambda s: tuple(sorted(s)))
    return st.one_of(axis_of(shape), several).map(lambda axis: {"axis": axis})


ROWS = shapes(min_dims=1, max_dims=4, max_size=300, sides=(1, 2, 3, 7, 8, 9, 16, 17, 33))


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
    return of_range(x) * weight * (1 + np.max(np.abs(x), axis=-1) + math.log(x.shape[-1]))


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


def dropout(x, rate, seed, counter):
    return x * _core.dropout(np.ones(x.shape), rate, seed, counter).numpy()


IMAGES = ad.ones((1, 4, 4, 2))


def pool_errors(name: str, op: Any) -> tuple[Error, ...]:
    return (
        Error(lambda: op(ad.ones((4, 4)), 2), ValueError, rf"{name}: .*\(4, 4\)"),
        Error(
            lambda: op(IMAGES, 5),
            ValueError,
            rf"{name}: a window with a height of 5 .*\(1, 4, 4, 2\)",
        ),
        Error(lambda: op(IMAGES, 0), ValueError, "pool_size.*at least 1|integer of 1 or more"),
        Error(lambda: op(IMAGES, 2, 0), ValueError, "strides.*at least 1|integer of 1 or more"),
        Error(lambda: op(IMAGES, 2, 1, "full"), ValueError, "padding 'full' must be 'valid'"),
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
    Spec(
        name="conv2d",
        op=_core.conv2d,
        reference=conv2d,
        calls=convolutions(),
        dtypes=TO_FLOAT,
        bound=of_conv2d,
        gradients=(0, 1),
        errors=(
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((3, 3, 1, 4))),
                ValueError,
                r"conv2d: the input of shape \(1, 4, 4, 2\) has 2 channels.*\(3, 3, 1, 4\) takes 1",
            ),
            Error(
                lambda: _core.conv2d(ad.ones((4, 4)), ad.ones((3, 3, 1, 4))),
                ValueError,
                r"conv2d: expected images .* got \(4, 4\) and \(3, 3, 1, 4\)",
            ),
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((5, 3, 2, 4))),
                ValueError,
                r"conv2d: a window with a height of 5 does not fit .*\(1, 4, 4, 2\)",
            ),
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((1, 1, 2, 4)), groups=3),
                ValueError,
                "conv2d: groups=3 must divide both the 2 input channels and the 4 filters",
            ),
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((1, 1, 2, 4)), strides=0),
                ValueError,
                r"conv2d: strides \[0, 0\] must be at least 1",
            ),
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((1, 1, 2, 4)), dilation=(1, -1)),
                ValueError,
                "must not be negative",
            ),
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((1, 1, 2, 4)), padding="full"),
                ValueError,
                "padding 'full' must be 'valid', 'same'",
            ),
            Error(
                lambda: _core.conv2d(
                    IMAGES, ad.ones((1, 1, 2, 4)), padding=((2**63, 2**63), (0, 0))
                ),
                ValueError,
                "conv2d: .*address space",
            ),
        ),
    ),
    Spec(
        name="conv",
        op=ad.conv,
        reference=grouped,
        calls=convolutions().filter(lambda c: c.shapes[1][2] > 0).map(windows_of_ops),
        dtypes=TO_FLOAT,
        bound=lambda y, x, k, dilation_rate, **kwargs: (
            (k[..., 0].size + 2) * grouped(np.abs(x), np.abs(k), dilation_rate, **kwargs)
        ),
        gradients=(0, 1),
        errors=(
            Error(
                lambda: ad.conv(IMAGES, ad.ones((3, 3, 3, 4))),
                ValueError,
                r"conv: kernel of shape \(3, 3, 3, 4\) does not fit inputs of shape \(1, 4, 4, 2\)",
            ),
            Error(lambda: ad.conv(ad.ones((4, 4)), ad.ones((3, 3, 1, 4))), ValueError, "conv: "),
        ),
    ),
    *(
        Spec(
            name=name,
            op=op,
            reference=reference,
            calls=strategy,
            dtypes=TO_FLOAT,
            bound=bound,
            gradients=(0,),
            distinct=True,
            second=bound is not None,
            errors=pool_errors(name, op) if name.endswith("2d") else (),
        )
        for name, op, reference, strategy, bound in (
            ("max_pool2d", _core.max_pool2d, max_pool2d, poolings(), None),
            ("average_pool2d", _core.average_pool2d, average_pool2d, poolings(), of_average_pool),
            ("max_pool", ad.max_pool, max_pool2d, poolings().map(windows_of_ops), None),
            (
                "average_pool",
                ad.average_pool,
                average_pool2d,
                poolings().map(windows_of_ops),
                of_average_pool,
            ),
        )
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
            ("log_softmax", log_softmax, lambda y, x, axis=-1: of_range(x, axis) * (1 + np.abs(y))),
        )
    ),
    Spec(
        name="sparse_softmax_cross_entropy",
        op=_core.sparse_softmax_cross_entropy,
        reference=sparse_cross_entropy,
        calls=labelled(),
        wide=((-40, 40),),
        dtypes=TO_FLOAT,
        bound=of_cross_entropy,
        gradients=(0,),
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
        errors=(
            Error(
                lambda: _core.softmax_cross_entropy(ad.ones((2, 3)), ad.ones((2, 2))),
                ValueError,
                r"softmax_cross_entropy: targets of shape \(2, 2\) do not fit .*\(2, 3\)",
            ),
        ),
    ),
    Spec(
        name="batch_norm",
        op=batch_norm_op,
        reference=batch_norm,
        calls=normalizations(),
        dtypes=TO_FLOAT,
        bound=of_batch_norm,
        gradients=(0, 1, 2),
        second=False,
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
