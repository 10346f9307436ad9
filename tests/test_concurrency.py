"""Python threads beside the engine's, and what a call leaves behind on the thread that made it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from checks import rows, same_bits, takes
from hypothesis import HealthCheck, given, settings
from opspecs import binary, unary
from strategies import cases

import autodan as ad
from autodan import _core, layers, models

few = settings(max_examples=3, suppress_health_check=list(HealthCheck))


@pytest.fixture
def threads():
    """Set the number of threads; it is restored."""
    before = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


def together(count: int, work) -> None:
    """Run work(i) in so many Python threads; raise what one of them raised."""
    failures = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for failure in failures:
        raise failure


# -- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*unary.SPECS, *binary.SPECS], ids=lambda spec: spec.name)
def test_elementwise_operations_have_the_same_bits_at_any_number_of_threads(spec, threads):
    dtype = "float32" if takes(spec, "float32") else "bool"
    rng = np.random.default_rng(1)
    domain = spec.wide or spec.domain
    ranges = [domain[min(i, len(domain) - 1)] for i in range(3)]
    arrays = [rng.uniform(*bounds, (257, 300)).astype(dtype) for bounds in ranges]

    @few
    @given(case=cases(spec))
    def check(case):
        operands = arrays[: len(case.views)]
        results = []
        for n in (1, 2, 3, 8):
            threads(n)
            strided = [ad.tensor(x).T for x in operands]
            results.append([spec.op(*xs, **case.kwargs) for xs in (operands, strided)])
        for result in results[1:]:
            assert all(same_bits(a, b) for a, b in zip(results[0], result, strict=True))

    check()


# -- several Python threads ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 8])
def test_threads_compute_while_the_number_of_threads_changes(count, threads):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 200)).astype("float32")
    images = rng.normal(size=(4, 16, 16, 8)).astype("float32")
    kernel = rng.normal(size=(3, 3, 8, 16)).astype("float32")

    def compute():
        w = ad.tensor(x, requires_grad=True)
        ad.sum(ad.tanh(w @ w)).backward()
        y = _core.conv2d(images, kernel)
        return w.grad.numpy().tobytes() + y.numpy().tobytes()

    expected = compute()

    def work(i):
        for step in range(12):
            if i == 0:
                threads(1 + step % 4)
            assert compute() == expected

    together(count, work)


def test_one_variable_used_by_many_threads_is_never_torn(threads):
    threads(2)
    variable = ad.Variable(np.zeros(100_000, "float32"))
    velocity = ad.Variable(np.zeros(100_000, "float32"), trainable=False)
    one = ad.ones((100_000,))

    def work(i):
        for step in range(30):
            if i == 0:
                variable.assign(ad.full((100_000,), float(step)))
            elif i == 1:
                _core.sgd_update([variable], [one], [velocity], 0.5, momentum=0.9)
            elif i == 2:
                variable.assign_add(one)
            else:
                value = variable.numpy()
                assert value.min() == value.max()

    together(6, work)


def test_one_tensor_written_and_read_by_many_threads_is_never_torn():
    x = ad.zeros((100_000,))

    def work(i):
        for step in range(30):
            if i < 2:
                x[...] = float(10 * step + i)
            else:
                value = x.numpy()
                assert value.min() == value.max()

    together(5, work)


def test_one_model_trained_and_used_by_several_threads():
    model = models.Sequential([layers.Dense(32, input_shape=(16,)), layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.random.default_rng(3).normal(size=(256, 16)).astype("float32")
    y = x[:, :1]
    model.fit(x, y, verbose=0)

    def work(i):
        for _ in range(3):
            if i == 0:
                model.fit(x, y, verbose=0)
            else:
                assert np.isfinite(model.predict(x, verbose=0)).all()

    together(3, work)
    assert np.isfinite(model.evaluate(x, y, verbose=0))


def test_a_second_thread_keeps_its_pace(threads):
    """A thread of pure Python gets the interpreter while this one is in kernels."""
    threads(1)
    x = ad.ones((1500, 1500))
    count, stop = [0], threading.Event()

    def counter():
        while not stop.is_set():
            count[0] += 1

    def pace(work) -> float:
        before = count[0]
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            work()
        return count[0] - before

    worker = threading.Thread(target=counter)
    worker.start()
    try:
        alone = pace(lambda: time.sleep(0.1))
        beside = pace(lambda: x @ x)
    finally:
        stop.set()
        worker.join()
    # The measured figure is above 0.8; this bound is for machines whose cores are busy, and fails
    # when a kernel holds the interpreter.
    assert beside > 0.25 * alone


def test_a_failure_in_one_thread_does_not_disturb_the_others(threads):
    threads(2)
    x = ad.ones((400, 400))

    def work(i):
        for _ in range(20):
            if i:
                assert float((x @ x)[0, 0]) == 400.0
            else:
                with pytest.raises(ValueError, match="matmul"):
                    x @ ad.ones((3, 3))

    together(4, work)


def test_workers_receive_no_signals():
    code = """
import autodan as ad
ad._core.set_num_threads(4)
x = ad.ones((500, 500)); x @ x
import pathlib, signal
masks = []
for task in pathlib.Path("/proc/self/task").iterdir():
    fields = dict(l.split(":", 1) for l in (task / "status").read_text().splitlines())
    if fields["Name"].strip().startswith("autodan-"):
        masks.append(int(fields["SigBlk"], 16))
assert len(masks) == 3, masks
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1):
    assert all(mask >> number - 1 & 1 for mask in masks)
# Crashes are reported by the handlers of those who want to.
assert not any(mask >> signal.SIGSEGV - 1 & 1 for mask in masks)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr


# -- the floating-point mode ---------------------------------------------------------------------


def mode() -> bytes:
    """Return the bits of arithmetic that depends on rounding and on how subnormals are treated."""
    tiny = np.array([1e-40, -1e-40, 3e-39], np.float32)
    small = np.array([2e-38, 1.5e-38, -2e-38], np.float32)
    double = np.array([5e-310, 3e-308])
    thirds = np.array([1.0, -1.0, 2.0])
    results = [tiny * np.float32(0.75), tiny + tiny, small * np.float32(0.01)]
    results += [double * 0.5, double * 1e-3, thirds / 3.0, (thirds / 3.0).astype(np.float32)]
    return b"".join(result.tobytes() for result in results)


MODE = mode()


@rows()
def test_no_operation_changes_the_floating_point_mode(spec):
    @few
    @given(case=cases(spec, wide=True))
    def check(case):
        for dtype in ("float32", "float64"):
            if takes(spec, dtype):
                spec.op(*case.tensors(dtype), **case.kwargs)
                assert mode() == MODE

    check()
    for error in spec.errors:
        with pytest.raises(error.exception):
            error.call()
        assert mode() == MODE


def test_interrupted_and_training_threads_keep_the_floating_point_mode(threads, no_collections):
    threads(2)
    tiny = ad.full((1 << 20,), 1e-39)
    model = models.Sequential([layers.Dense(8, activation="softmax", input_shape=(4,))])
    model.compile("adam", "mse")

    class Stop(Exception):
        pass

    seen = []

    def handle(number, frame):
        # In the middle of a kernel.
        seen.append(mode())
        raise Stop

    def work(i):
        for _ in range(3):
            ad.sum(ad.exp(tiny) * tiny)
            assert mode() == MODE
        if i:
            model.fit(np.ones((64, 4)), np.ones((64, 8)), verbose=0)
            assert mode() == MODE

    together(3, work)
    before = signal.signal(signal.SIGINT, handle)
    timer = threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(Stop):
            while True:
                ad.cumsum(ad.exp(tiny) * tiny)
        assert mode() == MODE
        assert seen == [MODE]
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
