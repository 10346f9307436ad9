"""Errors, interrupts, threads, forks and copies: a compiled step is done whole or not at all."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import signal
import sys
import threading
import weakref

import numpy as np
import pytest
from compiled_reference import X, Y, bits, check_compiled, classifier, entries, labels, rows, state

import autodan as ad
from autodan import callbacks, layers, losses, models, tracing

WIDE, CHOSEN = rows(64, 4), labels(64)


def regular(optimizer="adam", **arguments):
    ad.utils.set_random_seed(5)
    return classifier(
        layers.BatchNormalization(),
        layers.Dropout(0.25),
        optimizer=optimizer,
        metrics=["accuracy"],
        **arguments,
    )


def fit(model, **arguments):
    return model.fit(WIDE, CHOSEN, batch_size=8, shuffle=False, verbose=0, **arguments)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_labels_out_of_range_in_the_middle_of_an_epoch(optimizer):
    """As eager steps raise it; the steps before are done, this one is not."""
    errors, states = [], []
    for eager in (False, True):
        model = regular(optimizer)
        model.run_eagerly = eager
        before = []
        note = callbacks.LambdaCallback(
            on_train_batch_begin=lambda *_: before.append(state(model))  # noqa: B023
        )

        def batches():
            for i in range(3):
                yield X[:6], Y[:6] + 5 * (i == 2)

        with pytest.raises(ValueError, match="label") as info:
            model.fit(batches(), verbose=0, callbacks=[note])
        errors.append(str(info.value))
        after = state(model)
        assert bits(after) == bits(before[-1])
        assert int(model.optimizer.iterations) == 2
        states.append(after)
        fit(model)
        assert int(model.optimizer.iterations) == 10
    assert errors[0] == errors[1]
    np.testing.assert_allclose(states[0]["weights"][0], states[1]["weights"][0], rtol=1e-4)


def test_an_error_of_the_model_is_raised_as_it_is():
    """A trace that fails like the step gives no notice; the step raises, where it belongs."""

    class Picky(layers.Layer):
        def call(self, inputs, training=False):
            if training and inputs.shape[0] > 6:
                raise LookupError("too many")
            return inputs

    model = classifier(Picky())
    before = bits(state(model))
    for _ in range(3):
        with pytest.raises(LookupError, match="too many"):
            model.train_on_batch(X, Y)
    assert bits(state(model)) == before
    model.train_on_batch(X[:6], Y[:6])


def test_training_without_gradients_is_an_error():
    model = regular()
    model.train_on_batch(X, Y)
    before = bits(state(model))
    with ad.no_grad(), pytest.raises(ValueError, match="no gradients provided"):
        model.train_on_batch(X, Y)
    assert bits(state(model)) == before


def test_an_optimizer_that_fails_after_the_program_leaves_the_step_undone():
    class Fails(ad.optimizers.Optimizer):
        def update_step(self, gradient, variable, learning_rate):
            variable.assign_sub(learning_rate * gradient)
            if flag and variable.name == "bias":
                raise ArithmeticError

    flag = []
    model = regular(Fails(0.1))
    model.train_on_batch(X, Y)
    check_compiled(model, "train")
    before = state(model)
    flag.append(1)
    with pytest.raises(ArithmeticError):
        model.train_on_batch(X, Y)
    assert bits(state(model)) == bits(before)
    flag.clear()
    model.train_on_batch(X, Y)
    assert bits(state(model)) != bits(before)


# -- interrupts ----------------------------------------------------------------------------------


def interrupted(line, work, names=None):
    """Send SIGINT at a line of what `work` runs, or of some functions; whether that ended it."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        left -= names is None or frame.f_code.co_name in names
        if left == 0:
            left = -1
            signal.raise_signal(signal.SIGINT)
        return trace

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    outer = sys.gettrace()
    gc.disable()  # an exception in a finalizer is lost
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(outer)
        gc.enable()
        signal.signal(signal.SIGINT, before)
    return False


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("traced", [False, True])
def test_an_interrupt_at_any_line_leaves_a_whole_step(optimizer, traced):
    """Of a step that is traced at that time, and of one that was before."""
    model, reference = regular(optimizer), regular(optimizer)
    model.train_on_batch(X, Y)
    reference.train_on_batch(X, Y)
    line, done = 1, 1
    ended = True
    while ended:
        if traced:
            model._programs._entries.clear()
        ended = interrupted(line, lambda: model.train_on_batch(X, Y))
        assert not ad._core.is_tracing()
        if int(model.optimizer.iterations) > done:
            reference.train_on_batch(X, Y)
            done += 1
        assert bits(state(model)) == bits(state(reference)), line
        line += 211 if traced else 17
    assert line > 1000 if traced else 100


def test_an_interrupt_where_a_trace_borrows_what_is_not_its_own():
    """Random streams and attributes are always given back."""

    class Counts(layers.Layer):
        calls = 0

        def call(self, inputs):
            self.calls += tracing.is_tracing()
            return inputs

    names = {"_streams_marked", "_attributes_kept_on_error", "stream_replaced"}
    model = regular()
    model.add(Counts())
    model.compile("sgd", "sparse_categorical_crossentropy")
    model._programs._noted.add("it changes an attribute of a layer, metric or optimizer")
    line, ended = 0, True
    while ended:
        line += 1
        model._programs._entries.clear()
        before = ad.random.global_stream().counter
        ended = interrupted(line, lambda: model.train_on_batch(X, Y), names)
        assert ad.random.global_stream().counter == before
        steps = int(model.optimizer.iterations)
        assert model.layers[2].seed_generator.counter == steps
        assert model.layers[-1].calls == 0
    assert line > 50


# -- threads -------------------------------------------------------------------------------------


def on_threads(*works):
    """Run functions at once; raise what one of them raised."""
    errors = []
    barrier = threading.Barrier(len(works))

    def run(work):
        try:
            barrier.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_two_models_on_two_threads():
    expected = regular()
    fit(expected, epochs=5)
    first, second = regular(), regular()
    on_threads(lambda: fit(first, epochs=5), lambda: fit(second, epochs=5))
    for model in (first, second):
        assert bits(state(model)["weights"]) == bits(state(expected)["weights"])
        check_compiled(model, "train")


def test_draws_of_other_threads_while_a_step_is_traced():
    """The stream that all threads share does not show a trace's marks."""
    drawn = []

    class Waits(layers.Layer):
        def call(self, inputs):
            on_threads(lambda: drawn.append(ad.random.draw_key()))
            return ad.random.dropout(inputs, 0.5)

    ad.utils.set_random_seed(5)
    model = classifier(Waits())
    before = ad.random.global_stream().counter
    model.train_on_batch(X, Y)
    counters = [counter for _, counter in drawn]
    assert len(counters) >= 2
    assert counters == sorted(set(counters))
    assert counters[-1] < before + 100
    assert ad.random.global_stream().counter > counters[-1]


def test_predictions_of_one_model_on_many_threads():
    model = regular()
    expected = model.predict(WIDE, verbose=0)
    found = []

    def work():
        for _ in range(20):
            found.append(model.predict_on_batch(WIDE[:32]))

    on_threads(*[work] * 4)
    assert len(found) == 80
    for outputs in found:
        np.testing.assert_array_equal(outputs, expected[:32])


def test_training_of_one_model_on_two_threads():
    """Which steps come first is anybody's guess, but each is whole and none is lost."""
    model = regular("sgd")
    model.train_on_batch(X, Y)

    def work():
        for _ in range(20):
            model.train_on_batch(X, Y)

    on_threads(work, work)
    assert np.isfinite(model.get_weights()[0]).all()
    model.reset_metrics()
    assert np.isfinite(model.train_on_batch(X, Y)).all()


# -- forks ---------------------------------------------------------------------------------------


def test_a_child_that_a_callback_forked_trains_on():
    expected = regular()
    fit(expected)
    model = regular()
    reader, writer = os.pipe()

    def act(batch, logs):
        if batch == 3 and (pid := os.fork()):
            children.append(pid)

    children = []
    parent = os.getpid()
    try:
        fit(model, callbacks=[callbacks.LambdaCallback(on_train_batch_end=act)])
        if os.getpid() != parent:
            right = bits(state(model)["weights"]) == bits(state(expected)["weights"])
            os.write(writer, b"right" if right else b"wrong")
    finally:
        if os.getpid() != parent:
            os._exit(0)
    _, status = os.waitpid(children[0], 0)
    assert status == 0
    os.close(writer)
    with open(reader, "rb") as answers:
        assert answers.read() == b"right"
    assert bits(state(model)["weights"]) == bits(state(expected)["weights"])


# -- copies and lives ----------------------------------------------------------------------------

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_a_trained_model_train_on(name):
    ad.utils.set_random_seed(5)
    model = models.Sequential(
        [layers.Dense(5), layers.BatchNormalization(), layers.Dropout(0.25), layers.Dense(1)]
    )
    model.compile(ad.optimizers.Adam(0.1, weight_decay=0.1), "mse")
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = False
    twin = COPIES[name](model)
    assert not entries(twin)
    before = bits(model.get_weights())
    for trained in (twin, model):
        trained.layers[0].trainable = True
        trained.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
        check_compiled(trained, "train")
    assert bits(model.get_weights()) != before
    assert bits(twin.get_weights()) == bits(model.get_weights())


def test_a_copy_of_a_layer_of_a_trained_model():
    model = regular()
    fit(model)
    layer = copy.deepcopy(model.layers[0])
    model.layers[0].kernel.assign(ad.ops.zeros((4, 5)))
    assert layer.kernel.numpy().any()


def test_a_model_that_is_let_go_frees_its_programs():
    gc.collect()
    held = ad._core.memory_info()["tensors"]
    model = regular()
    fit(model)
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    check_compiled(model, "train", "test", "predict")
    gone = [weakref.ref(model), weakref.ref(model.optimizer)]
    programs = weakref.ref(model._programs)
    del model
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert programs() is None
    assert ad._core.memory_info()["tensors"] <= held


def test_a_recompiled_model_frees_the_optimizer_before():
    model = regular()
    fit(model)
    gone = weakref.ref(model.optimizer)
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model)
    gc.collect()
    assert gone() is None


def test_a_trace_leaves_nothing_alive():
    kept = []

    class Keeps(layers.Layer):
        def call(self, inputs):
            kept.append(weakref.ref(inputs)) if ad._core.is_tracing() else None
            return inputs * 2

    model = classifier(Keeps())
    model.train_on_batch(X, Y)
    assert len(kept) == 2
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_a_training_step_that_trains_another_model():
    inner = classifier()

    class Outer(models.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, "softmax")

        def call(self, inputs):
            return self.dense(inputs)

        def train_step(self, data):
            inner.fit(X, Y, verbose=0)
            return super().train_step(data)

    ad.utils.set_random_seed(5)
    model = Outer()
    model(X)
    model.compile("sgd", losses.SparseCategoricalCrossentropy())
    with pytest.warns(UserWarning, match="runs eagerly, since"):
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 6
    assert int(inner.optimizer.iterations) == 6


def test_programs_do_not_go_into_files(tmp_path):
    model = regular()
    fit(model)
    model.save(tmp_path / "model.keras")
    buffer = io.BytesIO((tmp_path / "model.keras").read_bytes())
    assert b"rogram" not in buffer.getvalue()
    assert not entries(models.load_model(tmp_path / "model.keras"))
