"""Conv2D against loops over its windows."""

from __future__ import annotations

import numpy as np
import pytest
from layer_references import check_weight_gradients, conv2d

import autodan as ad
from autodan import layers

RNG = np.random.default_rng(3)
CASES = [
    ((2, 5, 6, 3), {"filters": 4, "kernel_size": 3}),
    ((1, 7, 5, 2), {"filters": 3, "kernel_size": (2, 3), "padding": "same"}),
    ((2, 7, 8, 2), {"filters": 3, "kernel_size": 3, "strides": 2}),
    ((2, 7, 8, 2), {"filters": 3, "kernel_size": 3, "strides": (2, 3), "padding": "same"}),
    ((1, 6, 6, 1), {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same"}),
    ((1, 9, 8, 2), {"filters": 3, "kernel_size": 3, "dilation_rate": 2}),
    ((1, 9, 8, 2), {"filters": 3, "kernel_size": (3, 2), "dilation_rate": (3, 2)}),
    ((1, 6, 7, 2), {"filters": 3, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}),
    ((2, 5, 5, 4), {"filters": 6, "kernel_size": 3, "groups": 2}),
    ((2, 5, 5, 4), {"filters": 8, "kernel_size": 3, "groups": 4, "padding": "same"}),
    ((1, 8, 8, 16), {"filters": 17, "kernel_size": 1}),
    ((3, 4, 4, 1), {"filters": 1, "kernel_size": 4}),
    ((0, 5, 5, 2), {"filters": 3, "kernel_size": 3}),
    ((1, 6, 5, 3), {"filters": 4, "kernel_size": (1, 5), "padding": "SAME"}),
]


def options(arguments):
    pairs = {
        name: (value, value) if isinstance(value := arguments.get(name, 1), int) else value
        for name in ("strides", "dilation_rate")
    }
    padding = arguments.get("padding", "valid").lower()
    return pairs["strides"], padding, pairs["dilation_rate"], arguments.get("groups", 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("shape", "arguments"), CASES, ids=str)
def test_formula(shape, arguments, data_format, dtype):
    layer = layers.Conv2D(
        **arguments, data_format=data_format, bias_initializer="normal", dtype=dtype
    )
    x = RNG.normal(size=shape)
    first = data_format == "channels_first"
    given = x.transpose(0, 3, 1, 2) if first else x
    output = layer(given)
    kernel, bias = (w.astype("float64") for w in layer.get_weights())
    side = layer.kernel_size
    groups = arguments.get("groups", 1)
    assert kernel.shape == (*side, shape[-1] // groups, arguments["filters"])
    expected = conv2d(x, kernel, *options(arguments)) + bias
    expected = expected.transpose(0, 3, 1, 2) if first else expected
    assert output.dtype == dtype
    assert layer.compute_output_shape(given.shape) == output.shape == expected.shape
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    )
    np.testing.assert_allclose(output.numpy(), expected, **tolerance)


def test_activation_comes_after_the_bias():
    bias = ad.initializers.Constant(-0.3)
    layer = layers.Conv2D(2, 2, activation="relu", bias_initializer=bias)
    x = RNG.normal(size=(1, 4, 4, 1)).astype("float32")
    output = layer(x).numpy()
    expected = np.maximum(conv2d(x, layer.kernel.numpy()) - 0.3, 0.0)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    assert (output == 0).any() and (output > 0).any()


def test_without_bias():
    layer = layers.Conv2D(2, 2, use_bias=False)
    layer(np.zeros((1, 3, 3, 1), "float32"))
    assert [v.name for v in layer.weights] == ["kernel"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "same", "strides": 2},
        {"groups": 2, "dilation_rate": 2},
        {"data_format": "channels_first", "activation": "tanh"},
    ],
    ids=str,
)
def test_gradients(arguments):
    layer = layers.Conv2D(2, 2, bias_initializer="normal", dtype="float64", **arguments)
    check_weight_gradients(layer, RNG.normal(size=(1, 4, 4, 4)))


def test_unknown_sides_stay_unknown():
    layer = layers.Conv2D(4, 3, strides=2)
    assert layer.compute_output_shape((None, None, 9, 3)) == (None, None, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0, "kernel_size": 3}, "`filters` must be a positive integer"),
        ({"filters": 4, "kernel_size": 0}, "`kernel_size` must be an integer of 1 or more"),
        ({"filters": 4, "kernel_size": (3, 3, 3)}, "`kernel_size` must be .* or two of them"),
        ({"filters": 4, "kernel_size": 3, "strides": -1}, "`strides` must be an integer of 1"),
        ({"filters": 4, "kernel_size": 3, "padding": "samee"}, "Did you mean 'same'"),
        ({"filters": 4, "kernel_size": 3, "groups": 3}, "`groups` must divide `filters`"),
        (
            {"filters": 4, "kernel_size": 3, "strides": 2, "dilation_rate": 2},
            "strides and dilation_rate cannot both be above 1",
        ),
        (
            {"filters": 4, "kernel_size": 3, "data_format": "channel_last"},
            "Did you mean 'channels_last'",
        ),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.Conv2D(**arguments)


def test_wrong_rank_names_layer_shape_and_fix():
    layer = layers.Conv2D(4, 3, name="edges")
    with pytest.raises(ValueError) as caught:
        layer(np.zeros((2, 28, 28), "float32"))
    assert str(caught.value) == (
        "Layer 'edges' (Conv2D) cannot take an input of shape (None, 28, 28): expected 4 "
        "dimensions. Add the missing axis: x[..., None] for channels, x[None] for a batch of one."
    )
    assert not layer.built


def test_wrong_channels_name_layer_and_both_shapes():
    layer = layers.Conv2D(4, 3, name="edges")
    layer(np.zeros((2, 8, 8, 3), "float32"))
    with pytest.raises(ValueError) as caught:
        layer(np.zeros((2, 8, 8, 1), "float32"))
    assert str(caught.value) == (
        "Layer 'edges' (Conv2D) cannot take an input of shape (2, 8, 8, 1): expected axis -1 to "
        "have size 3. The layer was built for another input: use a new layer, or give data of "
        "the size it was built for."
    )


def test_groups_must_divide_the_channels():
    layer = layers.Conv2D(4, 3, groups=2, name="edges")
    with pytest.raises(ValueError, match=r"'edges'.*groups=2 must divide the 3 channels"):
        layer(np.zeros((1, 8, 8, 3), "float32"))
    assert not layer.built


def test_a_kernel_larger_than_the_image():
    layer = layers.Conv2D(4, 5, name="edges")
    with pytest.raises(ValueError, match=r"'edges'.*height of 5.*shape \(1, 4, 4, 1\).*smaller"):
        layer(np.zeros((1, 4, 4, 1), "float32"))
    with pytest.raises(ValueError, match=r"'edges' \(Conv2D\): a window of \(5, 5\).*padding="):
        layer.compute_output_shape((None, 4, 4, 1))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "sigmoid", "softmax"])
def test_pooling_with_the_layer_is_pooling_after_it(activation, use_bias, data_format):
    shape = (2, 3, 8, 9) if data_format == "channels_first" else (2, 8, 9, 3)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer = layers.Conv2D(
        4,
        3,
        activation=activation,
        use_bias=use_bias,
        data_format=data_format,
        bias_initializer="random_normal",
    )
    apart = layers.MaxPooling2D(data_format=data_format)(layer(x))
    assert np.array_equal(layer(x, max_pool=True).numpy(), apart.numpy())
