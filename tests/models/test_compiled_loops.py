"""`fit`, `evaluate` and `predict` with all that they take: compiled as eager, and repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_reference import X, Y, bits, both, check_compiled, classifier, labels, rows, state

import autodan as ad
from autodan import callbacks, layers, models

ALL = ("train", "test", "predict")
WIDE, CHOSEN = rows(23, 4), labels(23)


def regular(**arguments):
    return classifier(
        layers.BatchNormalization(momentum=0.75),
        layers.Dropout(0.25),
        metrics=["accuracy"],
        weighted_metrics=["crossentropy"],
        **arguments,
    )


FITS = {
    "a partial batch": {},
    "unshuffled": {"shuffle": False},
    "validation data": {"validation_data": (X, Y)},
    "weighted validation data": {"validation_data": (X, Y, np.linspace(0, 1, 12))},
    "validation split": {"validation_split": 0.3, "validation_batch_size": 3},
    "class weights": {"class_weight": {0: 0.5, 2: 3.0}},
    "sample weights": {"sample_weight": np.linspace(0, 2, 23)},
    "few steps": {"steps_per_epoch": 3},
    "a later epoch": {"initial_epoch": 1},
}


@pytest.mark.parametrize("name", FITS)
def test_fit(name, floatx):
    def use(model):
        history = model.fit(WIDE, CHOSEN, batch_size=8, epochs=3, verbose=0, **FITS[name]).history
        return [
            history,
            model.evaluate(WIDE, CHOSEN, batch_size=5, verbose=0),
            model.predict(WIDE, batch_size=9, verbose=0),
        ]

    both(lambda: regular(optimizer=ad.optimizers.SGD(0.1, momentum=0.5)), use, floatx, ALL)


def halved(epoch, rate):
    return rate * 0.5


# Each makes its callbacks anew, told where it may write.
CALLBACKS = {
    "CSVLogger": lambda folder: [callbacks.CSVLogger(folder / "log.csv")],
    "Callback": lambda folder: [callbacks.Callback()],
    "CallbackList": lambda folder: [callbacks.History(), callbacks.LambdaCallback()],
    "EarlyStopping": lambda folder: [
        callbacks.EarlyStopping("val_loss", min_delta=10.0, patience=1, restore_best_weights=True)
    ],
    "History": lambda folder: [callbacks.History()],
    "LambdaCallback": lambda folder: [
        callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: (folder / f"{logs['loss']:.4f}").touch()
        )
    ],
    "LearningRateScheduler": lambda folder: [callbacks.LearningRateScheduler(halved)],
    "ModelCheckpoint": lambda folder: [
        callbacks.ModelCheckpoint(folder / "w.weights.h5", save_weights_only=True, save_freq=2)
    ],
    "ProgbarLogger": lambda folder: [callbacks.ProgbarLogger()],
    "ReduceLROnPlateau": lambda folder: [
        callbacks.ReduceLROnPlateau("loss", min_delta=10.0, patience=1)
    ],
    "TerminateOnNaN": lambda folder: [callbacks.TerminateOnNaN()],
}


def test_every_callback_has_a_case():
    assert set(CALLBACKS) == set(callbacks.__all__)


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks(name, tmp_path):
    files = []

    def use(model):
        folder = tmp_path / str(model.run_eagerly)
        folder.mkdir()
        history = model.fit(
            WIDE,
            CHOSEN,
            batch_size=8,
            epochs=4,
            verbose=0,
            validation_data=(X, Y),
            callbacks=CALLBACKS[name](folder),
        )
        files.append({path.name for path in folder.iterdir()})
        return [history.history, history.epoch]

    both(lambda: regular(optimizer="adam"), use, kinds=("train", "test"))
    assert files[0] == files[1]


def test_training_stops_on_nan():
    def use(model):
        nans = [w * np.nan for w in model.get_weights()]
        poison = callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: batch == 1 and model.set_weights(nans)
        )
        stop = callbacks.TerminateOnNaN()
        return len(model.fit(WIDE, CHOSEN, batch_size=2, verbose=0, callbacks=[poison, stop]).epoch)

    both(lambda: classifier(), use)


# -- the same numbers again ----------------------------------------------------------------------


def trained(epochs, seed=5, **arguments):
    ad.utils.set_random_seed(seed)
    model = regular(optimizer="adam", **arguments)
    model.fit(WIDE, CHOSEN, batch_size=8, epochs=epochs, verbose=0)
    return model


def test_two_fits_of_one_seed_have_the_same_bits():
    first, second, other = trained(3), trained(3), trained(3, seed=6)
    assert bits(state(first)) == bits(state(second))
    assert bits(first.history.history) == bits(second.history.history)
    assert bits(state(first)) != bits(state(other))


@pytest.mark.parametrize("whole", [True, False])
def test_fit_saved_and_loaded_goes_on_with_the_same_bits(whole, tmp_path):
    reference = trained(2)
    model = trained(1)
    if whole:
        model.save(tmp_path / "model.keras")
        model = models.load_model(tmp_path / "model.keras")
    epochs = {"initial_epoch": 1, "epochs": 2}
    model.fit(WIDE, CHOSEN, batch_size=8, verbose=0, **epochs)
    assert bits(model.get_weights()) == bits(reference.get_weights())
    check_compiled(model, "train")


def test_the_masks_are_those_of_eager_steps():
    """Numbers are drawn, not rounded: compiled and eager ones are the same."""

    class Masks(models.Model):
        def __init__(self):
            super().__init__()
            self.parts = [
                layers.Dropout(0.5),
                layers.Dropout(0.5, seed=4),
                layers.Dropout(0.25, noise_shape=(None, 1)),
            ]
            self.w = self.add_weight((), "ones")

        def call(self, inputs, training=False):
            masks = [part(inputs, training=training) for part in (*self.parts, self.parts[0])]
            masks += [ad.random.normal((4, 2)), ad.random.dropout(inputs, 0.5)]
            masks += [ad.random.truncated_normal((4, 2)), ad.random.uniform((4, 2), seed=3)]
            return ad.ops.concatenate(masks, -1) * self.w

        def predict_step(self, data):
            return self(data[0], training=True)

    found = []
    for eager in (False, True):
        ad.utils.set_random_seed(3)
        model = Masks()
        model(np.ones((4, 6)))
        model.run_eagerly = eager
        found.append([model.predict(np.ones((8, 6)), batch_size=4, verbose=0) for _ in range(2)])
        found[-1] += [[part.seed_generator.counter for part in model.parts]]
        found[-1] += [ad.random.uniform((3,))]
        if not eager:
            check_compiled(model, "predict")
    assert bits(found[0]) == bits(found[1])
    # Two batches get other numbers, save those with an integer for a seed.
    first, second = found[0][0][:4], found[0][0][4:]
    for part in (slice(0, 6), slice(6, 12), slice(24, 26), slice(26, 32), slice(32, 34)):
        assert (first[:, part] != second[:, part]).any()
    np.testing.assert_array_equal(first[:, -2:], second[:, -2:])


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_gives_the_same_bits(threads):
    before = ad._core.num_threads()
    expected = bits(state(trained(1)))
    ad._core.set_num_threads(threads)
    try:
        assert bits(state(trained(1))) == expected
    finally:
        ad._core.set_num_threads(before)


def test_evaluation_in_the_middle_of_training():
    def use(model):
        results = []
        between = callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: results.append(
                [model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0)]
            )
        )
        model.fit(WIDE, CHOSEN, batch_size=8, verbose=0, callbacks=[between])
        return results

    both(lambda: regular(optimizer="adam"), use, kinds=ALL)


def test_no_samples():
    def use(model):
        return model.predict(X[:0], verbose=0)

    both(lambda: classifier(), use, kinds=("predict",))
