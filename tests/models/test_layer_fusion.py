"""Layers that a Sequential computes together: the same results as one by one."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import _core, layers, models, ops

X = np.random.default_rng(0).normal(size=(3, 9, 8, 2)).astype("float32")


class Doubled(layers.Conv2D):
    """A convolution of the caller's own."""

    def call(self, inputs):
        return 2 * super().call(inputs)


class Halved(layers.MaxPooling2D):
    """A pooling of the caller's own."""

    def call(self, inputs):
        return 0.5 * super().call(inputs)


@pytest.fixture
def fused(monkeypatch):
    """Return the list of the shapes of fused convolutions' kernels, as they happen."""
    seen = []
    op = _core.conv2d_max_pool

    def counted(x, kernel, *rest):
        seen.append(tuple(kernel.shape))
        return op(x, kernel, *rest)

    monkeypatch.setattr(_core, "conv2d_max_pool", counted)
    return seen


def one_by_one(model, x):
    x = ad.tensor(x)
    for layer in model.layers:
        x = layer(x)
    return x


def gradients(y, model):
    return [g.numpy() for g in _core.grad(ops.sum(y * y), list(model.trainable_variables))]


def compare(model, x=X):
    """Assert that the model's results and gradients are those of its layers."""
    y, want = model(x), one_by_one(model, x)
    np.testing.assert_array_equal(y.detach().numpy(), want.detach().numpy())
    for got, own in zip(gradients(y, model), gradients(want, model), strict=True):
        np.testing.assert_allclose(got, own, rtol=1e-5, atol=1e-5)


def build(conv, pool, shape=(9, 8, 2)):
    first = [layers.Input(shape)] if shape else []
    model = models.Sequential([*first, conv, pool, layers.Flatten(), layers.Dense(2)])
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("activation", ["relu", None, "linear"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"padding": "same"},
        {"strides": 2},
        {"dilation_rate": 2},
        {"groups": 2},
        {"dtype": "float64"},
        {"kernel_regularizer": "l2"},
    ],
)
def test_a_convolution_takes_the_pooling_after_it(activation, arguments, fused):
    conv = layers.Conv2D(4, 3, activation=activation, **arguments)
    pool = layers.MaxPooling2D(dtype=arguments.get("dtype"))
    model = build(conv, pool)
    compare(model)
    assert fused == [tuple(conv.kernel.shape)]
    assert model.output_shape == (None, 2)
    assert len(model.losses) == ("kernel_regularizer" in arguments)


APART = {
    "another activation": lambda: (layers.Conv2D(4, 3, activation="tanh"), layers.MaxPooling2D()),
    "no bias": lambda: (layers.Conv2D(4, 3, use_bias=False), layers.MaxPooling2D()),
    "a larger window": lambda: (layers.Conv2D(4, 3), layers.MaxPooling2D(3)),
    "other strides": lambda: (layers.Conv2D(4, 3), layers.MaxPooling2D(2, 1)),
    "padded pooling": lambda: (layers.Conv2D(4, 3), layers.MaxPooling2D(padding="same")),
    "the mean": lambda: (layers.Conv2D(4, 3), layers.AveragePooling2D()),
    "a layer of one's own": lambda: (Doubled(4, 3), layers.MaxPooling2D()),
    "a pooling of one's own": lambda: (layers.Conv2D(4, 3), Halved()),
    "a regularized output": lambda: (
        layers.Conv2D(4, 3, activity_regularizer="l2"),
        layers.MaxPooling2D(),
    ),
    "another dtype": lambda: (layers.Conv2D(4, 3), layers.MaxPooling2D(dtype="float64")),
    "no cast": lambda: (layers.Conv2D(4, 3, autocast=False), layers.MaxPooling2D()),
}


@pytest.mark.parametrize("name", APART)
def test_other_layers_stay_apart(name, fused):
    compare(build(*APART[name]()))
    assert fused == []


def test_channels_first_stays_apart(fused):
    conv = layers.Conv2D(4, 3, data_format="channels_first")
    model = build(conv, layers.MaxPooling2D(data_format="channels_first"), (2, 9, 8))
    compare(model, np.moveaxis(X, -1, 1))
    assert fused == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_call_replaced_on_a_layer_is_called(which, fused):
    model = build(layers.Conv2D(4, 3), layers.MaxPooling2D())
    layer, seen = model.layers[which], []
    own = layer.call
    layer.call = lambda x: seen.append(x.shape) or own(x)
    model(X)
    assert (len(seen), fused) == (1, [])


def test_sides_that_are_not_known_are_for_the_layers_to_refuse(fused):
    conv, pool = layers.Conv2D(4, 3, name="c"), layers.MaxPooling2D(name="p")
    model = models.Sequential([layers.Input((None, None, 2)), conv, pool])
    np.testing.assert_array_equal(model(X).numpy(), one_by_one(model, X).numpy())
    with pytest.raises(ValueError, match=r"Layer 'p' \(MaxPooling2D\)"):
        model(X[:, :3, :3])
    assert fused == []


def test_a_model_built_by_its_first_call(fused):
    model = models.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()])
    first = model(X)
    np.testing.assert_array_equal(model(X).numpy(), first.numpy())
    assert model.output_shape == (None, 3, 3, 4)
    assert len(fused) <= 2


def test_a_frozen_convolution(fused):
    model = build(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D())
    model.layers[0].trainable = False
    compare(model)
    assert len(model.trainable_variables) == 2
    assert fused


def test_models_in_models_and_layers_in_two_models(fused):
    conv, pool = layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()
    inner = models.Sequential([layers.Input((9, 8, 2)), conv, pool])
    outer = models.Sequential([layers.Input((9, 8, 2)), inner, layers.Flatten()])
    want = ops.reshape(one_by_one(inner, X), (3, -1)).numpy()
    np.testing.assert_array_equal(outer(X).numpy(), want)
    other = models.Sequential([layers.Input((9, 8, 2)), conv, layers.Flatten()])
    assert other(X).shape == (3, 7 * 6 * 4)
    assert len(fused) == 1


def test_training_is_that_of_the_layers(fused, monkeypatch):
    def trained():
        ad.utils.set_random_seed(3)
        model = build(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D())
        model.compile("adam", "mse")
        y = np.random.default_rng(2).normal(size=(3, 2))
        history = model.fit(X, y, epochs=5, verbose=0, shuffle=False)
        return history.history["loss"], model.get_weights()

    losses, weights = trained()
    assert fused
    monkeypatch.setattr("autodan.models.sequential.pools_at_once", lambda *_: False)
    fused.clear()
    other_losses, other_weights = trained()
    assert not fused
    np.testing.assert_allclose(losses, other_losses, rtol=1e-5)
    for got, want in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_with_and_without_that_of_the_images(channels, activation, dtype):
    rng = np.random.default_rng(channels)
    # An odd size: the last row and column of the convolution's output are in no window.
    images, kernel, bias = (
        rng.normal(size=shape).astype(dtype)
        for shape in [(3, 9, 11, channels), (3, 3, channels, 19), 19]
    )
    weight = rng.normal(size=(3, 3, 4, 19)).astype(dtype)

    def gradients_of(images):
        w, b = (ad.tensor(value, requires_grad=True) for value in (kernel, bias))
        y = _core.conv2d_max_pool(images, w, b, activation=activation)
        return _core.grad(ops.sum(y * weight), [w, b])

    tolerance = 1e-5 if dtype == "float32" else 1e-12
    alone, beside = gradients_of(images), gradients_of(ad.tensor(images, requires_grad=True))
    for got, want in zip(alone, beside, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("wanted", ["images", "kernel"])
def test_second_derivatives_are_refused(wanted):
    images, kernel = ad.tensor(X), ad.ones((3, 3, 2, 4))
    of = ad.tensor((images if wanted == "images" else kernel).numpy(), requires_grad=True)
    images, kernel = (of, kernel) if wanted == "images" else (images, of)
    y = _core.conv2d_max_pool(images, kernel, np.ones(4), activation="relu")
    with pytest.raises(RuntimeError, match="conv2d_max_pool: second derivatives"):
        (gradient,) = _core.grad(ops.sum(y * y), [of], create_graph=True)
        _core.grad(ops.sum(gradient * gradient), [of])
