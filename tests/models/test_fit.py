"""What fit, evaluate and predict mean: epochs, validation, order, callbacks, output."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import callbacks, layers, models, optimizers

RNG = np.random.default_rng(4)
X = RNG.normal(size=(10, 3)).astype("float32")
Y = (X @ [[1.0], [2.0], [-1.0]]).astype("float32")
LABELS = (Y[:, 0] > 0).astype("int64")


def regressor(rate=0.0, **arguments):
    """Return a compiled linear model; with a rate of 0 its losses can be known beforehand."""
    ad.utils.set_random_seed(1)
    model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizers.SGD(rate), "mse", **arguments)
    return model


def classifier(metrics=("accuracy",)):
    ad.utils.set_random_seed(1)
    model = models.Sequential(
        [layers.Input((3,)), layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(2)]
    )
    loss = ad.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=list(metrics))
    return model


def mse(model, x, y):
    return float(((model.predict(x, verbose=0) - y) ** 2).mean())


class Record(callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.events = []

    def on_train_begin(self, logs=None):
        self.events.append("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(f"batch {batch}")

    def on_test_begin(self, logs=None):
        self.events.append("test")

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(f"end {epoch}: {', '.join(sorted(logs))}")

    def on_train_end(self, logs=None):
        self.events.append("trained")


class Batches(callbacks.Callback):
    """Counts batches."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


# -- history and epochs --------------------------------------------------------------------------


def test_history_has_the_keys_of_keras():
    model = classifier()
    history = model.fit(X, LABELS, epochs=3, validation_data=(X, LABELS), verbose=0)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 3 for values in history.history.values())
    assert all(type(value) is float for values in history.history.values() for value in values)
    assert history.epoch == [0, 1, 2]
    assert model.history is history
    assert history.params["epochs"] == 3


def test_initial_epoch():
    history = regressor().fit(X, Y, epochs=5, initial_epoch=2, verbose=0)
    assert history.epoch == [2, 3, 4]
    assert regressor().fit(X, Y, epochs=2, initial_epoch=2, verbose=0).epoch == []


def test_the_order_of_events():
    record = Record()
    regressor().fit(
        X, Y, batch_size=5, epochs=2, validation_split=0.2, callbacks=[record], verbose=0
    )
    epoch = ["batch 0", "batch 1", "test", "end {}: loss, val_loss"]
    assert record.events == [
        "train",
        *(line.format(i) for i in range(2) for line in [f"epoch {i}", *epoch]),
        "trained",
    ]


@pytest.mark.parametrize(
    ("frequency", "validated"), [(1, [0, 1, 2, 3]), (2, [1, 3]), ([1, 4], [0, 3])], ids=str
)
def test_validation_freq(frequency, validated):
    history = regressor().fit(
        X, Y, epochs=4, validation_data=(X, Y), validation_freq=frequency, verbose=0
    )
    assert len(history.history["val_loss"]) == len(validated)


def test_a_rate_of_zero_reports_the_loss_of_the_whole_data():
    model = regressor()
    expected = mse(model, X, Y)
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [expected] * 2, rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(X, Y, batch_size=3, verbose=0), expected, rtol=1e-5)


# -- validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("fraction", "cut"), [(0.2, 8), (0.25, 7), (0.5, 5), (0.01, 9)])
def test_validation_split_takes_the_last_rows(fraction, cut):
    model = regressor()
    history = model.fit(X, Y, validation_split=fraction, verbose=0).history
    np.testing.assert_allclose(history["loss"], [mse(model, X[:cut], Y[:cut])], rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], [mse(model, X[cut:], Y[cut:])], rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.99, 1.0, -0.5])
def test_a_split_that_leaves_nothing(fraction):
    with pytest.raises(ValueError, match=rf"validation_split={fraction} of 10 samples leaves no"):
        regressor().fit(X, Y, validation_split=fraction, verbose=0)


def test_validation_data_with_weights():
    model = regressor()
    weight = np.arange(10.0)
    history = model.fit(X, Y, validation_data=(X, Y, weight), verbose=0).history
    errors = (model.predict(X, verbose=0) - Y)[:, 0] ** 2
    np.testing.assert_allclose(history["val_loss"], [(weight * errors).mean()], rtol=1e-5)
    np.testing.assert_allclose(
        model.evaluate(X, Y, sample_weight=weight, verbose=0), history["val_loss"], rtol=1e-5
    )


def test_class_weights_do_not_weigh_the_validation():
    ad.utils.set_random_seed(1)
    model = models.Sequential([layers.Input((3,)), layers.Dense(2, "softmax")])
    model.compile(optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    history = model.fit(
        X, LABELS, class_weight={0: 7.0, 1: 0.1}, validation_split=0.5, verbose=0
    ).history
    plain = model.evaluate(X[5:], LABELS[5:], verbose=0)
    np.testing.assert_allclose(history["val_loss"], [plain], rtol=1e-5)
    assert abs(history["loss"][0] - model.evaluate(X[:5], LABELS[:5], verbose=0)) > 0.1


# -- order ---------------------------------------------------------------------------------------


class Orders(models.Sequential):
    """Writes down the first column of every batch."""

    def train_step(self, data):
        self.seen.append(data[0].numpy()[:, 0].tolist())
        return super().train_step(data)


def orders(shuffle, epochs=2, seed=1):
    ad.utils.set_random_seed(seed)
    model = Orders([layers.Input((1,)), layers.Dense(1)])
    model.seen = []
    model.compile("sgd", "mse", run_eagerly=True)
    rows = np.arange(10.0)[:, None]
    model.fit(rows, rows, batch_size=4, epochs=epochs, shuffle=shuffle, verbose=0)
    return model.seen


def test_without_shuffling_rows_come_in_order_and_the_last_batch_is_short():
    assert orders(False, 1) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_each_epoch_has_an_order_of_its_own():
    seen = orders(True)
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    epochs = [[row for batch in part for row in batch] for part in (seen[:3], seen[3:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert list(range(10)) not in epochs


def test_the_seed_decides_the_order():
    assert orders(True) == orders(True)
    assert orders(True) != orders(True, seed=2)


def test_targets_and_weights_stay_with_their_rows():
    class Aligned(models.Sequential):
        def train_step(self, data):
            x, y, weight = (part.numpy() for part in data)
            np.testing.assert_array_equal(x[:, 0], y[:, 0])
            np.testing.assert_array_equal(x[:, 0], weight)
            return super().train_step(data)

    model = Aligned([layers.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    rows = np.arange(50.0)[:, None]
    model.fit(rows, rows, sample_weight=rows[:, 0], verbose=0)


def test_the_same_seed_gives_the_same_bits():
    def train(seed):
        ad.utils.set_random_seed(seed)
        model = models.Sequential(
            [
                layers.Conv2D(4, 3, activation="relu", input_shape=(6, 6, 1)),
                layers.BatchNormalization(),
                layers.Flatten(),
                layers.Dropout(0.3),
                layers.Dense(2, "softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        x = np.random.default_rng(0).normal(size=(40, 6, 6, 1))
        y = np.arange(40) % 2
        history = model.fit(x, y, batch_size=16, epochs=2, validation_split=0.2, verbose=0)
        return model.get_weights(), history.history

    (weights, history), (again, history_again) = train(9), train(9)
    for a, b in zip(weights, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == history_again
    other, _ = train(10)
    assert any((a != b).any() for a, b in zip(weights, other, strict=True))


# -- kinds of data -------------------------------------------------------------------------------


def test_fit_and_evaluate_accept_tensors_and_lists():
    model = regressor()
    expected = mse(model, X, Y)
    for x, y in [(ad.tensor(X), ad.tensor(Y)), (X.tolist(), Y.tolist()), (X.astype("f8"), Y)]:
        np.testing.assert_allclose(model.fit(x, y, verbose=0).history["loss"][0], expected, 1e-5)
        np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int64", "float16", "float64", "bool"]
)
def test_any_real_dtype(dtype):
    x = RNG.integers(0, 2, size=(10, 3)).astype(dtype)
    model = regressor()
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), model.predict(x.astype("float32"), verbose=0)
    )
    model.fit(x, Y, verbose=0)


def test_a_generator_needs_steps_and_goes_on_where_it_stopped():
    taken = []

    def batches():
        for i in range(100):
            taken.append(i)
            yield X[:2], Y[:2]

    model = regressor()
    count = Batches()
    history = model.fit(batches(), steps_per_epoch=3, epochs=2, callbacks=[count], verbose=0)
    assert count.count == 6
    assert len(taken) == 6
    np.testing.assert_allclose(history.history["loss"], [mse(model, X[:2], Y[:2])] * 2, rtol=1e-5)


def test_a_generator_that_runs_out_stops_training():
    model = regressor()
    stream = ((X[i : i + 2], Y[i : i + 2]) for i in range(0, 10, 2))
    with pytest.warns(UserWarning, match="ran out before epoch 2"):
        history = model.fit(stream, epochs=3, verbose=0)
    assert history.epoch == [0]
    np.testing.assert_allclose(history.history["loss"], [mse(model, X, Y)], rtol=1e-5)


def test_an_iterable_starts_anew_each_epoch():
    class Halves:
        def __iter__(self):
            yield X[:5], Y[:5]
            yield X[5:], Y[5:]

    count = Batches()
    model = regressor()
    model.fit(Halves(), epochs=3, callbacks=[count], verbose=0)
    assert count.count == 6
    np.testing.assert_allclose(model.evaluate(Halves(), verbose=0), mse(model, X, Y), rtol=1e-5)


class Sequence:
    """A data set of batches with a length, as Keras's PyDataset."""

    def __init__(self, weights=False):
        self.weights = weights
        self.ended = 0
        self.order = []

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.order.append(index)
        part = slice(2 * index, 2 * index + 2)
        weights = (np.full(2, 2.0),) if self.weights else ()
        return X[part], Y[part], *weights

    def on_epoch_end(self):
        self.ended += 1


def test_a_sequence_of_batches():
    sequence = Sequence()
    model = regressor()
    history = model.fit(sequence, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [mse(model, X, Y)] * 2, rtol=1e-5)
    assert sequence.order[-10:] == [0, 1, 2, 3, 4] * 2
    assert sequence.ended == 2
    np.testing.assert_allclose(
        model.predict(sequence, verbose=0), model.predict(X, verbose=0), 1e-5, 1e-6
    )


def test_batches_may_carry_weights():
    model = regressor()
    history = model.fit(Sequence(weights=True), verbose=0)
    np.testing.assert_allclose(history.history["loss"], [2 * mse(model, X, Y)], rtol=1e-5)


def test_steps_per_epoch_of_arrays():
    count = Batches()
    regressor().fit(X, Y, batch_size=2, steps_per_epoch=3, epochs=3, callbacks=[count], verbose=0)
    assert count.count == 9


# -- predict and evaluate ------------------------------------------------------------------------


def test_predict_returns_an_array_that_may_be_written_to():
    model = regressor()
    output = model.predict(X, batch_size=4, verbose=0)
    assert type(output) is np.ndarray
    assert (output.shape, output.dtype) == ((10, 1), "float32")
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(output, X @ kernel + bias, rtol=1e-5, atol=1e-6)
    output[:] = 0.0
    assert model.predict(X[:1], verbose=0).shape == (1, 1)
    assert model.predict(X[:0], verbose=0).shape == (0, 1)


def test_predict_does_not_drop_out():
    model = classifier()
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))


def test_outputs_in_dicts_and_lists():
    class Two(models.Model):
        def call(self, inputs):
            return {"double": inputs * 2, "parts": [inputs + 1, inputs[:, 0]]}

    outputs = Two().predict(X, batch_size=3, verbose=0)
    np.testing.assert_array_equal(outputs["double"], X * 2)
    np.testing.assert_array_equal(outputs["parts"][0], X + 1)
    np.testing.assert_array_equal(outputs["parts"][1], X[:, 0])


def test_forms_of_evaluate():
    model = classifier()
    loss, accuracy = model.evaluate(X, LABELS, verbose=0)
    assert model.evaluate(X, LABELS, verbose=0, return_dict=True) == {
        "loss": loss,
        "accuracy": accuracy,
    }
    right = model.predict(X, verbose=0).argmax(-1) == LABELS
    assert accuracy == pytest.approx(right.mean())
    assert type(regressor().evaluate(X, Y, verbose=0)) is float
    assert len(model.evaluate(X, LABELS, batch_size=2, steps=2, verbose=0)) == 2


# -- metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "targets", "kind"),
    [
        (1, LABELS, "BinaryAccuracy"),
        (2, LABELS, "SparseCategoricalAccuracy"),
        (2, LABELS[:, None], "SparseCategoricalAccuracy"),
        (2, np.eye(2)[LABELS], "CategoricalAccuracy"),
    ],
)
def test_accuracy_takes_the_form_of_the_data(units, targets, kind):
    model = models.Sequential([layers.Dense(units, "sigmoid")])
    model.compile("sgd", lambda y_true, y_pred: ad.ops.mean(y_pred, axis=-1), metrics=["acc"])
    model.fit(X, targets, verbose=0)
    assert [type(metric).__name__ for metric in model.metrics[1].metrics] == [kind]


def test_metrics_written_by_users():
    def worst(y_true, y_pred):
        return ad.ops.max(ad.ops.abs(y_true - y_pred), axis=-1)

    class Largest(ad.metrics.Metric):
        def __init__(self, name="largest"):
            super().__init__(name=name)
            self.value = self.add_weight(shape=(), initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            error = ad.ops.max(ad.ops.abs(y_true - y_pred))
            self.value.assign(ad.ops.maximum(self.value, error))

        def result(self):
            return self.value

    model = regressor(metrics=[worst, Largest(), "mae", ad.metrics.MeanSquaredError(name="sq")])
    logs = model.fit(X, Y, batch_size=3, epochs=2, verbose=0).history
    errors = np.abs(model.predict(X, verbose=0) - Y)
    assert set(logs) == {"loss", "worst", "largest", "mae", "sq"}
    for name, expected in [
        ("worst", errors.mean()),
        ("largest", errors.max()),
        ("mae", errors.mean()),
        ("sq", (errors**2).mean()),
    ]:
        np.testing.assert_allclose(logs[name], [expected] * 2, rtol=1e-5)


def test_weighted_metrics():
    model = regressor(metrics=["mae"], weighted_metrics=["mae"])
    weight = np.arange(10.0)
    logs = model.fit(X, Y, sample_weight=weight, verbose=0).history
    errors = np.abs(model.predict(X, verbose=0) - Y)[:, 0]
    np.testing.assert_allclose(logs["mae"], [errors.mean()], rtol=1e-5)
    expected = (weight * errors).sum() / weight.sum()
    np.testing.assert_allclose(logs["weighted_mae"], [expected], rtol=1e-5)


def test_loss_weights_and_penalties():
    model = models.Sequential(
        [layers.Input((3,)), layers.Dense(1, kernel_regularizer=ad.regularizers.L2(0.5))]
    )
    model.compile(optimizers.SGD(0.0), "mse", loss_weights=3.0)
    penalty = 0.5 * (model.get_weights()[0] ** 2).sum()
    expected = 3 * mse(model, X, Y) + penalty
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(model.fit(X, Y, verbose=0).history["loss"], [expected], rtol=1e-5)


# -- callbacks -----------------------------------------------------------------------------------


def test_learning_rate_scheduler():
    rates = {0: 0.5, 1: 0.25, 2: 0.125}
    model = regressor(0.01)
    seen = []

    def schedule(epoch, rate):
        seen.append(rate)
        return rates[epoch]

    scheduler = callbacks.LearningRateScheduler(schedule)
    history = model.fit(X, Y, epochs=3, callbacks=[scheduler], verbose=0)
    assert history.history["learning_rate"] == [0.5, 0.25, 0.125]
    assert seen == pytest.approx([0.01, 0.5, 0.25])
    assert float(model.optimizer.learning_rate) == 0.125


def test_the_scheduled_rate_is_used():
    model, by_hand = regressor(), regressor()
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 0.125 / (epoch + 1))
    model.fit(X, Y, batch_size=10, epochs=2, shuffle=False, callbacks=[scheduler], verbose=0)
    for rate in (0.125, 0.0625):
        by_hand.optimizer.learning_rate = rate
        by_hand.fit(X, Y, batch_size=10, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_early_stopping_restores_the_best_weights():
    model = regressor(0.125)
    best = []

    class Worse(callbacks.Callback):
        """Spoils the weights after the second epoch."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                best.extend(model.get_weights())
            if epoch >= 2:
                model.set_weights([w + 10 * epoch for w in model.get_weights()])

    stopping = callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = model.fit(
        X, Y, epochs=20, validation_data=(X, Y), callbacks=[Worse(), stopping], verbose=0
    )
    assert history.epoch == [0, 1, 2, 3]
    assert (stopping.stopped_epoch, stopping.best_epoch) == (3, 1)
    for kept, restored in zip(best, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, restored)


def test_stop_training_ends_the_epoch():
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    count = Batches()
    model = regressor()
    history = model.fit(X, Y, batch_size=2, epochs=5, callbacks=[Stop(), count], verbose=0)
    assert (count.count, history.epoch) == (2, [0])
    assert len(model.fit(X, Y, epochs=2, verbose=0).epoch) == 2


# -- what is printed -----------------------------------------------------------------------------


def test_verbose_0_is_silent(capsys):
    model = classifier()
    model.fit(X, LABELS, validation_split=0.2, verbose=0)
    model.evaluate(X, LABELS, verbose=0)
    model.predict(X, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_verbose_2_prints_a_line_per_epoch(capsys):
    model = classifier()
    model.fit(X, LABELS, batch_size=5, epochs=2, validation_data=(X, LABELS), verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    results = [line for line in lines if line.startswith("2/2 - ")]
    assert len(results) == 2
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert all(f" - {name}: " in line for line in results)
    model.evaluate(X, LABELS, batch_size=5, verbose=2)
    assert capsys.readouterr().out.startswith("2/2 - ")


@pytest.mark.parametrize("verbose", [1, "auto"])
def test_verbose_1_ends_each_epoch_with_its_results(capsys, verbose):
    model = classifier()
    model.fit(X, LABELS, batch_size=5, epochs=2, verbose=verbose)
    out = capsys.readouterr().out
    assert "Epoch 1/2" in out and "Epoch 2/2" in out
    assert out.count("2/2 ") >= 2
    assert "accuracy: " in out and "loss: " in out
    model.predict(X, batch_size=5, verbose=verbose)
    assert "2/2 " in capsys.readouterr().out
