"""Forks a process during kernels, a thousand times: does every child compute, with the same bits?

Threads of this process run matrix products, convolutions, gradients and training without a pause.
Meanwhile its main thread forks; every third fork is made by another thread. A child runs operations
on several threads, compares their bits with those of before, goes on training the model that a
thread of its parent was training, and ends. A child that takes longer than the limit counts as
hanging and is killed.

    python tests/stress/forks.py --count 1000

Exits with 1 if a child hangs, crashes or differs.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np

import autodan as ad
from autodan import _core, layers, models

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

x = ad.random.normal((256, 256), seed=1)
images, kernel = ad.random.normal((4, 32, 32, 8), seed=2), ad.random.normal((3, 3, 8, 16), seed=3)
rows, targets = x.numpy()[:, :32], x.numpy()[:, :1]


def operations() -> bytes:
    """Run operations of all kinds on several threads; their bits."""
    w = ad.tensor(x.numpy(), requires_grad=True)
    y = ad.sum(ad.tanh(w @ x / 256.0))
    [gradient] = _core.grad(y, [w])
    z = _core.conv2d(images, kernel, padding="same")
    big = ad.exp(ad.random.normal((200_000,), seed=4))
    return b"".join(t.numpy().tobytes() for t in (y, gradient, z, ad.sum(big)))


def make_model() -> models.Sequential:
    """A model that a thread of the parent trains while it forks."""
    model = models.Sequential([layers.Dense(64, activation="relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(rows, targets, verbose=0)
    return model


def check(expected: bytes, shared: models.Sequential) -> None:
    """What a child does."""
    faulthandler.enable()
    assert operations() == expected, "other bits"
    shared.fit(rows, targets, batch_size=64, verbose=0)
    assert all(np.isfinite(w).all() for w in shared.get_weights()), "a torn variable"
    x.numpy().sum()


def fork(work: Callable[[], None]) -> int:
    """Run work in a child; its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            print(f"a child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return pid


def fork_in_thread(work: Callable[[], None]) -> int:
    """As `fork`, from a thread other than the main one."""
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(fork(work)))
    thread.start()
    thread.join()
    return pids[0]


def wait(pid: int, limit: float) -> str:
    """How a child ended: "" as it should, "hang" or "crash"."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return "" if os.waitstatus_to_exitcode(status) == 0 else "crash"
        time.sleep(0.001)
    os.kill(pid, signal.SIGABRT)
    os.waitpid(pid, 0)
    return "hang"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="forks (default 1000)")
    parser.add_argument(
        "--limit", type=float, default=60.0, help="seconds for a child (default 60)"
    )
    parser.add_argument("--threads", type=int, default=2, help="the engine's threads (default 2)")
    options = parser.parse_args()

    _core.set_num_threads(options.threads)
    expected, shared = operations(), make_model()
    stop = threading.Event()

    def loop(step: Callable[[], object]) -> None:
        while not stop.is_set():
            step()

    steps = [operations, lambda: shared.fit(rows, targets, batch_size=64, verbose=0)]
    workers = [threading.Thread(target=loop, args=(step,), daemon=True) for step in steps]
    for worker in workers:
        worker.start()
    ends = {"": 0, "hang": 0, "crash": 0}
    start = time.monotonic()
    try:
        for i in range(options.count):
            make = fork_in_thread if i % 3 == 2 else fork
            pid = make(lambda: check(expected, shared))
            if i % 10 == 0 and operations() != expected:
                print("the parent computes other bits", file=sys.stderr)
                ends["crash"] += 1
            ends[wait(pid, options.limit)] += 1
            # Somewhere else in a step of the threads.
            time.sleep(0.0007 * (i % 7))
    finally:
        stop.set()
    for worker in workers:
        worker.join()
    print(
        f"{options.count} forks, {ends['hang']} hangs, {ends['crash']} crashes or other bits, "
        f"{time.monotonic() - start:.0f} s"
    )
    return 1 if ends["hang"] or ends["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
