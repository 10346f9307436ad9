"""Ctrl-C: it stops kernels and training soon, and leaves whole steps behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import autodan as ad
from autodan import _core, layers, models
from autodan.utils.signals import Undisturbed

# How long an answer may take where other programs want the processors, too. What it takes on an
# idle machine is measured by tests/stress/interrupts.py.
PATIENCE = 10.0


class Stop(Exception):
    """What the handler of these tests raises."""


class Interrupts:
    """Sends this process a signal from another thread after a while; the handler raises `Stop`."""

    def __init__(self) -> None:
        self._threads: list[threading.Timer] = []
        self._sent = 0.0

    def after(self, delay: float, number: int = signal.SIGINT) -> None:
        self._threads.append(threading.Timer(delay, self._send, [number]))
        self._threads[-1].start()

    def stop(self, work: Callable[[], object], delay: float = 0.1) -> None:
        """Interrupt work that would take far longer, and check that it ends soon."""
        self.after(delay)
        with pytest.raises(Stop):
            work()
        assert time.perf_counter() - self._sent < PATIENCE

    def _send(self, number: int) -> None:
        self._sent = time.perf_counter()
        os.kill(os.getpid(), number)

    def end(self) -> None:
        for thread in self._threads:
            thread.cancel()
            thread.join()


@pytest.fixture
def interrupts(no_collections):
    def handle(number, frame):
        raise Stop

    numbers = (signal.SIGINT, signal.SIGUSR1)
    before = [signal.signal(number, handle) for number in numbers]
    sender = Interrupts()
    yield sender
    sender.end()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def weighted(*shape: int) -> ad.Tensor:
    return ad.tensor(np.ones(shape, "float32"), requires_grad=True)


def powers(w: ad.Tensor) -> ad.Tensor:
    y = w
    for _ in range(6):
        y = y @ w
    return y.sum()


# Each takes many times as long as the signal is away. Some are one op, some are one task of one op.
LONG = {
    "matmul": lambda: ad.ones((5000, 5000)) @ ad.ones((5000, 5000)),
    "matmul in float64": lambda: (
        ad.ones((3000, 3000), dtype="float64") @ ad.ones((3000, 3000), dtype="float64")
    ),
    "matmul of integers": lambda: (
        ad.ones((2000, 2000), dtype="int64") @ ad.ones((2000, 2000), dtype="int64")
    ),
    "conv2d with a huge kernel": lambda: _core.conv2d(
        ad.ones((1, 600, 600, 4)), ad.ones((300, 300, 4, 32))
    ),
    "depthwise conv2d": lambda: _core.conv2d(
        ad.ones((1, 700, 700, 4)), ad.ones((350, 350, 1, 4)), groups=4
    ),
    "the gradient of conv2d": lambda: _core.grad(
        _core.conv2d(weighted(1, 300, 300, 4), k := weighted(150, 150, 4, 32)).sum(), [k]
    ),
    "max_pool2d": lambda: _core.max_pool2d(ad.ones((1, 1500, 1500, 1)), 700, 1),
    "random numbers": lambda: (
        [_core.random_truncated_normal((1 << 24,), 0, 1, "float32", 1, 1)] * 9
    ),
    "the gradient of a chain": lambda: powers(weighted(2500, 2500)).backward(),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LONG)
def test_long_operations_stop(name, threads, interrupts):
    before = _core.num_threads()
    _core.set_num_threads(threads)
    try:
        interrupts.stop(LONG[name])
        x = ad.ones((300, 300))
        assert float(ad.sum(x @ x)) == 300.0**3
    finally:
        _core.set_num_threads(before)


@pytest.mark.parametrize("f", [ad.cumsum, ad.softmax, ad.argmax, ad.exp, ad.sum, ad.tensor])
def test_long_rows_stop(f, interrupts):
    x = ad.ones((1 << 24,))

    def forever():
        while True:
            f(x)

    interrupts.stop(forever)


def test_other_threads_are_not_interrupted(interrupts):
    x = ad.ones((1200, 1200))
    results = []

    def work():
        results.extend(float((x @ x)[0, 0]) for _ in range(5))

    worker = threading.Thread(target=work)
    worker.start()
    interrupts.stop(lambda: time.sleep(PATIENCE))
    worker.join()
    assert results == [1200.0] * 5


def test_a_handler_that_returns_does_not_disturb(interrupts):
    x = ad.ones((2000, 2000))
    count = []
    signal.signal(signal.SIGUSR1, lambda *_: count.append(float(ad.sum(ad.ones((300, 300))))))
    interrupts.after(0.05, signal.SIGUSR1)
    while not count:
        assert float((x @ x)[0, 0]) == 2000.0
    assert count == [90_000.0]


def test_an_interrupted_backward_changes_no_gradient_and_may_be_repeated(interrupts):
    w = weighted(1500, 1500)
    w.grad = ad.zeros((1500, 1500))
    loss = powers(w)
    interrupts.stop(lambda: loss.backward(retain_graph=True), delay=0.05)
    assert not w.grad.numpy().any()
    small = weighted(2, 2)
    powers(small).backward()
    assert small.grad.shape == (2, 2)


def test_writes_in_place_run_to_their_end(interrupts):
    x = ad.zeros((1 << 25,))
    value = 0.0
    interrupts.after(0.05)
    with pytest.raises(Stop):
        while True:
            value += 1.0
            x[...] = value
    array = x.numpy()
    assert array.min() == array.max()
    assert array[0] in (value, value - 1)


# -- holding signals back ------------------------------------------------------------------------


def test_a_signal_waits_for_the_end_of_the_block(interrupts):
    done = []
    with pytest.raises(Stop):
        with Undisturbed():
            signal.raise_signal(signal.SIGINT)
            with Undisturbed():
                signal.raise_signal(signal.SIGINT)
            done.append(1)
        done.append(2)
    assert done == [1]
    with pytest.raises(Stop):
        signal.raise_signal(signal.SIGINT)


def test_every_signal_that_waited_is_delivered():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with Undisturbed():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert not seen
        assert seen == [1, 1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_block_that_fails_still_delivers(interrupts):
    with pytest.raises(Stop) as info, Undisturbed():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError
    assert isinstance(info.value.__context__, ZeroDivisionError)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_handlers_that_are_not_pythons_stay(handler):
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with Undisturbed():
            assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_set_inside_the_block_stays(interrupts):
    def ours(number, frame):
        pass

    with Undisturbed():
        signal.signal(signal.SIGINT, ours)
    assert signal.getsignal(signal.SIGINT) is ours


def test_other_threads_hold_nothing_back():
    failures = []

    def work():
        with Undisturbed():
            failures.append(signal.getsignal(signal.SIGINT) is not handler)

    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == [False]


# -- training ------------------------------------------------------------------------------------


def make_model():
    ad.utils.set_random_seed(7)
    model = models.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(10, 10, 1)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


X = np.random.default_rng(1).normal(size=(256, 10, 10, 1)).astype("float32")
Y = np.arange(256) % 10


def state(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [variable.numpy().tobytes() for variable in variables]


def test_an_interrupted_fit_leaves_whole_steps(interrupts):
    model, reference = make_model(), make_model()
    model.fit(X, Y, batch_size=32, shuffle=False, verbose=0)
    parts = [int(model.optimizer.iterations)]
    for delay in (0.02, 0.05, 0.083):
        interrupts.stop(
            lambda: model.fit(X, Y, batch_size=32, epochs=10**6, shuffle=False, verbose=0), delay
        )
        parts.append(int(model.optimizer.iterations) - sum(parts))
    assert sum(parts[1:])
    # The same steps again, one by one; each fit started at the first batch.
    for steps in parts:
        for step in range(steps):
            batch = slice(step % 8 * 32, step % 8 * 32 + 32)
            reference.train_on_batch(X[batch], Y[batch])
    assert state(reference) == state(model)


def test_an_interrupt_at_any_line_of_a_step_leaves_a_whole_step():
    """A handler that raises at the n-th traced line stands for a signal that comes there."""
    model = make_model()
    model.fit(X[:32], Y[:32], verbose=0)
    n, finished = 0, False
    batches = [X[:32], Y[:32]]
    while not finished:
        n += 173
        before = [w.numpy() for w in model.weights]
        count = int(model.optimizer.iterations)
        finished = not raises_at_line(n, lambda: model.train_on_batch(*batches))
        moved = [
            not np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights, strict=True)
        ]
        steps = int(model.optimizer.iterations) - count
        assert all(moved) if steps else not any(moved)
    assert n > 500


def raises_at_line(n: int, work: Callable[[], object]) -> bool:
    """Send SIGINT at the n-th line that `work` runs; whether that ended it."""
    left = n

    def trace(frame, event, argument):
        nonlocal left
        left -= 1
        if left == 0:
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


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_loops_stop_and_the_model_goes_on(method, interrupts):
    model = make_model()
    expected = model.evaluate(X, Y, verbose=0)

    def batches():
        while True:
            yield (X[:32], Y[:32])

    interrupts.stop(lambda: getattr(model, method)(batches(), verbose=0))
    assert _core.is_grad_enabled()
    assert model.evaluate(X, Y, verbose=0) == expected
    model.fit(X, Y, verbose=0)


def test_the_progress_bar_ends_its_line(interrupts, monkeypatch):
    class Terminal:
        text = ""
        encoding = "utf-8"

        def write(self, text):
            self.text += text

        def flush(self):
            pass

        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    model = make_model()
    interrupts.stop(lambda: model.fit(X, Y, epochs=10**6), delay=0.4)
    assert terminal.text.endswith("\n")


def test_ctrl_c_ends_a_program_as_usual():
    # A shell starts what runs in the background with SIGINT ignored, which children inherit.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import autodan as ad; x = ad.ones((6000, 6000)); print('go', flush=True); x @ x"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    program.stdout.readline()
    time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
