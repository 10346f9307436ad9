"""Measures how fast a thread of pure Python runs while the main thread computes.

The engine gives up the interpreter's lock around heavy work, so a second thread should keep its
pace on a core of its own: at least 80% of what it does while the main thread sleeps.

    python tests/stress/pace.py --threads 1

Only an otherwise idle machine with two cores or more gives a figure that means something: with more
engine threads than cores less one, they and the second thread share cores. Exits with 1 below
`--least`.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

import autodan as ad
from autodan import _core, layers, models


def workloads() -> dict[str, Callable[[], object]]:
    """Return what the main thread does meanwhile."""
    square = ad.ones((2000, 2000))
    images, kernel = ad.ones((32, 56, 56, 64)), ad.ones((3, 3, 64, 128))
    x = np.random.default_rng(1).normal(size=(512, 28, 28, 1)).astype("float32")
    y = np.arange(512) % 10
    model = models.Sequential(
        [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=128, verbose=0)
    return {
        "matmul": lambda: square @ square,
        "conv2d": lambda: _core.conv2d(images, kernel, padding="same"),
        "fit": lambda: model.fit(x, y, batch_size=128, verbose=0),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="the engine's threads (default 1)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default 3)")
    parser.add_argument("--least", type=float, default=0.0, help="percent to reach (default 0)")
    options = parser.parse_args()
    _core.set_num_threads(options.threads)
    works = workloads()
    count, stop = [0], threading.Event()

    def counter() -> None:
        while not stop.is_set():
            count[0] += 1

    def pace(work: Callable[[], object]) -> float:
        before, start = count[0], time.perf_counter()
        while time.perf_counter() < start + options.seconds:
            work()
        return (count[0] - before) / (time.perf_counter() - start)

    worker = threading.Thread(target=counter)
    worker.start()
    try:
        alone = pace(lambda: time.sleep(0.1))
        shares = {name: 100 * pace(work) / alone for name, work in works.items()}
    finally:
        stop.set()
        worker.join()
    figures = ", ".join(f"{name} {share:.0f}%" for name, share in shares.items())
    print(f"{options.threads} engine threads: a second thread keeps its pace to {figures}")
    return 1 if min(shares.values()) < options.least else 0


if __name__ == "__main__":
    sys.exit(main())
