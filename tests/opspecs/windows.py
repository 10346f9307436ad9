"""Convolution and pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan import _core
from opspecs.nn import ACTIVATIONS
from opspecs.spec import TO_FLOAT, Call, Error, Spec, same_shapes


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
    # Rows of padding are skipped: not even zero times NaN comes from them.
    rows = pads(x.shape[1], kernel.shape[0], strides[0], dilation[0], padding, 0)
    inside = np.pad(np.ones(x.shape[1], bool), rows)
    total = 0.0
    for i, j, taps in windows(x, kernel.shape[:2], strides, padding, dilation, 0):
        parts = [
            taps[..., g * depth : (g + 1) * depth]
            @ kernel[i, j, :, g * filters : (g + 1) * filters]
            for g in range(groups)
        ]
        seen = inside[i * dilation[0] :][:: strides[0]][: taps.shape[1], None, None]
        total = total + np.where(seen, np.concatenate(parts, axis=-1), 0)
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


@st.composite
def biased_convolutions(draw: st.DrawFn) -> Call:
    call = draw(convolutions())
    activation = draw(st.sampled_from(tuple(ACTIVATIONS)))
    return Call((*call.shapes, call.shapes[1][3:]), {**call.kwargs, "activation": activation})


def conv2d_bias(x, kernel, bias, activation="linear", **kwargs):
    return ACTIVATIONS[activation](conv2d(x, kernel, **kwargs) + bias)


def of_conv2d_bias(expected, x, kernel, bias, activation="linear", **kwargs):
    # No activation has a slope above 1; evaluating one costs a few roundings of its value.
    z = conv2d(np.abs(x), np.abs(kernel), **kwargs) + np.abs(bias)
    return (kernel[..., 0].size + 3) * z + 8 * np.abs(expected)


def max_pool2d(x, pool_size, strides=None, padding="valid"):
    taps = windows(x, pool_size, strides or pool_size, padding, (1, 1), -np.inf)
    return np.max([tap for _, _, tap in taps], axis=0)


def conv2d_max_pool(x, kernel, bias, **kwargs):
    return max_pool2d(conv2d_bias(x, kernel, bias, **kwargs), (2, 2))


def of_conv2d_max_pool(expected, x, kernel, bias, activation="linear", **kwargs):
    return max_pool2d(of_conv2d_bias(0.0, x, kernel, bias, **kwargs), (2, 2))


def away_from_ties(x, kernel, bias, activation="linear", **kwargs):
    """Return whether each window has one clear maximum, clearly on one side of 0."""
    z = conv2d(x, kernel, **kwargs) + bias
    taps = [tap for _, _, tap in windows(z, (2, 2), (2, 2), "valid", (1, 1), 0)]
    second, first = np.sort(taps, axis=0)[2:]
    gaps = np.minimum(first - second, np.abs(first))
    # Where relu is 0 all over the window, so is the gradient.
    gaps = np.where(first < 0, np.abs(first), gaps) if activation == "relu" else gaps
    return np.min(gaps, initial=1.0) > 1e-3


@st.composite
def pooled_convolutions(draw: st.DrawFn) -> Call:
    """Draw a convolution with a window of 2 x 2 in its output, and a little more."""
    call = draw(convolutions())
    (batch, *sides, channels), kernel = call.shapes
    sides = [side + stride for side, stride in zip(sides, call.kwargs["strides"], strict=True)]
    activation = draw(st.sampled_from(("linear", "relu")))
    shapes = ((batch, *sides, channels), kernel, kernel[3:])
    return Call(shapes, {**call.kwargs, "activation": activation})


def average_pool2d(x, pool_size, strides=None, padding="valid"):
    strides = strides or pool_size
    total = sum(tap for _, _, tap in windows(x, pool_size, strides, padding, (1, 1), 0))
    ones = windows(np.ones_like(x), pool_size, strides, padding, (1, 1), 0)
    return total / sum(tap for _, _, tap in ones)


def of_average_pool(x, **kwargs):
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


def windows_of_ops(call: Call) -> st.SearchStrategy[Call]:
    """Return the call as the functions of `keras.ops` have it: two paddings, two layouts."""
    kwargs = dict(call.kwargs)
    if not isinstance(kwargs["padding"], str):
        kwargs["padding"] = "same"
    if "dilation" in kwargs:
        kwargs["dilation_rate"] = kwargs.pop("dilation")
        del kwargs["groups"]

    def laid_out(data_format: str | None) -> Call:
        images, *rest = call.shapes
        if data_format == "channels_first":
            images = images[:1] + images[-1:] + images[1:-1]
        return Call((images, *rest), {**kwargs, "data_format": data_format})

    return st.sampled_from((None, "channels_last", "channels_first")).map(laid_out)


def either_layout(function: Any) -> Any:
    """Return a function of images, channels last, for both layouts."""

    def of_images(x, *operands, data_format=None, **kwargs):
        if data_format != "channels_first":
            return function(x, *operands, **kwargs)
        return np.moveaxis(function(np.moveaxis(x, 1, -1), *operands, **kwargs), -1, 1)

    return of_images


@either_layout
def grouped(x, kernel, dilation_rate=(1, 1), **kwargs):
    groups = x.shape[-1] // kernel.shape[2]
    return conv2d(x, kernel, dilation=pair(dilation_rate), groups=groups, **kwargs)


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


IMAGES = ad.ones((1, 4, 4, 2))


def pool_errors(name: str, op: Any) -> tuple[Error, ...]:
    return (
        Error(lambda: op(ad.ones((4, 4)), 2), ValueError, rf"{name}: .*\(4, 4\)"),
        Error(
            lambda: op(IMAGES, 5),
            ValueError,
            rf"{name}\w*: a window with a height of 5 .*\(1, 4, 4, 2\)",
        ),
        Error(lambda: op(IMAGES, 0), ValueError, "pool_size.*at least 1|integer of 1 or more"),
        Error(lambda: op(IMAGES, 2, 0), ValueError, "strides.*at least 1|integer of 1 or more"),
        Error(lambda: op(IMAGES, 2, 1, "full"), ValueError, r"padding .*'valid', 'same'.*'full'"),
    )


OPS_POOLINGS = poolings().flatmap(windows_of_ops)

# As an image and as a kernel at once: (N, H, W, C) and (kh, kw, in, out).
IMAGES_AND_KERNELS = st.sampled_from(((1, 1, 1, 1), (1, 2, 3, 3), (2, 3, 4, 4), (1, 1, 17, 17)))


SPECS = (
    Spec(
        name="conv2d",
        op=_core.conv2d,
        reference=conv2d,
        calls=convolutions(),
        dtypes=TO_FLOAT,
        bound=of_conv2d,
        gradients=(0, 1),
        alike=same_shapes(2, IMAGES_AND_KERNELS),
        special=True,
        zero_sign=False,
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
                r"conv2d: dilation must be a positive integer .*\[1, -1\]",
            ),
            Error(
                lambda: _core.conv2d(IMAGES, ad.ones((1, 1, 2, 4)), padding="full"),
                ValueError,
                r"padding .*'valid', 'same'.*'full'",
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
        name="conv2d_bias",
        op=_core.conv2d_bias,
        reference=conv2d_bias,
        calls=biased_convolutions(),
        dtypes=TO_FLOAT,
        bound=of_conv2d_bias,
        away=lambda x, kernel, bias, activation, **kwargs: (
            np.min(np.abs(conv2d(x, kernel, **kwargs) + bias), initial=1.0) > 1e-3
        ),
        gradients=(0, 1, 2),
        slope_noise=lambda x, kernel, bias, **kwargs: (
            # 1 - y**2 loses what y is short of 1.
            16.0 * (1 + np.abs(x).sum() + np.abs(kernel).sum() + bias.size * x.size)
        ),
        special="the specs of conv2d and bias_activation compare special values",
        zero_sign=False,
        errors=(
            Error(
                lambda: _core.conv2d_bias(IMAGES, ad.ones((3, 3, 2, 4)), ad.ones(3)),
                ValueError,
                r"conv2d_bias: the bias has shape \(3,\) but the kernel .*\(3, 3, 2, 4\)",
            ),
            Error(
                lambda: _core.conv2d_bias(IMAGES, ad.ones((3, 3, 1, 4)), ad.ones(4)),
                ValueError,
                r"conv2d_bias: the input of shape \(1, 4, 4, 2\) has 2 channels",
            ),
            Error(
                lambda: _core.conv2d_bias(
                    IMAGES, ad.ones((1, 1, 2, 4)), ad.ones(4), activation="gelu"
                ),
                ValueError,
                "conv2d_bias: activation 'gelu' must be",
            ),
        ),
    ),
    Spec(
        name="conv2d_max_pool",
        op=_core.conv2d_max_pool,
        reference=conv2d_max_pool,
        calls=pooled_convolutions(),
        dtypes=TO_FLOAT,
        bound=of_conv2d_max_pool,
        gradients=(0, 1, 2),
        away=away_from_ties,
        second=False,
        special=True,
        zero_sign=False,
        errors=(
            Error(
                lambda: _core.conv2d_max_pool(IMAGES, ad.ones((3, 3, 1, 4)), ad.ones(4)),
                ValueError,
                r"conv2d_max_pool: the input of shape \(1, 4, 4, 2\) has 2 channels.*takes 1",
            ),
            Error(
                lambda: _core.conv2d_max_pool(IMAGES, ad.ones((3, 3, 2, 4)), ad.ones(3)),
                ValueError,
                r"conv2d_max_pool: the bias has shape \(3,\) but the kernel .*\(3, 3, 2, 4\)",
            ),
            Error(
                lambda: _core.conv2d_max_pool(IMAGES, ad.ones((4, 3, 2, 4)), ad.ones(4)),
                ValueError,
                r"conv2d_max_pool: the input of shape \(1, 4, 4, 2\) .* 1 x 2 pixels, too few",
            ),
            Error(
                lambda: _core.conv2d_max_pool(
                    IMAGES, ad.ones((3, 3, 2, 4)), ad.ones(4), activation="tanh"
                ),
                ValueError,
                "conv2d_max_pool: activation 'tanh' must be 'linear' or 'relu'",
            ),
            Error(
                lambda: _core.conv2d_max_pool(IMAGES, ad.ones((1, 1, 2, 4)), ad.ones(4), groups=-1),
                ValueError,
                "conv2d_max_pool: groups=-1 must be at least 1",
            ),
        ),
    ),
    Spec(
        name="conv",
        op=ad.conv,
        reference=grouped,
        calls=convolutions().filter(lambda c: c.shapes[1][2] > 0).flatmap(windows_of_ops),
        dtypes=TO_FLOAT,
        bound=lambda y, x, k, **kwargs: (
            (k[..., 0].size + 2) * grouped(np.abs(x), np.abs(k), **kwargs)
        ),
        gradients=(0, 1),
        alike=same_shapes(2, IMAGES_AND_KERNELS, dilation_rate=1),
        special=True,
        zero_sign=False,
        errors=(
            Error(
                lambda: ad.conv(IMAGES, ad.ones((3, 3, 3, 4))),
                ValueError,
                r"conv: kernel of shape \(3, 3, 3, 4\) does not fit inputs of shape \(1, 4, 4, 2\)",
            ),
            Error(
                lambda: ad.conv(ad.ones((4, 4)), ad.ones((3, 3, 1, 4))),
                ValueError,
                r"conv: inputs must have 4 dimensions .*\(4, 4\).*x\[..., None\]",
            ),
            Error(
                lambda: ad.conv(IMAGES, ad.ones((1, 1, 2, 4)), padding="full"),
                ValueError,
                r"padding .*'valid', 'same'.*'full'",
            ),
            Error(
                lambda: ad.conv(IMAGES, ad.ones((1, 1, 2, 4)), strides=0),
                ValueError,
                "`strides` must be an integer of 1 or more.*strides=0",
            ),
            Error(
                lambda: ad.conv(IMAGES, ad.ones((1, 1, 2, 4)), strides=1.5),
                TypeError,
                "`strides` must be an integer of 1 or more.*strides=1.5",
            ),
            Error(
                lambda: ad.conv(IMAGES, ad.ones((1, 1, 2, 4)), data_format="last"),
                ValueError,
                "data_format 'last'.*channels_first",
            ),
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
            special=True,
            zero_sign=False,
            errors=pool_errors(name, op),
        )
        for name, op, reference, strategy, bound in (
            ("max_pool2d", _core.max_pool2d, max_pool2d, poolings(), None),
            (
                "average_pool2d",
                _core.average_pool2d,
                average_pool2d,
                poolings(),
                lambda y, x, **kwargs: of_average_pool(x, **kwargs),
            ),
            ("max_pool", ad.max_pool, either_layout(max_pool2d), OPS_POOLINGS, None),
            (
                "average_pool",
                ad.average_pool,
                either_layout(average_pool2d),
                OPS_POOLINGS,
                lambda y, x, **kwargs: either_layout(of_average_pool)(x, **kwargs),
            ),
        )
    ),
)
