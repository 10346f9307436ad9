"""Processes that fork: during kernels, from any thread, by every way that Python has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

COMMON = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks in processes with threads
import numpy as np
import autodan as ad
from autodan import _core, layers, models
_core.set_num_threads(2)
x = ad.random.normal((300, 300), seed=1)

def work():
    y = ad.sum(ad.exp(x @ x / 300.0))
    z = _core.conv2d(ad.reshape(x[:256, :256], (4, 64, 64, 4)), ad.ones((3, 3, 4, 8)))
    return y.numpy().tobytes() + z.numpy().tobytes()

expected = work()

def check():
    # A child that hangs is killed by its alarm.
    signal.alarm(60)
    assert work() == expected

def child(function=check):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid

def reap(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"a child ended with {status}"
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-c", COMMON + code],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_forks_while_other_threads_compute_and_train():
    run("""
def model():
    model = models.Sequential([layers.Dense(64, input_shape=(64,)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model

rows = x.numpy()[:, :64]
shared = model()
shared.fit(rows, rows[:, :1], verbose=0)

def train():
    # The variables of a model that another thread trains are whole, and not locked for ever.
    check()
    shared.fit(rows, rows[:, :1], batch_size=64, verbose=0)
    assert all(np.isfinite(w).all() for w in shared.get_weights())
    model().fit(rows, rows[:, :1], batch_size=64, verbose=0)

stop = False
def loop(step):
    while not stop:
        step()

w = ad.tensor(x.numpy(), requires_grad=True)
steps = [work, lambda: (w @ w).sum().backward(), lambda: shared.fit(rows, rows[:, :1], verbose=0)]
threads = [threading.Thread(target=loop, args=(step,)) for step in steps]
[thread.start() for thread in threads]
try:
    for _ in range(12):
        pids = [child(train) for _ in range(2)]
        check()
        [reap(pid) for pid in pids]
finally:
    stop = True
    [thread.join() for thread in threads]
""")


def test_a_fork_from_another_thread_makes_it_the_childs_main_thread():
    run("""
def interrupted():
    def handler(*_):
        raise InterruptedError
    signal.signal(signal.SIGUSR1, handler)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    big = ad.ones((2000, 2000))
    try:
        while True:
            big @ big
    except InterruptedError:
        check()

def thread():
    check()
    reap(child())
    reap(child(interrupted))

other = threading.Thread(target=thread)
other.start()
check()
other.join()
""")


def test_grandchildren():
    run("""
check()
reap(child(lambda: (check(), reap(child(lambda: (check(), reap(child())))))))
check()
""")


def test_a_signal_handler_that_forks_during_a_kernel():
    run("""
children = []
def fork(*_):
    children.append(child())
signal.signal(signal.SIGUSR1, fork)
big = ad.ones((2500, 2500))
for _ in range(3):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    before = len(children)
    while len(children) == before:
        assert float((big @ big)[0, 0]) == 2500.0
[reap(pid) for pid in children]
""")


def test_a_child_that_returns_into_the_kernel_gets_an_error_or_the_result():
    run("""
parent, children = os.getpid(), []
def fork(*_):
    pid = os.fork()
    if pid:
        children.append(pid)
signal.signal(signal.SIGUSR1, fork)
big = ad.ones((2500, 2500))
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
try:
    while not children and os.getpid() == parent:
        assert float((big @ big)[0, 0]) == 2500.0
except RuntimeError as error:
    assert "a signal handler forked the process during this operation" in str(error)
    assert os.getpid() != parent
if os.getpid() != parent:
    check()
    os._exit(0)
reap(*children)
check()
""")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        COMMON
        + f"""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def same(_):
    return work() == expected

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with context.Pool(2) as pool:
        assert all(pool.map(same, range(4)))
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert all(pool.map(same, range(4)))
    check()
"""
    )
    result = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr


def test_subprocess_with_a_function_before_exec():
    run("""
import subprocess
stop = False
def loop():
    while not stop:
        work()
thread = threading.Thread(target=loop)
thread.start()
for _ in range(20):
    assert subprocess.run(["true"], preexec_fn=os.getpid, timeout=60).returncode == 0
stop = True
thread.join()
check()
""")


def test_exit_while_a_daemon_is_in_a_kernel():
    run("""
def loop():
    big = ad.ones((1500, 1500))
    while True:
        big @ big
for _ in range(2):
    threading.Thread(target=loop, daemon=True).start()
time.sleep(0.3)
check()
signal.alarm(60)
""")
