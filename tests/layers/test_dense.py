"""Dense against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from layer_references import check_weight_gradients

import autodan as ad
from autodan import layers

RNG = np.random.default_rng(2)
ACTIVATIONS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 3), (1, 1), (0, 3), (2, 5, 3), (2, 1, 4, 3)], ids=str)
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_formula(shape, activation, dtype):
    layer = layers.Dense(6, activation, bias_initializer="normal", dtype=dtype)
    x = RNG.normal(size=shape)
    output = layer(x)
    kernel, bias = (w.astype("float64") for w in layer.get_weights())
    assert (kernel.shape, bias.shape, output.dtype) == ((shape[-1], 6), (6,), dtype)
    expected = ACTIVATIONS[activation](x @ kernel + bias)
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    )
    np.testing.assert_allclose(output.numpy(), expected, **tolerance)
    assert layer.compute_output_shape(shape) == output.shape


def test_without_bias():
    layer = layers.Dense(2, use_bias=False)
    x = RNG.normal(size=(3, 4)).astype("float32")
    output = layer(x)
    assert [v.name for v in layer.weights] == ["kernel"]
    assert layer.bias is None
    np.testing.assert_allclose(output.numpy(), x @ layer.kernel.numpy(), rtol=1e-5, atol=1e-6)
    assert layer.count_params() == 8


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool", "float64"])
def test_inputs_are_cast_to_the_dtype_of_the_layer(dtype):
    x = RNG.integers(0, 2, size=(3, 4)).astype(dtype)
    layer = layers.Dense(2, kernel_initializer="ones")
    output = layer(x)
    assert output.dtype == "float32"
    np.testing.assert_array_equal(output.numpy(), x.sum(-1, keepdims=True).repeat(2, 1))


def test_gradients():
    layer = layers.Dense(3, "tanh", bias_initializer="normal", dtype="float64")
    check_weight_gradients(layer, RNG.normal(size=(4, 2)))


def test_regularizers_penalize_weights_and_output():
    layer = layers.Dense(
        2,
        kernel_regularizer=ad.regularizers.L2(0.1),
        bias_regularizer="l1",
        activity_regularizer=ad.regularizers.L1(0.5),
        bias_initializer="ones",
    )
    x = RNG.normal(size=(3, 4)).astype("float32")
    y = layer(x).numpy()
    kernel, bias = layer.get_weights()
    expected = sorted([0.1 * (kernel**2).sum(), 0.01 * np.abs(bias).sum(), 0.5 * np.abs(y).sum()])
    np.testing.assert_allclose(sorted(map(float, layer.losses)), expected, rtol=1e-5)
    layer(x)
    assert len(layer.losses) == 3  # those of the first call are gone


@pytest.mark.parametrize("units", [0, -1, 2.5, None, "4"])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(ValueError, match=rf"Dense: `units` must be .* Received: units={units}"):
        layers.Dense(units)


def test_numpy_integers_are_integers():
    layer = layers.Dense(np.int64(3))
    assert layer(np.ones((1, 2), "float32")).shape == (1, 3)
    config = layer.get_config()
    assert (config["units"], type(config["units"])) == (3, int)  # so that it can be saved
