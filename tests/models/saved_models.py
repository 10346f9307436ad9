"""What the tests of saving share: models, and what it means that two are the same."""

from __future__ import annotations

import numpy as np

import autodan as ad
from autodan import layers, models

X = np.random.default_rng(1).random((40, 6, 6, 2), dtype="float32")
LABELS = np.random.default_rng(2).integers(0, 3, 40)


def again(model, folder, **arguments):
    """Save and load."""
    model.save(folder / "model.keras")
    return models.load_model(folder / "model.keras", **arguments)


def assert_same(first, second):
    """Assert that two models have equal configs and equal bits."""
    assert first.to_json() == second.to_json()
    assert [v.path for v in first.variables] == [v.path for v in second.variables]
    for one, other in zip(first.variables, second.variables, strict=True):
        assert (one.dtype, one.trainable) == (other.dtype, other.trainable)
        assert one.numpy().tobytes() == other.numpy().tobytes()


def assert_same_training(first, second):
    """Assert that two models and their optimizers have equal bits."""
    for one, other in zip(first.variables, second.variables, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes(), one.path
    pairs = zip(first.optimizer.variables, second.optimizer.variables, strict=True)
    for one, other in pairs:
        assert one.numpy().tobytes() == other.numpy().tobytes(), one.name
    assert first.epochs_trained == second.epochs_trained


class Noisy(layers.Layer):
    """A layer of the user's own with a stream of random numbers in a list."""

    def __init__(self, scale=0.1, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.streams = {"noise": [ad.random.SeedGenerator()]}

    def call(self, inputs):
        noise = ad.random.normal(inputs.shape, seed=self.streams["noise"][0])
        return inputs + self.scale * noise

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


METRICS = ("accuracy", "sparse_top_k_categorical_accuracy")


def network(optimizer, loss="sparse_categorical_crossentropy", noise=True, metrics=METRICS, **more):
    entries = [
        ad.Input((6, 6, 2)),
        layers.Conv2D(3, 3, activation="relu", kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
    if noise:
        entries.insert(3, Noisy())
    model = ad.Sequential(entries)
    optimizer = type(optimizer).from_config(optimizer.get_config())
    model.compile(optimizer, loss, metrics=list(metrics), **more)
    return model


class Subclassed(ad.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [layers.Dense(4, activation="relu"), layers.Dropout(0.5)]
        self.out = layers.Dense(1)

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.out(inputs)
