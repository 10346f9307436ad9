"""What the machine can do at most."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autodan import _core

__all__ = ["Cache", "Level", "Machine", "caches", "measure_machine", "threads_set"]

CPUS = Path("/sys/devices/system/cpu")
# Where the system does not tell: what all machines of the last years have.
ASSUMED = {1: 32 << 10, 2: 256 << 10}
# Memory is read in pieces that no cache holds, as far as the machine's memory allows.
MOST_MEMORY = 1 << 30
LEAST_MEMORY = 64 << 20
WARM_UP = 0.1


@dataclass(frozen=True)
class Cache:
    """A cache for data.

    Args:
        level: 1, 2 or 3.
        size: its bytes.
        sharers: processors that share it.
    """

    level: int
    size: int
    sharers: int = 1


@dataclass(frozen=True)
class Level:
    """A level of the memory's hierarchy, as measured; rates are in bytes per second.

    Args:
        name: "L1", "L2", "L3" or "memory".
        capacity: bytes that each thread may have there; None for memory.
        size: bytes that each thread moved when it was measured.
        read_one: the rate at which one thread reads.
        read: the rate at which all threads read together.
        triad: the rate of `a = b + factor * c` on all threads, two thirds of it reads.
        update: the rate of `a = a * factor + term` on all threads, half of it reads. What is
            written was read, so no cache has to read it beside what is counted.
    """

    name: str
    capacity: int | None
    size: int
    read_one: float
    read: float
    triad: float
    update: float

    def rate(self, share_written: float, in_place: bool = False) -> float:
        """Returns the bytes per second of a kernel of which this share of bytes is written.

        Between that of reads and that of the triad, where a third is written; a kernel that writes
        more is held to the triad. For one that works in place, between that of reads and that of
        updates, where half is written.

        Example:
            >>> level = Level("L2", 1 << 20, 1 << 19, 2e11, read=4e11, triad=2e11, update=3e11)
            >>> level.rate(0.0) / 1e9, level.rate(0.5) / 1e9, level.rate(0.5, in_place=True) / 1e9
            (400.0, 200.0, 300.0)
        """
        writing, its_share = (self.update, 1 / 2) if in_place else (self.triad, 1 / 3)
        weight = min(1.0, share_written / its_share)
        return 1 / ((1 - weight) / self.read + weight / writing)


@dataclass(frozen=True)
class Machine:
    """What a machine can do with one instruction set and a number of threads.

    Args:
        isa: the name of the instruction set.
        threads: the number of threads.
        peak_one: float32 operations per second of one thread.
        peak: the same of all threads.
        levels: the levels of memory, the nearest first.
        region: seconds of a region of the thread pool with two empty tasks.
        handoff: seconds until two tasks on two threads have met; None where there is one thread.
    """

    isa: str
    threads: int
    peak_one: float
    peak: float
    levels: tuple[Level, ...]
    region: float
    handoff: float | None

    def level(self, size: int) -> Level:
        """Returns the level that holds `size` bytes, spread over the threads.

        Example:
            >>> near = Level("L1", 1000, 500, 1.0, 1.0, 1.0, 1.0)
            >>> far = Level("memory", None, 9999, 1.0, 1.0, 1.0, 1.0)
            >>> machine = Machine("avx2", 2, 1.0, 2.0, (near, far), 1e-6, None)
            >>> machine.level(2000).name, machine.level(2001).name
            ('L1', 'memory')
        """
        fits = (
            level
            for level in self.levels
            if level.capacity is None or size <= level.capacity * self.threads
        )
        return next(fits)


def measure_machine(
    seconds: float, most_memory: int = MOST_MEMORY, holding: int | None = None
) -> Machine:
    """Measures the machine with the instruction set and the threads in use.

    Args:
        seconds: how long each figure is measured; the best of several runs counts.
        most_memory: the most bytes to take for measuring memory.
        holding: how many bytes will be looked up with `Machine.level`: the levels beyond the one
            that holds so many are left out. None for all levels.

    Example:
        >>> machine = measure_machine(0.001, most_memory=64 << 20)
        >>> machine.isa == _core.isa() and machine.peak > 0
        True
    """
    threads = _core.num_threads()
    sizes = _sizes(caches(), threads, most_memory)
    if holding is not None:
        enough = (i for i, (_, each, _) in enumerate(sizes) if each and holding <= each * threads)
        sizes = sizes[: next(enough, len(sizes)) + 1]
    with threads_set(1):
        peak_one = _core._peak_flops(seconds)
        alone = [_core._read_bandwidth(size, seconds) for _, _, size in sizes]
    # These threads are new, and the system takes a while to give each a core of its own.
    peak = _core._peak_flops(max(seconds, WARM_UP))
    region, handoff = _core._region_seconds(seconds), _core._handoff_seconds(seconds)
    kinds = (_core._read_bandwidth, _core._triad_bandwidth, _core._update_bandwidth)
    together = [[rate(size, seconds) for rate in kinds] for _, _, size in sizes]
    _core.trim_memory()
    levels = tuple(
        Level(name, capacity, size, read_one, *rates)
        for (name, capacity, size), read_one, rates in zip(sizes, alone, together, strict=True)
    )
    return Machine(_core.isa(), threads, peak_one, peak, levels, region, handoff)


@contextmanager
def threads_set(threads: int | None) -> Iterator[None]:
    """Lets kernels use so many threads in a block, and as many as before after it.

    Args:
        threads: how many; None for no change.

    Raises:
        ValueError: for less than one thread or more than the engine knows to use.

    Example:
        >>> with threads_set(1):
        ...     _core.num_threads()
        1
    """
    before = _core.num_threads()
    try:
        if threads not in (None, before):
            _core.set_num_threads(threads)
        yield
    finally:
        if _core.num_threads() != before:
            _core.set_num_threads(before)


def caches(root: Path = CPUS) -> list[Cache]:
    """Returns the caches for data of a processor that this process may use, the nearest first.

    Args:
        root: the folder in which Linux describes processors. Where it is missing, the sizes are
            assumed.

    Example:
        >>> [cache.level for cache in caches()][:2]
        [1, 2]
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    found = {}
    for folder in sorted((root / f"cpu{min(usable)}" / "cache").glob("index*")):
        level, kind, size, shared = (
            _text(folder / name) for name in ("level", "type", "size", "shared_cpu_list")
        )
        amount = re.fullmatch(r"(\d+)([KMG])", size)
        if level.isdigit() and kind in ("Data", "Unified") and amount:
            scale = {"K": 10, "M": 20, "G": 30}[amount[2]]
            found[int(level)] = Cache(int(level), int(amount[1]) << scale, _count(shared))
    if not {1, 2} <= found.keys():
        return [Cache(level, size) for level, size in ASSUMED.items()]
    return [found[level] for level in sorted(found)]


def _sizes(found: list[Cache], threads: int, most_memory: int) -> list[tuple[str, int | None, int]]:
    """The levels to measure: name, capacity for each thread, bytes to move on each."""
    first, second, *third = (cache.size // min(threads, cache.sharers) for cache in found)
    sizes: list[tuple[str, int | None, int]] = [
        ("L1", first, first * 2 // 3),
        ("L2", second, second // 2),
    ]
    # Next to a second level that is nearly as large, a third has no rate of its own to see.
    if third and third[0] >= 4 * second:
        sizes.append(("L3", third[0], min(4 * second, third[0] // 2)))
    wanted = max(LEAST_MEMORY, 2 * max(cache.size for cache in found))
    size = min(wanted, most_memory, _free_memory() // 4)
    return [*sizes, ("memory", None, size // threads)]


def _free_memory() -> int:
    info = _core.memory_info()
    limit, used = info["cgroup_limit"], info["cgroup_used"]
    left = [info["available"], None if limit is None or used is None else limit - used]
    return min((size for size in left if size is not None), default=4 * LEAST_MEMORY)


def _count(processors: str) -> int:
    """How many processors a list such as "0-3,8" names; at least one."""
    total = 0
    for part in processors.split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            total += int(last or first) - int(first) + 1
    return max(1, total)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
