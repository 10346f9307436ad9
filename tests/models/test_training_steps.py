"""Training against a NumPy re-implementation: weights and losses after several steps."""

from __future__ import annotations

import numpy as np
import pytest
from reference_training import Classifier, adam, sgd

import autodan as ad
from autodan import layers, models, optimizers

RNG = np.random.default_rng(1)
X = RNG.normal(size=(12, 4))
Y = RNG.integers(0, 3, size=12)
# Rates are powers of two: an optimizer keeps its rate in float32.
RULES = {
    "sgd": (lambda: optimizers.SGD(0.125), sgd(0.125)),
    "momentum": (lambda: optimizers.SGD(0.0625, momentum=0.9), sgd(0.0625, 0.9)),
    "adam": (lambda: optimizers.Adam(0.015625), adam(0.015625)),
}
TOLERANCES = {"float32": {"rtol": 2e-4, "atol": 2e-6}, "float64": {"rtol": 1e-10, "atol": 1e-12}}


def make(dtype="float64", penalty=0.0, activation="softmax"):
    ad.utils.set_random_seed(3)
    return models.Sequential(
        [
            layers.Input((4,), dtype=dtype),
            layers.Dense(
                5,
                "tanh",
                kernel_regularizer=ad.regularizers.L2(penalty) if penalty else None,
                dtype=dtype,
            ),
            layers.Dense(3, activation, dtype=dtype),
        ],
        dtype=dtype,
    )


def check(model, reference, dtype="float64"):
    for actual, expected in zip(model.get_weights(), reference.weights, strict=True):
        np.testing.assert_allclose(actual, expected, **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize("rule", list(RULES))
def test_three_steps_of_fit(rule, penalty, dtype):
    make_optimizer, update = RULES[rule]
    model = make(dtype, penalty)
    reference = Classifier(model.get_weights(), update, penalty)
    model.compile(make_optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    losses, correct = [], 0
    for start in (0, 4, 8):
        x, y = X[start : start + 4], Y[start : start + 4]
        losses.append(reference.loss(x, y))
        correct += (reference.probabilities(x).argmax(-1) == y).sum()
        reference.step(x, y)
    check(model, reference, dtype)
    np.testing.assert_allclose(history.history["loss"], [np.mean(losses)], rtol=1e-5)
    np.testing.assert_allclose(history.history["accuracy"], [correct / 12], rtol=1e-6)
    assert int(model.optimizer.iterations) == 3
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0)[0], reference.loss(X, Y), rtol=1e-4)


def test_a_last_partial_batch():
    model = make()
    reference = Classifier(model.get_weights(), sgd(0.125))
    model.compile(optimizers.SGD(0.125), "sparse_categorical_crossentropy")
    history = model.fit(X[:10], Y[:10], batch_size=4, epochs=2, shuffle=False, verbose=0)
    for epoch in range(2):
        total = 0.0
        for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
            total += reference.loss(X[part], Y[part]) * len(X[part])
            reference.step(X[part], Y[part])
        np.testing.assert_allclose(history.history["loss"][epoch], total / 10, rtol=1e-5)
    check(model, reference)


def test_sample_weights_scale_the_gradients():
    weight = RNG.uniform(0.2, 3.0, size=12)
    model = make()
    reference = Classifier(model.get_weights(), sgd(0.125))
    model.compile(optimizers.SGD(0.125), "sparse_categorical_crossentropy")
    model.fit(X, Y, batch_size=6, sample_weight=weight, shuffle=False, verbose=0)
    for part in (slice(0, 6), slice(6, 12)):
        reference.step(X[part], Y[part], weight[part])
    check(model, reference)


def test_class_weights_are_sample_weights_by_class():
    weights = {0: 0.5, 2: 3.0}
    model = make()
    reference = Classifier(model.get_weights(), sgd(0.125))
    model.compile(optimizers.SGD(0.125), "sparse_categorical_crossentropy")
    model.fit(X, Y, batch_size=12, class_weight=weights, shuffle=False, verbose=0)
    reference.step(X, Y, np.array([weights.get(label, 1.0) for label in Y]))
    check(model, reference)


@pytest.mark.parametrize("form", ["probabilities", "logits", "one-hot", "column"])
def test_forms_of_the_same_loss(form):
    model = make(activation=None if form == "logits" else "softmax")
    reference = Classifier(model.get_weights(), sgd(0.125))
    losses = ad.losses
    loss = {
        "probabilities": "sparse_categorical_crossentropy",
        "logits": losses.SparseCategoricalCrossentropy(from_logits=True),
        "one-hot": losses.CategoricalCrossentropy,
        "column": losses.sparse_categorical_crossentropy,
    }[form]
    targets = {"one-hot": np.eye(3)[Y], "column": Y[:, None].astype("uint8")}.get(form, Y)
    model.compile(optimizers.SGD(0.125), loss, metrics=["accuracy"])
    model.fit(X, targets, batch_size=12, verbose=0)
    expected = (reference.probabilities(X).argmax(-1) == Y).mean()
    np.testing.assert_allclose(float(model.metrics[1].metrics[0].result()), expected, rtol=1e-6)
    reference.step(X, Y)
    check(model, reference)


@pytest.mark.parametrize("dialect", ["tape", "backward", "grad"])
def test_custom_loops(dialect):
    model = make()
    reference = Classifier(model.get_weights(), adam(0.015625))
    optimizer = optimizers.Adam(0.015625)
    loss_fn = ad.losses.SparseCategoricalCrossentropy()
    variables = model.trainable_variables
    optimizer.build(variables)
    for _ in range(3):
        if dialect == "tape":
            with ad.GradientTape() as tape:
                loss = loss_fn(Y, model(X, training=True))
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
        elif dialect == "backward":
            loss = loss_fn(Y, model(X, training=True))
            loss.backward()
            optimizer.apply()
            assert all(variable.grad is None for variable in variables)
        else:
            loss = loss_fn(Y, model(X, training=True))
            optimizer.apply(ad._core.grad(loss, variables), variables)
        np.testing.assert_allclose(float(loss), reference.loss(X, Y), rtol=1e-9)
        reference.step(X, Y)
    check(model, reference)


def test_train_on_batch_is_a_step():
    model = make()
    reference = Classifier(model.get_weights(), sgd(0.125))
    model.compile(optimizers.SGD(0.125), "sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.train_on_batch(X, Y)
    np.testing.assert_allclose(loss, reference.loss(X, Y), rtol=1e-6)
    np.testing.assert_allclose(accuracy, (reference.probabilities(X).argmax(-1) == Y).mean())
    reference.step(X, Y)
    check(model, reference)
    model.reset_metrics()
    results = model.test_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose(results["loss"], reference.loss(X, Y), rtol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X), reference.probabilities(X), rtol=1e-9)
    check(model, reference)


def test_frozen_layers_do_not_move():
    model = make()
    model.layers[0].trainable = False
    before = model.get_weights()
    model.compile(optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    for i in (0, 1):
        np.testing.assert_array_equal(before[i], after[i])
    for i in (2, 3):
        assert (before[i] != after[i]).any()


def test_the_loss_falls_to_zero_on_separable_data():
    ad.utils.set_random_seed(0)
    x = np.concatenate([RNG.normal(size=(40, 2)) + 4, RNG.normal(size=(40, 2)) - 4])
    y = np.repeat([0, 1], 40)
    model = models.Sequential([layers.Dense(8, "relu"), layers.Dense(1, "sigmoid")])
    model.compile(optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.01 < history["loss"][0]
    assert history["accuracy"][-1] == 1.0
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == 1.0


def test_linear_regression_finds_the_least_squares():
    x = RNG.normal(size=(64, 3))
    y = x @ [[1.0], [-2.0], [0.5]] + 3.0 + 0.1 * RNG.normal(size=(64, 1))
    model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.125), "mse")
    model.fit(x, y, batch_size=64, epochs=300, verbose=0)
    design = np.hstack([x, np.ones((64, 1))])
    expected, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
    found = np.concatenate([model.get_weights()[0], model.get_weights()[1][None]])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), residual[0] / 64, rtol=1e-4)


def test_only_what_is_trained_on_must_be_finite():
    """As `predict` and `evaluate` do: the answer to NaN is NaN."""
    model = models.Sequential([layers.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = np.full((4, 3), np.nan, "float32"), np.zeros((4, 2), "float32")
    assert np.isnan(model.predict_on_batch(x)).all()
    assert np.isnan(model.predict(x, verbose=0)).all()
    assert np.isnan(model.test_on_batch(x, y)) and np.isnan(model.evaluate(x, y, verbose=0))
    with pytest.raises(ValueError, match="`x` contains nan"):
        model.train_on_batch(x, y)
