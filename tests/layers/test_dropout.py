"""Dropout: its statistics, its scaling, and that inference leaves the input alone."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import layers


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_drops_the_rate_and_scales_the_rest(rate, dtype):
    n = 40_000
    x = np.linspace(1.0, 2.0, n, dtype=dtype)
    output = layers.Dropout(rate, seed=3, dtype=dtype)(x, training=True)
    assert output.dtype == dtype
    y = output.numpy()
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-6)
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation


def test_neighbours_are_dropped_independently():
    kept = layers.Dropout(0.3, seed=5)(np.ones((200, 200), "float32"), training=True).numpy() > 0
    for left, right in ((kept[:, :-1], kept[:, 1:]), (kept[:-1], kept[1:])):
        both = (left & right).mean()
        assert abs(both - 0.49) < 5 * np.sqrt(0.49 * 0.51 / left.size)


def test_inference_returns_the_input():
    layer = layers.Dropout(0.5)
    x = ad.tensor(np.arange(6.0, dtype="float32"))
    assert layer(x) is x
    assert layer(x, training=False) is x
    assert layers.Dropout(0.0)(x, training=True) is x


def test_rate_one_drops_everything():
    output = layers.Dropout(1.0)(np.ones((3, 4), "float32"), training=True)
    np.testing.assert_array_equal(output.numpy(), np.zeros((3, 4)))


def test_each_call_draws_anew_and_a_seed_repeats_the_sequence():
    x = np.ones((100,), "float32")
    first, second = layers.Dropout(0.5, seed=7), layers.Dropout(0.5, seed=7)
    a, b = (first(x, training=True).numpy() for _ in range(2))
    assert (a != b).any()
    for expected in (a, b):
        np.testing.assert_array_equal(second(x, training=True).numpy(), expected)


def test_the_gradient_passes_where_the_value_did():
    layer = layers.Dropout(0.25, seed=1)
    x = ad.tensor(np.full((50,), 3.0, "float32"), requires_grad=True)
    y = layer(x, training=True)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.numpy() / 3.0, rtol=1e-6)


@pytest.mark.parametrize("noise_shape", [(None, 1, 3), (5, 1, 3)])
def test_noise_shape_is_broadcast(noise_shape):
    x = np.ones((5, 40, 3), "float32")
    y = layers.Dropout(0.5, noise_shape=noise_shape, seed=2)(x, training=True).numpy()
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert set(np.unique(y)) == {0.0, 2.0}


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rate_must_be_a_fraction(rate):
    with pytest.raises(ValueError, match=r"Dropout: `rate` .* between 0 and 1\. Received: rate="):
        layers.Dropout(rate)
