"""What every library answers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from benches.compare.cases import NETWORKS
from benches.compare.data import images as images_and_labels

Run = Callable[[], object]


class Seconds(float):
    """What a run returns that has timed itself."""


@dataclass(frozen=True)
class Learner:
    """A network with its optimizer and the images that it learns from.

    Args:
        epoch: Trains on the first so many images, or all, in a new order.
        classes: Returns the class that it gives each image.
    """

    epoch: Callable[[int | None], object]
    classes: Callable[[np.ndarray], np.ndarray]


class NotOfferedError(Exception):
    """The library, or this form of it, has no way of its own to do a case."""


class Library(ABC):
    """A library in one form; `prepare` gives a function that runs a case once, to its very end."""

    module: str

    def __init__(self, form: str, threads: int) -> None:
        self.form, self.threads = form, threads

    @abstractmethod
    def describe(self) -> str:
        """Return version and instruction set."""

    def prepare(self, kind: str, arguments: dict[str, Any]) -> Run:
        """Return the function to time.

        Raises:
            NotOfferedError: this form has nothing to offer for the case.
        """
        method = getattr(self, kind, None)
        if method is None:
            raise NotOfferedError(kind)
        return method(**arguments)

    def learner(
        self, network: str, batch: int, x: np.ndarray, y: np.ndarray, seed: int = 1
    ) -> Learner:
        """Return a network of `NETWORKS` before its first step, on the sparse cross-entropy.

        Raises:
            NotOfferedError: the library trains no networks.
        """
        raise NotOfferedError("no training")

    def train(self, network: str, batch: int, images: int) -> Run:
        x, y = images_and_labels(NETWORKS[network][1], images)
        learner = self.learner(network, batch, x, y)
        return lambda: learner.epoch(None)

    def import_time(self) -> Run:
        """Import the library in a new interpreter; NumPy is imported before the clock starts."""
        code = (
            "import sys, time, numpy; start = time.perf_counter(); "
            f"import {self.module}; sys.stdout.write(repr(time.perf_counter() - start))"
        )

        def run() -> Seconds:
            done = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            )
            return Seconds(done.stdout)

        return run


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Return normal numbers; zeros and subnormals would time differently."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def batches(x: np.ndarray, size: int = 250) -> Iterator[np.ndarray]:
    """Cut images into batches to predict; a divisor of 10,000 needs one shape only."""
    return (x[start : start + size] for start in range(0, len(x), size))


def measure(run: Run, seconds: float) -> float:
    """Return the median time of one run, in batches long enough for the clock.

    A run that returns `Seconds` has timed itself.
    """
    own = run()
    if isinstance(own, Seconds):
        return own
    start = time.perf_counter()
    run()
    once = max(time.perf_counter() - start, 1e-8)
    per_batch = max(1, int(seconds / 9 / once))
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(per_batch):
            run()
        times.append((time.perf_counter() - start) / per_batch)
    return statistics.median(times)
