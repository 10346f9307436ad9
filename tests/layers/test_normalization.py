"""BatchNormalization against its formula: training, inference, moving averages, freezing."""

from __future__ import annotations

import numpy as np
import pytest
from layer_references import batch_norm, check_weight_gradients

from autodan import layers, models

RNG = np.random.default_rng(6)
CASES = [((8, 3), -1), ((4, 5, 3), -1), ((3, 4, 4, 2), -1), ((3, 2, 4, 4), 1), ((6, 4, 3), 1)]


def statistics(x, axis):
    others = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    return x.mean(others), x.var(others)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), CASES, ids=str)
def test_training_uses_the_batch_and_moves_the_averages(shape, axis, dtype):
    layer = layers.BatchNormalization(
        axis=axis,
        momentum=0.9,
        epsilon=0.01,
        beta_initializer="normal",
        gamma_initializer="uniform",
        dtype=dtype,
    )
    x = 2 * RNG.normal(size=shape) + 3
    output = layer(x, training=True)
    gamma, beta, moving_mean, moving_variance = (w.astype("float64") for w in layer.get_weights())
    mean, variance = statistics(x, axis)
    expected = batch_norm(x, axis, mean, variance, gamma, beta, 0.01)
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    )
    np.testing.assert_allclose(output.numpy(), expected, **tolerance)
    np.testing.assert_allclose(moving_mean, 0.1 * mean, **tolerance)
    np.testing.assert_allclose(moving_variance, 0.9 + 0.1 * variance, **tolerance)
    assert layer.compute_output_shape(shape) == output.shape


@pytest.mark.parametrize(("shape", "axis"), CASES, ids=str)
def test_inference_uses_the_moving_averages(shape, axis):
    layer = layers.BatchNormalization(axis=axis, momentum=0.5, dtype="float64")
    first, second = RNG.normal(size=(2, *shape)) + 1
    layer(first, training=True)
    layer(second, training=True)
    means, variances = zip(statistics(first, axis), statistics(second, axis), strict=True)
    mean = 0.25 * means[0] + 0.5 * means[1]
    variance = 0.25 + 0.25 * variances[0] + 0.5 * variances[1]
    before = layer.get_weights()
    x = RNG.normal(size=shape)
    for output in (layer(x), layer(x, training=False)):
        np.testing.assert_allclose(
            output.numpy(), batch_norm(x, axis, mean, variance), rtol=1e-10, atol=1e-12
        )
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_defaults_are_those_of_keras():
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    assert (layer.momentum, layer.epsilon, layer.axis) == (0.99, 1e-3, -1)
    assert [v.name for v in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    values = [w.tolist() for w in layer.get_weights()]
    assert values == [[1.0] * 3, [0.0] * 3, [0.0] * 3, [1.0] * 3]
    assert [v.name for v in layer.trainable_variables] == ["gamma", "beta"]
    assert layer.count_params() == 12


def test_a_frozen_layer_normalizes_as_in_inference():
    layer = layers.BatchNormalization(dtype="float64")
    x = RNG.normal(size=(5, 2)) + 4
    layer(x, training=True)
    layer.trainable = False
    before = layer.get_weights()
    output = layer(x, training=True)
    np.testing.assert_array_equal(output.numpy(), layer(x, training=False).numpy())
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert layer.trainable_variables == []


@pytest.mark.parametrize(("center", "scale"), [(True, False), (False, True), (False, False)])
def test_without_shift_or_scale(center, scale):
    layer = layers.BatchNormalization(center=center, scale=scale, epsilon=0.0, dtype="float64")
    x = RNG.normal(size=(6, 2))
    output = layer(x, training=True)
    np.testing.assert_allclose(output.numpy(), (x - x.mean(0)) / x.std(0), rtol=1e-10, atol=1e-12)
    names = ["gamma"] * scale + ["beta"] * center
    assert [v.name for v in layer.trainable_variables] == names
    np.testing.assert_allclose(
        layer(x).numpy(),
        batch_norm(x, -1, *statistics_moved(x), epsilon=0.0),
        rtol=1e-10,
        atol=1e-12,
    )


def statistics_moved(x):
    return 0.01 * x.mean(0), 0.99 + 0.01 * x.var(0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((5, 2), -1), ((2, 2, 3, 2), 1)], ids=str)
def test_gradients(shape, axis, training):
    layer = layers.BatchNormalization(
        axis=axis, beta_initializer="normal", gamma_initializer="uniform", dtype="float64"
    )
    layer.build(shape)
    layer.momentum = 1.0  # so that calls do not change what they return
    check_weight_gradients(layer, RNG.normal(size=shape), training=training)


def test_fit_trains_with_the_batch_and_evaluates_with_the_averages():
    x = RNG.normal(size=(12, 2)).astype("float32") * 3 + 1
    model = models.Sequential([layers.Input((2,)), layers.BatchNormalization(momentum=0.5)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(x, x, batch_size=12, epochs=2, verbose=0)
    np.testing.assert_allclose(model.layers[0].moving_mean.numpy(), 0.75 * x.mean(0), rtol=1e-4)
    before = model.get_weights()
    model.evaluate(x, x, verbose=0)
    model.predict(x, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_errors():
    with pytest.raises(ValueError, match=r"'n'.*axis 3 is out of range for input shape \(None, 2"):
        layers.BatchNormalization(axis=3, name="n")(np.zeros((3, 2), "float32"))
    with pytest.raises(ValueError, match=r"axis -1 of the input must have a known size"):
        layers.BatchNormalization().build((None, None))
    layer = layers.BatchNormalization(name="n")
    layer(np.zeros((3, 2), "float32"))
    with pytest.raises(ValueError, match=r"'n'.*\(3, 4\): expected axis -1 to have size 2"):
        layer(np.zeros((3, 4), "float32"))
