"""`ModelCheckpoint`: when it saves, what, and under which name."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest

import autodan as ad
from autodan import layers, models
from autodan.callbacks import ModelCheckpoint

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")


class Recorder:
    """Stands in for a model: notes what is saved."""

    def __init__(self):
        self.saved = []
        self.metrics = [ad.metrics.CategoricalAccuracy()]

    def save(self, path, overwrite):
        self.saved.append(("model", path))

    def save_weights(self, path, overwrite):
        self.saved.append(("weights", path))


def run(callback, epochs, batches=0):
    """Drive a callback with the logs of some epochs; return what it saved."""
    model = Recorder()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_begin(epoch)
        for batch in range(batches):
            callback.on_train_batch_end(batch, {"loss": 0.5, "more": {"accuracy": 1}})
        callback.on_epoch_end(epoch, logs)
    return model.saved


def test_every_epoch_has_its_file():
    path = "m.{epoch:02d}-{val_loss:.2f}.keras"
    logs = [{"val_loss": 0.5}, {"val_loss": 0.25}]
    assert run(ModelCheckpoint(path), logs) == [
        ("model", "m.01-0.50.keras"),
        ("model", "m.02-0.25.keras"),
    ]
    assert run(ModelCheckpoint("w", save_weights_only=True), logs[:1]) == [("weights", "w")]


@pytest.mark.parametrize(
    ("values", "arguments", "saved"),
    [
        ([3, 2, 2.5, 1], {}, [1, 2, 4]),
        ([3, float("nan"), 2], {}, [1, 3]),
        ([float("nan"), 2, float("nan")], {}, [2]),
        ([1, 2, 1.5, 3], {"mode": "max"}, [1, 2, 4]),
        ([3, 2, 1], {"initial_value_threshold": 2}, [3]),
    ],
)
def test_only_the_best(values, arguments, saved, capsys):
    callback = ModelCheckpoint("{epoch}", save_best_only=True, verbose=1, **arguments)
    result = run(callback, [{"val_loss": value} for value in values])
    assert result == [("model", str(epoch)) for epoch in saved]
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == len(values)
    assert all("improved from" in lines[epoch - 1] for epoch in saved)
    assert all(" improve from" in line or " improved from" in line for line in lines)
    assert callback.best == values[saved[-1] - 1]


def test_the_direction_follows_the_metric():
    callback = ModelCheckpoint("{epoch}", "val_categorical_accuracy", save_best_only=True)
    logs = [{"val_categorical_accuracy": value} for value in (0.1, 0.3, 0.2)]
    assert run(callback, logs) == [("model", "1"), ("model", "2")]


def test_a_value_that_is_missing_warns_and_saves_nothing():
    callback = ModelCheckpoint("m", save_best_only=True)
    with pytest.warns(UserWarning, match="ModelCheckpoint watches 'val_loss', which is not"):
        assert run(callback, [{"loss": 1.0}]) == []


def test_numbers_of_batches_count_across_epochs():
    callback = ModelCheckpoint("{epoch}-{batch}-{accuracy:.0f}", save_freq=3)
    assert run(callback, [{}, {}], batches=4) == [("model", "1-3-1"), ("model", "2-2-1")]


@pytest.mark.parametrize("save_freq", [0, -1, 2.0, "batch", True])
def test_save_freq_is_checked(save_freq):
    with pytest.raises(ValueError, match="save_freq='epoch' or a positive number"):
        ModelCheckpoint("m", save_freq=save_freq)


def test_a_name_that_is_not_there_says_which_are():
    callback = ModelCheckpoint("{epoch}-{val_acc}")
    callback.set_model(SimpleNamespace())
    with pytest.raises(KeyError, match=r"mentions 'val_acc'.*Available: epoch, loss"):
        callback.on_epoch_end(0, {"loss": 1.0})


def test_training_goes_on_from_a_checkpoint(tmp_path):
    def train(epochs, model=None, callbacks=()):
        if model is None:
            ad.utils.set_random_seed(1)
            model = ad.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(1)])
            model.compile("adam", "mse")
        start = model.epochs_trained
        model.fit(X, Y, 4, epochs, 0, callbacks=list(callbacks), initial_epoch=start)
        return model

    whole = train(3)
    train(2, callbacks=[ModelCheckpoint(tmp_path / "{epoch}.keras")])
    assert sorted(os.listdir(tmp_path)) == ["1.keras", "2.keras"]
    for name in ("1", "2"):
        rest = train(3, models.load_model(tmp_path / f"{name}.keras"))
        for one, other in zip(whole.get_weights(), rest.get_weights(), strict=True):
            assert one.tobytes() == other.tobytes()
