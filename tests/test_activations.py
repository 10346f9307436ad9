"""Activations against their formulas, far out on both sides too, and the table of names."""

from __future__ import annotations

import math

import numpy as np
import pytest

import autodan as ad
from autodan import activations
from autodan.testing import check_gradients

X = np.concatenate([np.linspace(-9.05, 9.05, 60), [-800.0, -90.0, 90.0, 800.0, 0.0]])


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def softplus(x):
    return np.logaddexp(0, x)


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def phi(x):
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
FORMULAS = {
    "celu": lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0)),
    "elu": lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0)),
    "exponential": lambda x: np.exp(np.minimum(x, 80)),
    "gelu": lambda x: x * phi(x),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "linear": lambda x: x,
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "log_softmax": lambda x: x - x.max() - np.log(np.exp(x - x.max()).sum()),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: SELU_SCALE * (np.maximum(x, 0) + SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softmax": softmax,
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "tanh_shrink": lambda x: x - np.tanh(x),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(FORMULAS))
def test_formula(name, dtype):
    x = (np.minimum(X, 80) if name == "exponential" else X).astype(dtype)
    output = activations.get(name)(ad.tensor(x))
    expected = FORMULAS[name](x.astype("float64"))
    assert output.dtype == dtype
    tolerance = (
        {"rtol": 2e-6, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-14}
    )
    np.testing.assert_allclose(output.numpy(), expected, **tolerance)


@pytest.mark.parametrize("name", list(FORMULAS))
def test_gradients(name):
    x = np.array([-4.3, -2.2, -0.7, 0.4, 1.3, 2.6, 5.1, 7.7])  # away from the kinks
    check_gradients(lambda x: activations.get(name)(x), x)


def test_every_name_is_tested():
    assert set(activations._TABLE) == set(FORMULAS)


def test_gelu_by_tanh():
    x = np.linspace(-4, 4, 41)
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    expected = 0.5 * x * (1 + np.tanh(inner))
    np.testing.assert_allclose(activations.gelu(ad.tensor(x), True).numpy(), expected, atol=1e-12)


def test_softmax_and_sigmoid_remember_their_logits():
    x = ad.tensor([[1.0, 2.0]])
    for name in ("softmax", "sigmoid"):
        activation, logits = activations.get(name)(x)._logits
        assert (activation, logits is x) == (name, True)
    assert activations.softmax(x, axis=0)._logits is None
    assert activations.relu(x)._logits is None


def test_get():
    assert activations.get("relu") is activations.relu
    assert activations.get(None) is activations.linear
    assert activations.get(np.tanh) is np.tanh
    for name in FORMULAS:
        assert activations.get(activations.serialize(activations.get(name))) is activations.get(
            name
        )
    with pytest.raises(ValueError, match=r"Unknown activation 'softmx'\. Did you mean 'softmax'"):
        activations.get("softmx")
    with pytest.raises(TypeError, match="Cannot interpret 3 as activation"):
        activations.get(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"negative_slope": -1.0}, r"`negative_slope` must be 0 or more\. Received: -1\.0"),
        ({"max_value": -1.0}, r"`max_value` must be 0 or more\. Received: -1\.0"),
        ({"threshold": -1.0}, r"`threshold` must be 0 or more\. Received: -1\.0"),
    ],
)
def test_relu_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        activations.relu([1.0], **arguments)
