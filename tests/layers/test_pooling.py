"""Pooling against loops over its windows."""

from __future__ import annotations

import numpy as np
import pytest
from layer_references import average_pool, check_weight_gradients, max_pool

from autodan import layers

RNG = np.random.default_rng(4)
KINDS = [(layers.MaxPooling2D, max_pool), (layers.AveragePooling2D, average_pool)]
CASES = [
    ((2, 6, 4, 3), {}),
    ((1, 7, 5, 2), {"pool_size": 2}),
    ((1, 7, 5, 2), {"padding": "same"}),
    ((1, 7, 5, 2), {"pool_size": 3, "strides": 2, "padding": "same"}),
    ((2, 7, 8, 1), {"pool_size": (2, 3), "strides": 1}),
    ((2, 7, 8, 17), {"pool_size": (3, 2), "strides": (1, 2), "padding": "same"}),
    ((1, 9, 9, 2), {"pool_size": 2, "strides": 3}),
    ((0, 6, 6, 2), {}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("shape", "arguments"), CASES, ids=str)
@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_formula(kind, reference, shape, arguments, data_format, dtype):
    layer = kind(**arguments, data_format=data_format, dtype=dtype)
    x = RNG.normal(size=shape).astype(dtype).astype("float64")
    first = data_format == "channels_first"
    given = x.transpose(0, 3, 1, 2) if first else x
    output = layer(given)
    expected = reference(x, layer.pool_size, layer.strides, layer.padding)
    expected = expected.transpose(0, 3, 1, 2) if first else expected
    assert layer.compute_output_shape(given.shape) == output.shape == expected.shape
    assert (output.dtype, layer.weights) == (dtype, [])
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    )
    np.testing.assert_allclose(output.numpy(), expected, **tolerance)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_gradients(kind, reference, padding):
    layer = kind(pool_size=2, strides=1, padding=padding, dtype="float64")
    check_weight_gradients(layer, RNG.normal(size=(1, 3, 4, 2)))


def test_negative_images_keep_their_maximum_at_the_border():
    """Padding must not take part in a maximum."""
    output = layers.MaxPooling2D(2, padding="same")(np.full((1, 3, 3, 1), -5.0, "float32"))
    np.testing.assert_array_equal(output.numpy(), np.full((1, 2, 2, 1), -5.0))


def test_keras_aliases():
    assert layers.MaxPool2D is layers.MaxPooling2D
    assert layers.AvgPool2D is layers.AveragePooling2D


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_errors(kind):
    name = kind.__name__
    with pytest.raises(ValueError, match=r"`pool_size` must be an integer of 1"):
        kind(0)
    with pytest.raises(ValueError, match=r"Unknown padding 'vald'\. Did you mean 'valid'"):
        kind(2, padding="vald")
    layer = kind(4, name="shrink")
    with pytest.raises(ValueError) as caught:
        layer(np.zeros((8, 8, 1), "float32"))
    assert str(caught.value) == (
        f"Layer 'shrink' ({name}) cannot take an input of shape (None, 8, 1): expected 4 "
        "dimensions. Add the missing axis: x[..., None] for channels, x[None] for a batch of one."
    )
    with pytest.raises(ValueError, match=rf"'shrink' \({name}\).*height of 4.*\(2, 3, 3, 1\)"):
        layer(np.zeros((2, 3, 3, 1), "float32"))
