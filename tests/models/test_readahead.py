"""Streams are read ahead: in order, no further than used, by a thread that always ends."""

from __future__ import annotations

import contextvars
import os
import threading
import traceback

import numpy as np
import pytest

import autodan as ad
from autodan import _core, callbacks, layers, random
from autodan.models import readahead
from autodan.models.readahead import read_ahead

X = np.arange(12.0, dtype="float32").reshape(6, 2)
Y = np.ones((6, 1), dtype="float32")
NAME = "autodan-read-ahead"


def regressor():
    model = ad.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile(ad.optimizers.SGD(0.0), "mse")
    return model


def readers():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not readers()


class Source:
    """Batches that note which thread asks for them, and how many were asked for."""

    def __init__(self, count=100, fails_at=None):
        self.taken = 0
        self.threads = set()
        self.count, self.fails_at = count, fails_at

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self.count:
            raise StopIteration
        if self.taken == self.fails_at:
            raise LookupError("no such file")
        self.taken += 1
        self.threads.add(threading.current_thread().name)
        return X[:2] + self.taken, Y[:2]


# -- the iterator --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_order_is_kept_and_nothing_is_lost(count):
    assert list(read_ahead(iter(range(count)))) == list(range(count))


def test_two_items_are_made_before_they_are_asked_for_and_no_more():
    made = []
    reached = [threading.Event() for _ in range(10)]

    def items():
        for i in range(10):
            made.append(i)
            reached[i].set()
            yield i

    ahead = read_ahead(items())
    for i in range(5):
        assert next(ahead) == i
        # While item i is in use, two more are made, ...
        assert reached[i + readahead.AHEAD].wait(60)
        # ... and the thread waits for room: at most what was asked for and two.
        assert len(made) == i + 1 + readahead.AHEAD
    ahead.close()
    assert len(made) == 5 + readahead.AHEAD


def test_an_error_comes_in_its_turn_with_its_traceback():
    def items():
        yield 1
        yield 2
        open_the_file()

    def open_the_file():
        raise LookupError("no such file")

    ahead = read_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(LookupError, match="no such file") as caught:
        next(ahead)
    assert "open_the_file" in [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert list(ahead) == []


def test_what_is_no_exception_is_raised_too():
    def items():
        yield 1
        raise KeyboardInterrupt

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(KeyboardInterrupt):
        next(ahead)


def test_a_thread_that_waits_for_room_ends_with_its_reader():
    for end in ("close", "drop"):
        ahead = read_ahead(iter(range(100)))
        next(ahead)
        assert len(readers()) == 1
        if end == "close":
            ahead.close()
        del ahead
        assert not readers()


def test_nobody_waits_for_ever_for_data_that_does_not_come(monkeypatch):
    monkeypatch.setattr(readahead, "_PATIENCE", 0.01)
    never = threading.Event()

    def items():
        yield 1
        never.wait()
        yield 2

    ahead = read_ahead(items())
    assert next(ahead) == 1
    ahead.close()
    (thread,) = readers()
    assert thread.daemon
    # It ends when the data comes, and asks for no more.
    never.set()
    thread.join(60)


def test_the_thread_has_the_state_of_the_one_that_asks():
    variable = contextvars.ContextVar("variable", default="default")
    token = variable.set("mine")

    def items():
        while True:
            yield variable.get(), _core.is_grad_enabled()

    try:
        with ad.no_grad():
            ahead = read_ahead(items())
            assert next(ahead) == ("mine", False)
            ahead.close()
        ahead = read_ahead(items())
        assert next(ahead) == ("mine", True)
        ahead.close()
    finally:
        variable.reset(token)


def test_both_sides_draw_random_numbers_that_no_timing_changes():
    def items():
        for _ in range(20):
            yield random.draw_key()

    def run():
        with random.separate_stream(7):
            pairs = [(key, random.draw_key()) for key in read_ahead(items())]
        return pairs

    pairs = run()
    assert pairs == run()
    seeds = {key[0] for key, _ in pairs}
    assert len(seeds) == 1 and 7 not in seeds
    assert [key[1] for key, _ in pairs] == list(range(20))
    # One number of this side has seeded the other.
    assert [mine for _, mine in pairs] == [(7, i) for i in range(1, 21)]


# -- fit, evaluate, predict ----------------------------------------------------------------------


def test_a_generator_is_read_by_one_thread_and_no_further_than_it_is_used():
    source = Source()
    model = regressor()
    model.fit(source, steps_per_epoch=3, epochs=4, verbose=0)
    # The first batch builds the model; it is trained on like the others.
    assert source.taken == 12
    assert NAME in source.threads
    model.evaluate(source, steps=2, verbose=0)
    assert source.taken == 14
    assert len(model.predict((x for x, _ in source), steps=2, verbose=0)) == 4
    assert source.taken == 16


def test_results_do_not_depend_on_reading_ahead():
    class Plain(Source):
        workers = 0

    results = []
    for kind in (Source, Plain):
        source = kind(count=20)
        random.set_seed(4)
        model = ad.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(1)])
        model.compile("adam", "mse")
        history = model.fit(source, verbose=0)
        assert source.taken == 20
        assert (NAME in source.threads) == (kind is Source)
        results.append((history.history, [weight.tolist() for weight in model.get_weights()]))
    assert results[0] == results[1]


def test_an_error_of_the_data_is_raised_at_its_step():
    steps = []
    model = regressor()
    note = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    with pytest.raises(LookupError, match="no such file"):
        model.fit(Source(fails_at=4), callbacks=[note], verbose=0)
    assert steps == [0, 1, 2, 3]


def test_bad_batches_are_refused_at_their_step():
    steps = []
    batches = [(X, Y), (X, Y), (X, Y[:2])]
    model = regressor()
    note = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    with pytest.raises(ValueError, match="same number of samples"):
        model.fit(iter(batches), callbacks=[note], verbose=0)
    assert steps == [0, 1]


@pytest.mark.parametrize("end", ["stop_training", "error", "interrupt"])
def test_fit_may_end_early(end):
    source = Source()
    model = regressor()

    class Ends(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                if end == "stop_training":
                    self.model.stop_training = True
                else:
                    raise {"error": OSError, "interrupt": KeyboardInterrupt}[end]

    if end == "stop_training":
        model.fit(source, verbose=0, callbacks=[Ends()])
    else:
        with pytest.raises((OSError, KeyboardInterrupt)):
            model.fit(source, verbose=0, callbacks=[Ends()])
    assert not readers()
    assert 4 <= source.taken <= 4 + readahead.AHEAD
    # The source can be used at once.
    taken = source.taken
    model.fit(source, steps_per_epoch=2, verbose=0)
    assert source.taken == taken + 2


def test_a_sequence_hears_of_the_end_of_an_epoch_after_its_last_step():
    events = []

    class Batches:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return X, Y

        def on_epoch_end(self):
            events.append((threading.current_thread() is threading.main_thread(), step[0]))

    step = [None]
    note = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: step.insert(0, batch))
    regressor().fit(Batches(), epochs=2, callbacks=[note], verbose=0)
    assert events == [(True, 3), (True, 3)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_callback_may_fork():
    source = Source(count=10)
    model = regressor()
    statuses = []

    class Forks(callbacks.Callback):
        child = False

        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                pid = os.fork()
                self.child = pid == 0
                if pid:
                    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    forks = Forks()
    try:
        # A child works as a process of its own, but cannot go on with the parent's data.
        model.fit(source, verbose=0, callbacks=[forks])
        assert not forks.child
    except RuntimeError as error:
        if forks.child:
            os._exit(7 if "read ahead in a thread" in str(error) else 8)
        raise
    finally:
        if forks.child:
            os._exit(9)
    assert statuses == [7]
    assert source.taken == 10
