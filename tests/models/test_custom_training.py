"""Training steps and loops of one's own, as Keras's guides write them."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import layers, metrics, models, optimizers

RNG = np.random.default_rng(9)
X = RNG.normal(size=(20, 3)).astype("float32")
Y = (X @ [[1.0], [-1.0], [2.0]] + 0.5).astype("float32")


class WithTape(models.Sequential):
    def train_step(self, data):
        x, y = data
        with ad.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply(gradients, variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


class WithBackward(models.Sequential):
    def train_step(self, data):
        x, y = data
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        loss.backward()
        variables = self.trainable_weights
        gradients = [variable.grad for variable in variables]
        with ad.no_grad():
            self.optimizer.apply(gradients, variables)
            for variable in variables:
                variable.grad = None
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss.detach())
            else:
                metric.update_state(y, y_pred)
        return self.get_metrics_result()


def train(kind, **arguments):
    ad.utils.set_random_seed(1)
    model = kind([layers.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"], **arguments)
    history = model.fit(X, Y, batch_size=10, epochs=3, verbose=0).history
    return model.get_weights(), history


@pytest.mark.parametrize("kind", [WithTape, WithBackward])
def test_own_train_steps_do_what_the_built_in_one_does(kind):
    weights, history = train(kind)
    expected, expected_history = train(models.Sequential)
    for actual, reference in zip(weights, expected, strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-6, atol=1e-7)
    assert set(history) == {"loss", "mae"}
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)


def test_a_loss_and_metrics_of_ones_own():
    """The guide's CustomModel: no compiled loss, metrics as attributes."""

    class CustomModel(models.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)
            self.loss_tracker = metrics.Mean(name="loss")
            self.mae_metric = metrics.MeanAbsoluteError(name="mae")
            self.loss_fn = ad.losses.MeanSquaredError()

        def call(self, inputs):
            return self.dense(inputs)

        def train_step(self, data):
            x, y = data
            with ad.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.loss_fn(y, y_pred)
            variables = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

    model = CustomModel()
    model.compile(optimizer=optimizers.SGD(0.1))
    history = model.fit(X, Y, batch_size=20, epochs=40, verbose=0).history
    assert set(history) == {"loss", "mae"}
    assert history["loss"][-1] < 0.05 * history["loss"][0]
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(X @ kernel + bias, model.predict(X, verbose=0), rtol=1e-4, atol=1e-5)


def test_own_test_step():
    class Halved(models.Sequential):
        def test_step(self, data):
            x, y = data
            return {"half": self.compute_loss(y=y, y_pred=self(x, training=False)) / 2}

    model = Halved([layers.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    expected = ((model.predict(X, verbose=0) - Y) ** 2).mean() / 2
    results = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert set(results) == {"half"}
    np.testing.assert_allclose(results["half"], expected, rtol=1e-5)
    history = model.fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert set(history) == {"loss", "val_half"}


def test_own_compute_loss():
    class Scaled(models.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return 10.0 * super().compute_loss(x, y, y_pred, sample_weight, training)

    model = Scaled([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    expected = 10 * ((model.predict(X, verbose=0) - Y) ** 2).mean()
    np.testing.assert_allclose(model.fit(X, Y, verbose=0).history["loss"], [expected], rtol=1e-5)


def test_a_loss_added_in_call():
    class Autoencoder(models.Model):
        def __init__(self):
            super().__init__()
            self.code = layers.Dense(3, use_bias=False)

        def call(self, inputs):
            output = self.code(inputs)
            self.add_loss(ad.ops.mean(ad.ops.square(output - inputs)))
            return output

    model = Autoencoder()
    model.compile(optimizers.Adam(0.1))
    history = model.fit(X, epochs=60, verbose=0).history
    assert history["loss"][-1] < 1e-2 * history["loss"][0]
    np.testing.assert_allclose(model.get_weights()[0], np.eye(3), atol=0.1)


def test_a_loss_function_of_ones_own():
    def fourth_power(y_true, y_pred):
        return ad.ops.mean((y_true - y_pred) ** 4, axis=-1)

    model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), fourth_power)
    expected = ((model.predict(X, verbose=0) - Y) ** 4).mean()
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), expected, rtol=1e-5)


def test_the_loop_of_the_guide():
    """Written from scratch: batches, tape, optimizer, metric."""
    labels = (Y[:, 0] > 0).astype("int64")
    model = models.Sequential([layers.Dense(8, "relu"), layers.Dense(2)])
    optimizer = optimizers.Adam(0.05)
    loss_fn = ad.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = metrics.SparseCategoricalAccuracy()
    losses = []
    for _ in range(30):
        for start in range(0, 20, 5):
            x_batch, y_batch = X[start : start + 5], labels[start : start + 5]
            with ad.GradientTape() as tape:
                logits = model(x_batch, training=True)
                loss = loss_fn(y_batch, logits)
            gradients = tape.gradient(loss, model.trainable_weights)
            optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
            accuracy.update_state(y_batch, logits)
            losses.append(float(loss))
        last = float(accuracy.result())
        accuracy.reset_state()
    assert last == 1.0
    assert np.mean(losses[-4:]) < 0.2 * np.mean(losses[:4])


def test_no_loss_and_no_weights():
    model = models.Sequential([layers.Input((3,)), layers.Dense(1)], name="m")
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"'m' has no loss to train on\. Pass `loss` to compile"):
        model.fit(X, Y, verbose=0)
    empty = models.Sequential([layers.Input((3,)), layers.Flatten()], name="e")
    empty.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="'e' has no trainable weights"):
        empty.fit(X, X, verbose=0)
