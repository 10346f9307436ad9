"""Interrupts kernels and training at random moments: how soon do they stop, and what do they leave?

For each workload a thread sends SIGINT to this process after a random time. Measured is the time
from the signal to the KeyboardInterrupt in Python. After a fit is interrupted, weights, optimizer
and moving statistics must be those of a whole number of steps, bit for bit as in a run without
interrupts.

    python tests/stress/interrupts.py --count 200

Exits with 1 if a workload does not stop, or leaves half a step behind. The times depend on what
else the machine does, so they are printed and not judged.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

import autodan as ad
from autodan import _core, layers, models

BATCH = 64


def convolutional_network() -> models.Sequential:
    """Return a network for images such as MNIST's with every kind of state."""
    ad.utils.set_random_seed(11)
    model = models.Sequential(
        [
            layers.Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def state(model: models.Sequential) -> bytes:
    """Return the bits of all that training changes."""
    return b"".join(v.numpy().tobytes() for v in (*model.weights, *model.optimizer.variables))


class Training:
    """A fit that goes on where the last interrupt left it, and a second model to compare with."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(512, 28, 28, 1)).astype("float32")
        self.y = rng.integers(0, 10, 512)
        self.model, self.reference = convolutional_network(), convolutional_network()
        self.done = 0

    def run(self) -> None:
        self.model.fit(self.x, self.y, BATCH, epochs=10**6, shuffle=False, verbose=0)

    def check(self) -> bool:
        """Take the same number of steps without interrupts; whether both models agree."""
        if not self.model.optimizer.built:
            return True
        steps = int(self.model.optimizer.iterations) - self.done
        for step in range(steps):
            part = slice(step * BATCH % 512, step * BATCH % 512 + BATCH)
            self.reference.train_on_batch(self.x[part], self.y[part])
        self.done += steps
        return steps == 0 or state(self.model) == state(self.reference)


def workloads() -> dict[str, Callable[[], object]]:
    """Return what is interrupted, by name; each takes seconds, or for ever."""
    square = ad.random.normal((6000, 6000), seed=1)
    images = ad.random.normal((64, 56, 56, 64), seed=2)
    kernel = ad.random.normal((5, 5, 64, 128), seed=3)
    long = ad.random.normal((1 << 26,), seed=4)
    w = ad.tensor(np.ones((2000, 2000), "float32"), requires_grad=True)

    def elementwise() -> None:
        while True:
            ad.exp(ad.tanh(long) * 0.5 + long)

    def convolutions() -> None:
        while True:
            _core.conv2d(images, kernel, padding="same")

    def backward() -> None:
        while True:
            y = w
            for _ in range(4):
                y = y @ w * 1e-3
            y.sum().backward()

    return {
        "matmul": lambda: square @ square @ square,
        "conv2d": convolutions,
        "elementwise": elementwise,
        "backward": backward,
    }


def interrupted(work: Callable[[], object], delay: float) -> float:
    """Return the milliseconds from the signal to the exception; infinity when none came."""
    sent = [0.0]

    def send() -> None:
        time.sleep(delay)
        sent[0] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    try:
        sender.start()
        work()
        sender.join()
        time.sleep(1.0)
    except KeyboardInterrupt:
        end = time.perf_counter()
        sender.join()
        return 1e3 * (end - sent[0])
    return float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="interrupts in all (default 200)")
    parser.add_argument("--threads", type=int, default=None, help="the engine's threads")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.threads:
        _core.set_num_threads(options.threads)
    random.seed(options.seed)
    # A shell starts what runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    training = Training()
    works = {"fit": training.run, **workloads()}
    times: dict[str, list[float]] = {name: [] for name in works}
    halves = 0
    for i in range(options.count):
        # Every second one is a fit, the others take turns.
        name = "fit" if i % 2 == 0 else list(works)[1 + i // 2 % (len(works) - 1)]
        times[name].append(interrupted(works[name], random.uniform(0.01, 0.5)))
        if name == "fit" and not training.check():
            halves += 1
            print(f"interrupt {i}: not the state of a whole step", file=sys.stderr)
            training = Training()
            works["fit"] = training.run
    for name, answers in times.items():
        if answers:
            print(f"{name}: {len(answers)} interrupts, {figures(answers)}")
    everything = [time for answers in times.values() for time in answers]
    missed = sum(answer == float("inf") for answer in everything)
    print(
        f"{options.count} interrupts, {missed} missed, {halves} half steps, {figures(everything)}; "
        f"{training.done} steps of fit"
    )
    return 1 if missed or halves else 0


def figures(answers: list[float]) -> str:
    """Return percentiles in milliseconds."""
    middle, high = np.percentile(answers, [50, 99], method="nearest")
    return f"p50 {middle:.1f} ms, p99 {high:.1f} ms, max {max(answers):.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
