"""Activation, ReLU, LeakyReLU, Softmax and Flatten against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from layer_references import check_weight_gradients

import autodan as ad
from autodan import layers

RNG = np.random.default_rng(7)
X = np.concatenate([RNG.normal(size=60) * 4, [0.0, -0.0, 1.0, -1.0, 6.0, 7.0]]).reshape(3, 22)


def softmax(x, axes):
    powers = np.exp(x - x.max())
    return powers / powers.sum(axes, keepdims=True)


def damped(x, negative_slope=0.0, max_value=np.inf, threshold=0.0):
    low = negative_slope * (x - threshold)
    return np.where(x >= max_value, max_value, np.where(x >= threshold, x, low))


CASES = [
    (layers.Activation("tanh"), np.tanh),
    (layers.Activation(ad.ops.negative), np.negative),
    (layers.ReLU(), lambda x: np.maximum(x, 0)),
    (layers.ReLU(max_value=6.0), lambda x: np.clip(x, 0, 6)),
    (layers.ReLU(negative_slope=0.1), lambda x: damped(x, 0.1)),
    (layers.ReLU(threshold=1.0), lambda x: damped(x, threshold=1.0)),
    (layers.ReLU(3.0, 0.2, 1.0), lambda x: damped(x, 0.2, 3.0, 1.0)),
    (layers.LeakyReLU(), lambda x: damped(x, 0.3)),
    (layers.LeakyReLU(0.05), lambda x: damped(x, 0.05)),
    (layers.Softmax(), lambda x: softmax(x, -1)),
    (layers.Softmax(axis=0), lambda x: softmax(x, 0)),
    (layers.Softmax(axis=(0, 1)), lambda x: softmax(x, (0, 1))),
]


@pytest.mark.parametrize(("layer", "reference"), CASES)
def test_formula(layer, reference):
    x = X.astype("float32")
    output = layer(x)
    assert output.dtype == "float32"
    np.testing.assert_allclose(output.numpy(), reference(x.astype("float64")), rtol=2e-6, atol=1e-7)
    assert layer.compute_output_shape((None, 22)) == (None, 22)
    assert layer.weights == []


@pytest.mark.parametrize(("layer", "reference"), CASES)
def test_gradients(layer, reference):
    config = {**layer.get_config(), "dtype": "float64"}
    x = np.array([[-2.5, -0.4, 0.6, 1.7, 3.4], [0.3, 2.2, -1.1, 7.5, 0.9]])
    check_weight_gradients(type(layer)(**config), x)


@pytest.mark.parametrize("kind", [layers.ReLU, layers.LeakyReLU])
def test_slopes_must_not_be_negative(kind):
    with pytest.raises(ValueError, match=r"`negative_slope` must be 0 or more\. Received: -0\.5"):
        kind(negative_slope=-0.5)


def test_misspelt_activation():
    for make in (layers.Activation, lambda name: layers.Dense(3, activation=name)):
        with pytest.raises(ValueError, match=r"Unknown activation 'rellu'\. Did you mean 'relu'"):
            make("rellu")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 3), (2, 3)),
        ((2, 3, 4), (2, 12)),
        ((2, 3, 4, 5), (2, 60)),
        ((3,), (3, 1)),
        ((0, 2, 2), (0, 4)),
    ],
    ids=str,
)
def test_flatten(shape, expected):
    x = RNG.normal(size=shape).astype("float32")
    layer = layers.Flatten()
    output = layer(x)
    assert layer.compute_output_shape(shape) == output.shape == expected
    np.testing.assert_array_equal(output.numpy(), x.reshape(expected))
    assert layer.compute_output_shape((None, *shape[1:])) == (None, expected[1])


def test_flatten_gives_both_layouts_the_same_order():
    x = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
    last = layers.Flatten()(x)
    first = layers.Flatten(data_format="channels_first")(x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(last.numpy(), first.numpy())


def test_flatten_with_an_unknown_side():
    assert layers.Flatten().compute_output_shape((None, None, 3)) == (None, None)
