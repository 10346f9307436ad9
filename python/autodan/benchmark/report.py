"""The report as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import doctor
from autodan.benchmark.machine import Machine
from autodan.benchmark.roofline import COMPUTE, Result

__all__ = ["as_json", "header", "notes", "row"]

WIDTH = 42
# A kernel that goes so far beyond its roof shows that the roof is too low.
BEYOND = 1.15


def header(machine: Machine) -> str:
    """Returns what was measured of the machine, and the head of the table.

    Args:
        machine: the machine.

    Example:
        >>> from autodan.benchmark import Level, Machine
        >>> memory = Level("memory", None, 64 << 20, 2e10, 3e10, 4e10, 5e10)
        >>> print(header(Machine("avx2", 2, 1e11, 2e11, (memory,), 5e-7, 9e-7)).splitlines()[1])
        peak            200.0 GFLOP/s   (one thread 100.0)
    """
    several = machine.threads > 1
    threads = f"{machine.threads} {'threads' if several else 'thread'}"
    lines = [f"autodan {doctor.version()}, {machine.isa}, {threads}"]

    def alone(rate: float) -> str:
        return f"   (one thread {rate / 1e9:.1f})" if several else ""

    lines.append(f"{'peak':14}{machine.peak / 1e9:7.1f} GFLOP/s{alone(machine.peak_one)}")
    for level in machine.levels:
        lines.append(
            f"{level.name:6}{_size(level.size):>8}{level.read / 1e9:7.1f} GB/s read"
            f"{alone(level.read_one)}, triad {level.triad / 1e9:.1f}"
            f", update {level.update / 1e9:.1f}"
        )
    region = f"{'region':14}{machine.region * 1e6:7.2f} us of two empty tasks"
    if machine.handoff is not None:
        region += f"; {machine.handoff * 1e6:.2f} us for two threads to meet"
    titles = (
        f"{'kernel':{WIDTH}} {'us':>10} {'':>16} {'flop/byte':>9}  {'bound by':8} {'of roof':>7}"
    )
    return "\n".join([*lines, region, "", titles])


def row(result: Result) -> str:
    """Returns the table's row of a kernel: GFLOP/s under a roof of arithmetic, GB/s under others.

    Example:
        >>> from autodan.benchmark import Kernel, Result
        >>> add = Kernel("elementwise", "add", 1e6, 8 * 10**6, 4 * 10**6, lambda: lambda: None)
        >>> print(" ".join(row(Result(add, 1e-3, "L3", "L3", 6e-4)).split()))
        elementwise add 1000.00 12.0 GB/s 0.0833 L3 60%
    """
    kernel = result.kernel
    if result.bound == COMPUTE:
        rate = f"{result.flops / 1e9:.1f} GFLOP/s"
    else:
        rate = f"{result.rate / 1e9:.1f} GB/s   "
    return (
        f"{kernel!s:{WIDTH}} {result.seconds * 1e6:10.2f} {rate:>16} {kernel.intensity:9.3g}"
        f"  {result.bound:8} {result.fraction:7.0%}"
    )


def notes(machine: Machine, results: Sequence[Result]) -> str:
    """Returns what the table's columns mean, and a warning where its roofs cannot be right.

    Args:
        machine: the machine.
        results: the kernels.

    Example:
        >>> from autodan.benchmark import Machine
        >>> notes(Machine("avx2", 1, 1e11, 1e11, (), 1e-7, None), []).startswith("of roof:")
        True
    """
    text = (
        "of roof: the least time that the figures above allow, over the median time measured; the "
        "least time is that\nof the operations at the peak, or of moving each operand once at the "
        "rate of where all of them fit, whichever\nis longer. A value of a function such as exp "
        "counts as one operation. Kernels are called from Python,\nwhich the time of the smallest "
        "ones is mostly made of."
    )
    never_met = machine.threads > 1 and machine.handoff is None
    if never_met or any(result.fraction > BEYOND for result in results):
        text += (
            "\nwarning: the machine was busy when its figures were measured, so they are too low; "
            "run again when it is idle"
        )
    return text


def as_json(machine: Machine, results: list[Result]) -> dict[str, Any]:
    """Returns everything measured, as what JSON can hold; rates are per second.

    Args:
        machine: the machine.
        results: the kernels.

    Example:
        >>> from autodan.benchmark import Machine
        >>> sorted(as_json(Machine("avx2", 1, 1e11, 1e11, (), 1e-7, None), []))
        ['autodan', 'isa', 'kernels', 'machine', 'threads']
    """
    return {
        "autodan": doctor.version(),
        "isa": machine.isa,
        "threads": machine.threads,
        "machine": {
            "peak_flops": machine.peak,
            "peak_flops_one_thread": machine.peak_one,
            "levels": [
                {
                    "name": level.name,
                    "capacity_per_thread": level.capacity,
                    "measured_bytes_per_thread": level.size,
                    "read_bytes": level.read,
                    "read_bytes_one_thread": level.read_one,
                    "triad_bytes": level.triad,
                    "update_bytes": level.update,
                }
                for level in machine.levels
            ],
            "region_seconds": machine.region,
            "handoff_seconds": machine.handoff,
        },
        "kernels": [
            {
                "family": result.kernel.family,
                "name": result.kernel.name,
                "seconds": result.seconds,
                "operations": result.kernel.operations,
                "bytes_read": result.kernel.read,
                "bytes_written": result.kernel.written,
                "in_place": result.kernel.in_place,
                "flops": result.flops,
                "bytes": result.rate,
                "intensity": result.kernel.intensity,
                "level": result.level,
                "bound": result.bound,
                "fraction_of_roof": result.fraction,
            }
            for result in results
        ],
    }


def _size(size: int) -> str:
    return f"{size >> 10} KB" if size < 1 << 20 else f"{size >> 20} MB"
