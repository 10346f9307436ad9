"""Impossible arguments of convolution, pooling and their like: errors that name op and value."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import _core

HUGE = 2**62
IMAGE, KERNEL = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 4), "float32")


def conv(**options):
    return _core.conv2d(IMAGE, KERNEL, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": 0}, r"conv2d: strides \[0, 0\] must be at least 1"),
        ({"strides": -1}, r"conv2d: strides must be a positive integer .* got \[-1\]"),
        ({"strides": (1, 2, 3)}, r"conv2d: strides must be .* pair of them, got \[1, 2, 3\]"),
        ({"dilation": (1, 0)}, r"conv2d: dilation \[1, 0\] must be at least 1"),
        ({"dilation": -2}, r"conv2d: dilation must be a positive integer"),
        ({"dilation": HUGE}, "conv2d: a window with a height of 9223372036854775809 does not fit"),
        ({"dilation": 2**32}, "conv2d: a window with a height of 8589934593 does not fit"),
        ({"dilation": 2**32, "padding": "same"}, "conv2d: padding makes|conv2d: shape .* exceeds"),
        ({"groups": 0}, "conv2d: groups=0 must divide"),
        ({"groups": -1}, "conv2d: groups=-1 must be at least 1"),
        ({"groups": 3}, "conv2d: groups=3 must divide both the 2 input channels and the 4 filters"),
        ({"groups": 2}, "conv2d: .* 2 channels in 2 group"),
        ({"padding": "full"}, "conv2d: padding must be 'valid', 'same' or .*, got 'full'"),
        ({"padding": 1}, "conv2d: padding must be .*, got 1"),
        ({"padding": ((0, -1), (0, 0))}, "conv2d: padding must be .* none negative, got"),
        ({"padding": ((HUGE, 0), (0, 0))}, r"conv2d: shape \(4611686018427387908, 4, 4\) exceeds"),
        ({"padding": ((2**20, 0), (0, 2**20))}, "conv2d: padding makes images of .* elements"),
        ({"padding": ((2**64 - 1, 1), (0, 0))}, "conv2d: a side of 4 with padding"),
    ],
    ids=repr,
)
def test_impossible_convolutions(options, message):
    with pytest.raises(ValueError, match=message):
        conv(**options)


def test_a_stride_beyond_the_image_is_one_window():
    once = conv()[:, :1, :1]
    for stride in (2, 5, HUGE, 2**63 - 1):
        np.testing.assert_array_equal(conv(strides=stride).numpy(), once.numpy())
    x, w = ad.tensor(IMAGE, requires_grad=True), ad.tensor(KERNEL, requires_grad=True)
    _core.conv2d(x, w, strides=HUGE).sum().backward()
    assert x.grad.numpy()[0, :, :, 0].tolist() == [[4, 4, 4, 0]] * 3 + [[0] * 4]
    assert (w.grad.numpy() == 1).all()


@pytest.mark.parametrize("pool", [_core.max_pool2d, _core.average_pool2d], ids=lambda f: f.__name__)
def test_impossible_poolings(pool):
    for options, message in (
        ({"pool_size": 0}, r"pool_size \[0, 0\] must be at least 1"),
        ({"pool_size": (2, -1)}, r"pool_size must be a positive integer .* got \[2, -1\]"),
        ({"pool_size": 2, "strides": 0}, r"strides \[0, 0\] must be at least 1"),
        ({"pool_size": 5}, "a window with a height of 5 does not fit an input of shape"),
        ({"pool_size": 2, "padding": ((2, 0), (0, 0))}, "must be smaller than the window"),
        ({"pool_size": 2, "padding": ((0, 0), (-1, 0))}, "none negative"),
    ):
        with pytest.raises(ValueError, match=f"^{pool.__name__}: .*{message}"):
            pool(IMAGE, **options)


def test_windows_beyond_the_image_are_clipped():
    x = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
    for size in (3, HUGE, 2**63 - 1):
        assert _core.max_pool2d(x, size, padding="same").item() == 3
        assert _core.average_pool2d(x, size, padding="same").item() == 1.5


def test_other_impossible_arguments():
    for call, message in (
        (lambda: ad.one_hot([0], -1), "one_hot: num_classes=-1 must not be negative"),
        (lambda: ad.one_hot([0], HUGE), "one_hot: shape .* exceeds the address space"),
        (lambda: ad.pad([1.0], -1), "pad: .* none negative, got -1"),
        (lambda: ad.pad([1.0], HUGE), "pad: shape .* exceeds the address space"),
        (lambda: _core.batch_norm([[1.0]], epsilon=-1.0), "batch_norm: epsilon=-1 must be"),
        (
            lambda: _core.batch_norm([[1.0]], epsilon=float("nan")),
            "batch_norm: epsilon=NaN must be",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
