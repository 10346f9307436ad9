"""Callbacks: with a model that is none, and with a small real one."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest

import autodan as ad
from autodan import callbacks, optimizers
from autodan.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ProgbarLogger,
    ReduceLROnPlateau,
    TerminateOnNaN,
)

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")


class FakeModel:
    """What callbacks need of a model; its weight is the number of the epoch."""

    def __init__(self, rate=1.0, metrics=()):
        self.optimizer = optimizers.SGD(rate)
        self.metrics = list(metrics)
        self.stop_training = False
        self.history = None
        self.epoch = -1

    def get_weights(self):
        return [np.array(self.epoch)]

    def set_weights(self, weights):
        self.epoch = int(weights[0])


def run(callback, values, model=None, name="val_loss"):
    """Let a callback see an epoch for each value; return the model and the recorded history."""
    model = model or FakeModel()
    listed = CallbackList(callback, add_history=True, model=model, verbose=0, epochs=9, steps=1)
    listed.on_train_begin()
    for epoch, value in enumerate(values):
        listed.on_epoch_begin(epoch)
        model.epoch = epoch
        listed.on_epoch_end(epoch, {name: value})
        if model.stop_training:
            break
    listed.on_train_end()
    return model, model.history


def small_model(optimizer="sgd", **kwargs):
    model = ad.Sequential([ad.layers.Dense(1)])
    model.compile(optimizer, "mse", **kwargs)
    return model


class Unreadable:
    """A value that must not be read."""

    def __float__(self):
        raise AssertionError("read")


# -- the list ------------------------------------------------------------------------------------


def test_order_of_calls_in_fit():
    seen = []

    class Recorder(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):
                return lambda *arguments: seen.append(name)
            return super().__getattribute__(name)

    small_model().fit(
        X,
        Y,
        batch_size=12,
        epochs=1,
        verbose=0,
        callbacks=[Recorder()],
        validation_data=(X[:4], Y[:4]),
    )
    batch = ["on_train_batch_begin", "on_train_batch_end"]
    validation = ["on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"]
    epoch = ["on_epoch_begin", *batch, *batch, *validation, "on_epoch_end"]
    assert seen == ["on_train_begin", *epoch, "on_train_end"]


def test_values_are_not_read_without_need():
    class AtTheEnd(Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert logs == {"loss": 1.0}

    bar = ProgbarLogger()
    listed = CallbackList([AtTheEnd(), bar], add_history=True, verbose=0, epochs=1, steps=1)
    listed.on_train_batch_end(0, {"loss": Unreadable()})
    listed.on_test_batch_end(0, {"loss": Unreadable()})
    listed.on_predict_batch_end(0, {"outputs": Unreadable()})
    listed.on_epoch_end(0, {"loss": ad.tensor(1.0)})


def test_batch_callbacks_get_floats():
    seen = []

    class Batches(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(("train", batch, logs))

        def on_test_batch_end(self, batch, logs=None):
            seen.append(("test", batch, logs))

    listed = CallbackList([Batches()])
    listed.on_train_batch_end(3, {"loss": ad.tensor(0.5), "inner": {"mae": ad.tensor(0.25)}})
    listed.on_test_batch_end(4, {"loss": np.float32(2.0)})
    listed.on_test_batch_end(5)
    assert seen == [
        ("train", 3, {"loss": 0.5, "mae": 0.25}),
        ("test", 4, {"loss": 2.0}),
        ("test", 5, {}),
    ]
    assert all(type(value) is float for _, _, logs in seen for value in logs.values())


def test_predictions_reach_callbacks_as_they_are():
    seen = []

    class Outputs(Callback):
        def on_predict_batch_end(self, batch, logs=None):
            seen.append(logs["outputs"].shape)

    model = small_model()
    model.predict(X, batch_size=16, verbose=0, callbacks=[Outputs()])
    assert seen == [(16, 1), (8, 1)]


def test_older_names_of_the_batch_methods():
    seen = []

    class Old(Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch, sorted(logs)))

    small_model().fit(X, Y, batch_size=24, epochs=1, verbose=0, callbacks=[Old()])
    assert seen == [("begin", 0), ("end", 0, ["loss"])]


def test_values_added_at_the_end_of_an_epoch_are_recorded():
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 10.0 * epoch

    history = small_model().fit(X, Y, epochs=2, verbose=0, callbacks=[Adds()])
    assert history.history["extra"] == [0.0, 10.0]


def test_params_and_model_are_handed_over():
    first, second = Callback(), Callback()
    model = FakeModel()
    listed = CallbackList([[first]], model=model, epochs=3)
    listed.append(second)
    for callback in (first, second):
        assert callback.model is model
        assert callback.params == {"epochs": 3}


def test_defaults_are_added_once():
    history = History()
    model = FakeModel()
    listed = CallbackList([history], add_history=True, add_progbar=True, model=model)
    assert [type(c) for c in listed.callbacks] == [History, ProgbarLogger]
    assert model.history is history


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([History(), EarlyStopping], r"callbacks\[1\] is no .*instance: EarlyStopping\(...\)"),
        ([print], r"callbacks\[0\] is no Callback: <built-in function print>"),
    ],
)
def test_what_is_no_callback(given, message):
    with pytest.raises(TypeError, match=message):
        CallbackList(given)


# -- History, LambdaCallback ---------------------------------------------------------------------


def test_history_of_fit():
    model = small_model(metrics=["mae"])
    history = model.fit(X, Y, epochs=3, verbose=0, validation_split=0.25)
    assert model.history is history
    assert history.epoch == [0, 1, 2]
    assert sorted(history.history) == ["loss", "mae", "val_loss", "val_mae"]
    for values in history.history.values():
        assert len(values) == 3
        assert all(type(value) is float for value in values)
    model.fit(X, Y, epochs=1, verbose=0)
    assert len(model.history.history["loss"]) == 1
    assert len(history.history["loss"]) == 3


def test_lambda_callback():
    seen = []
    callback = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(("epoch", epoch)),
        on_train_batch_end=lambda batch, logs: seen.append((batch, type(logs["loss"]))),
        on_test_end=lambda logs: seen.append(sorted(logs)),
    )
    model = small_model()
    model.fit(X, Y, batch_size=24, epochs=1, verbose=0, callbacks=[callback])
    model.evaluate(X, Y, verbose=0, callbacks=[callback])
    assert seen == [("epoch", 0), (0, float), ["loss"]]
    with pytest.raises(ValueError, match=r"Did you mean 'on_epoch_end'\?"):
        LambdaCallback(on_epoch_ends=print)


# -- EarlyStopping -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [3, 2, 2, 1], 3),
        ({"patience": 1}, [3, 2, 2, 1, 1, 1], 3),
        ({"patience": 2}, [3, 2, 2, 2, 1], 4),
        ({"patience": 2}, [3, 2, 2, 1, 2, 2, 0], 6),
        ({"min_delta": 0.5, "patience": 1}, [3, 2, 1.8, 1.6, 1], 3),
        ({"min_delta": -0.5}, [3, 2.8, 1], 2),
        ({"mode": "max"}, [1, 2, 3, 2, 4], 4),
        ({"monitor": "val_accuracy"}, [0.1, 0.2, 0.1, 0.3], 3),
        ({"start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5),
        ({"baseline": 1.0, "patience": 2}, [3, 2, 1.5, 1.2, 1.1], 5),
        ({"baseline": 1.0, "patience": 2}, [3, 2, 2, 2], 3),
        ({"baseline": 1.0, "patience": 2}, [0.5, 2, 2, 2], 3),
        ({"patience": 1}, [math.nan, math.nan, 1], 2),
        ({"patience": 1}, [math.nan, 2, 1, math.nan], 4),
        ({}, [2, 1], 2),
    ],
)
def test_early_stopping(options, values, epochs):
    callback = EarlyStopping(**options)
    model, history = run(callback, values, name=callback.monitor)
    assert len(history.epoch) == epochs
    stopped = model.stop_training
    assert callback.stopped_epoch == (epochs - 1 if stopped else 0)


def test_first_epoch_never_stops():
    _, history = run(EarlyStopping(), [math.nan, 1])
    assert len(history.epoch) == 2


@pytest.mark.parametrize("stops", [True, False])
def test_best_weights_are_restored(stops, capsys):
    callback = EarlyStopping(patience=2 if stops else 9, restore_best_weights=True, verbose=1)
    model, _ = run(callback, [3, 1, 2, 2, 2])
    assert model.epoch == 1
    assert (callback.best, callback.best_epoch) == (1, 1)
    printed = capsys.readouterr().out
    assert ("Epoch 4: early stopping\n" in printed) == stops
    assert "Restoring model weights from the end of the best epoch: 2.\n" in printed


def test_weights_are_left_alone_by_default():
    model, _ = run(EarlyStopping(patience=2), [3, 1, 2, 2])
    assert model.epoch == 3


def test_best_weights_without_improvement_are_the_first():
    callback = EarlyStopping(patience=1, baseline=0.1, restore_best_weights=True)
    model, _ = run(callback, [math.nan, math.nan])
    assert model.epoch == 0


def test_early_stopping_can_be_used_again():
    callback = EarlyStopping()
    run(callback, [1, 2])
    _, history = run(callback, [9, 8, 7])
    assert len(history.epoch) == 3


def test_direction_by_the_models_metrics():
    rising, falling = SimpleNamespace(name="score", _direction="up"), ad.metrics.Mean(name="x")
    falling._direction = "down"
    container = SimpleNamespace(name="compile_metrics", metrics=[rising, falling])
    _, history = run(
        EarlyStopping("val_score"), [1, 2, 3, 1], FakeModel(metrics=[container]), "val_score"
    )
    assert len(history.epoch) == 4
    _, history = run(EarlyStopping("x"), [3, 2, 3, 1], FakeModel(metrics=[container]), "x")
    assert len(history.epoch) == 3


def test_direction_that_cannot_be_told():
    message = "EarlyStopping watches 'val_score' and cannot tell.*mode='max' or mode='min'"
    with pytest.raises(ValueError, match=message):
        run(EarlyStopping("val_score"), [1, 2], name="val_score")


def test_value_that_is_missing():
    message = "EarlyStopping watches 'val_loss', which is not available. Available: loss"
    with pytest.warns(UserWarning, match=message):
        model, _ = run(EarlyStopping(), [1, 2], name="loss")
    assert not model.stop_training


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"EarlyStopping needs mode in .* mode='maximum'"):
        EarlyStopping(mode="maximum")


def test_early_stopping_of_a_real_model():
    model = small_model(optimizers.SGD(0.0))
    start = None

    class Remember(Callback):
        def on_train_begin(self, logs=None):
            nonlocal start
            start = model.get_weights()

    stop = EarlyStopping("loss", patience=2, restore_best_weights=True)
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[Remember(), stop], shuffle=False)
    assert len(history.epoch) == 3
    for weight, first in zip(model.get_weights(), start, strict=True):
        np.testing.assert_array_equal(weight, first)


def test_restored_weights_are_those_of_the_best_epoch():
    model = small_model(optimizers.SGD(0.05))
    kept = []

    class Spoil(Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(model.get_weights())
            logs["val_loss"] = float(abs(epoch - 1))

    model.fit(
        X, Y, epochs=4, verbose=0, callbacks=[Spoil(), EarlyStopping(restore_best_weights=True)]
    )
    for weight, best in zip(model.get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(weight, best)


# -- TerminateOnNaN ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_terminate_on_nan(loss, capsys):
    model = FakeModel()
    listed = CallbackList([TerminateOnNaN()], model=model)
    listed.on_train_batch_end(0, {"loss": ad.tensor(1.0)})
    listed.on_train_batch_end(1, {})
    assert not model.stop_training
    listed.on_train_batch_end(2, {"loss": ad.tensor(loss)})
    assert model.stop_training
    assert capsys.readouterr().out == f"Batch 2: loss is {loss}, training ends.\n"


def test_terminate_on_nan_may_raise():
    with pytest.raises(RuntimeError, match="The loss is nan after batch 4"):
        TerminateOnNaN(raise_error=True).on_train_batch_end(4, {"loss": math.nan})


# -- learning rate -------------------------------------------------------------------------------


def test_learning_rate_scheduler():
    model = small_model(optimizers.SGD(0.5))
    callback = LearningRateScheduler(lambda epoch, lr: lr if epoch < 1 else lr * 0.5)
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[callback])
    assert history.history["learning_rate"] == [0.5, 0.25, 0.125]
    assert float(model.optimizer.learning_rate) == 0.125


def test_learning_rate_changes_the_updates():
    model = small_model(optimizers.SGD(0.5))
    model.fit(X, Y, epochs=1, verbose=0)
    before = model.get_weights()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[LearningRateScheduler(lambda epoch: 0.0)])
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_scheduler_says_what_it_does(capsys):
    run(LearningRateScheduler(lambda epoch: 0.25, verbose=1), [1])
    expected = "Epoch 1: LearningRateScheduler setting learning rate to 0.25.\n"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("result", [None, "fast", math.nan, [0.1, 0.2]])
def test_scheduler_needs_a_number(result):
    model = FakeModel(0.5)
    message = "the schedule must return a finite number. It returned .* for epoch 0"
    with pytest.raises(ValueError, match=message):
        run(LearningRateScheduler(lambda epoch, lr: result), [1], model)
    assert float(model.optimizer.learning_rate) == 0.5


def test_scheduler_passes_on_the_schedules_own_error():
    def schedule(epoch, lr):
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        run(LearningRateScheduler(schedule), [1])


def test_scheduler_on_an_optimizer_with_a_schedule():
    decay = optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(TypeError, match="created with the schedule ExponentialDecay"):
        run(LearningRateScheduler(lambda epoch: 0.1), [1], FakeModel(decay))


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 1}, [3, 2, 2, 1], [1, 1, 1, 0.5]),
        ({"patience": 2}, [3, 3, 3, 3, 3, 3], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [3] * 6, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.375}, [3] * 5, [1, 1, 0.5, 0.375, 0.375]),
        ({"patience": 1, "min_delta": 1.5}, [3, 2, 1], [1, 1, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 1, 1], [1, 1, 1, 0.5]),
    ],
)
def test_reduce_learning_rate(options, values, rates):
    _, history = run(ReduceLROnPlateau(factor=0.5, **options), values)
    assert history.history["learning_rate"] == rates


def test_reduce_learning_rate_says_what_it_does(capsys):
    run(ReduceLROnPlateau(factor=0.5, patience=1, verbose=1), [1, 1])
    expected = "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.5.\n"
    assert expected in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"needs factor < 1\. Received: factor=1\.0"):
        ReduceLROnPlateau(factor=1.0)


# -- files and terminal --------------------------------------------------------------------------


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    model = small_model(metrics=["mae"])
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[CSVLogger(path)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "mae"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[CSVLogger(path, append=True)])
    assert len(path.read_text().splitlines()) == 4
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[CSVLogger(path, separator=";")])
    assert path.read_text().splitlines()[0] == "epoch;loss;mae"


def test_csv_logger_fills_what_is_missing(tmp_path):
    logger = CSVLogger(tmp_path / "log.csv")
    logger.on_train_begin()
    logger.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    logger.on_epoch_end(1, {"loss": 0.5})
    logger.on_train_end()
    assert (tmp_path / "log.csv").read_text().splitlines()[2] == "1,0.5,NA"


def test_progress_of_fit(capsys):
    model = small_model(metrics=["mae"])
    history = model.fit(X, Y, batch_size=8, epochs=2, verbose=2, validation_data=(X[:5], Y[:5]))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    results = [line for line in lines if line.startswith("3/3")]
    assert len(results) == 2
    last = {name: values[-1] for name, values in history.history.items()}
    expected = " - ".join(
        f"{name}: {last[name]:.4f}" for name in ("loss", "mae", "val_loss", "val_mae")
    )
    assert results[-1].endswith(expected)


def test_progress_of_evaluate_and_predict(capsys):
    model = small_model()
    loss = model.evaluate(X, Y, batch_size=8, verbose=2)
    printed = capsys.readouterr().out
    assert printed.startswith("3/3")
    assert printed.endswith(f"loss: {loss:.4f}\n")
    model.predict(X, batch_size=12, verbose=2)
    assert capsys.readouterr().out.startswith("2/2")


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbosity(verbose, capsys):
    small_model().fit(X, Y, epochs=1, verbose=verbose)
    assert bool(capsys.readouterr().out) == bool(verbose)


def test_bar_shows_running_means_as_they_are(monkeypatch):
    shown = []

    class Bar:
        def __init__(self, target, **kwargs):
            self.target, self.stateful_metrics = target, frozenset()

        def update(self, current, values=None, finalize=None):
            shown.append((current, values, finalize, set(self.stateful_metrics)))

    monkeypatch.setattr(callbacks.records, "Progbar", Bar)
    logger = ProgbarLogger()
    logger.set_params({"verbose": "auto", "epochs": 1, "steps": None})
    logger.on_epoch_begin(0)
    logger.on_train_batch_end(0, {"loss": 2.0, "acc": 0.5})
    logger.on_epoch_end(0, {"loss": 1.0, "acc": 0.75})
    assert shown == [
        (1, [("acc", 0.5), ("loss", 2.0)], False, {"acc", "loss"}),
        (1, [("acc", 0.75), ("loss", 1.0)], True, {"acc", "loss"}),
    ]
