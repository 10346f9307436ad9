"""Kernels timed and held to their roofs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from autodan.benchmark.kernels import Kernel, Run
from autodan.benchmark.machine import Machine

__all__ = ["Result", "measure", "median_seconds"]

COMPUTE = "compute"
SAMPLES = 5


@dataclass(frozen=True)
class Result:
    """A kernel's time beside the least that the machine allows.

    Args:
        kernel: the kernel.
        seconds: the median time of a run.
        level: where its operands fit: "L1", "L2", "L3" or "memory".
        bound: what its roof is made of: "compute", or the level whose rate counts.
        least_seconds: the time at the roof.
    """

    kernel: Kernel
    seconds: float
    level: str
    bound: str
    least_seconds: float

    @property
    def fraction(self) -> float:
        """The share of the roof that is reached."""
        return self.least_seconds / self.seconds

    @property
    def flops(self) -> float:
        """Operations per second."""
        return self.kernel.operations / self.seconds

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.kernel.bytes / self.seconds


def measure(kernel: Kernel, machine: Machine, seconds: float) -> Result:
    """Times a kernel and holds it to its roof.

    Args:
        kernel: what to time.
        machine: what was measured with the same instruction set and threads.
        seconds: how long to time it.

    Example:
        >>> from autodan.benchmark import all_kernels, measure_machine
        >>> machine = measure_machine(0.001, most_memory=64 << 20)
        >>> measure(all_kernels()[0], machine, 0.001).seconds > 0
        True
    """
    level = machine.level(kernel.bytes)
    computing = kernel.operations / machine.peak
    moving = kernel.bytes / level.rate(kernel.written / kernel.bytes, kernel.in_place)
    return Result(
        kernel,
        median_seconds(kernel.prepare(), seconds),
        level.name,
        COMPUTE if computing >= moving else level.name,
        max(computing, moving),
    )


def median_seconds(run: Run, seconds: float) -> float:
    """Returns the median time of a function that is called for some seconds, after a first call.

    Example:
        >>> median_seconds(lambda: time.sleep(0.001), 0.01) >= 0.001
        True
    """
    run()
    start = time.perf_counter()
    run()
    once = max(time.perf_counter() - start, 1e-9)
    # The clock is read around several calls where one is short.
    calls = max(1, int(seconds / SAMPLES / 4 / once))
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < SAMPLES or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)
