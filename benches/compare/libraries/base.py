"""What every library answers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

Run = Callable[[], object]


class Seconds(float):
    """What a run returns that has timed itself."""


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
