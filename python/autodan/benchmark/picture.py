"""The roofline as a picture. Needs matplotlib: `pip install 'autodan[plot]'`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autodan import doctor
from autodan.benchmark.machine import Machine
from autodan.benchmark.roofline import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

COLOURS = {"L1": "tab:purple", "L2": "tab:blue", "L3": "tab:green", "memory": "tab:red"}
MARKERS = ("o", "s", "p", "^", "D", "v", "P", "X", "*")
# Of a level: what kernels do there, and the line of the roof.
LINES: dict[str, dict[str, Any]] = {
    "all bytes read": {"linestyle": "-", "linewidth": 1.5},
    "a third of them written (triad)": {"linestyle": "--", "linewidth": 1.0},
    "half of them updated": {"linestyle": ":", "linewidth": 1.0},
}
# Operations for each byte where roofs begin and where the picture does: names stand in between.
FIRST, LEFT = 0.05, 0.003
# Names of roofs are this far apart at least, as a factor.
APART = 2.0


def draw(machine: Machine, results: Iterable[Result]) -> Figure:
    """Draws kernels under the roofs of a machine: operations per second over operations per byte.

    A kernel has the colour of the level that holds its operands, whose roof is the one to compare
    it with, and the marker of its family.

    Args:
        machine: the roofs.
        results: the kernels.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from autodan.benchmark import measure_machine
        >>> machine = measure_machine(0.001, most_memory=64 << 20)
        >>> draw(machine, []).savefig("roofline.png")  # doctest: +SKIP
    """
    from matplotlib.figure import Figure

    results = list(results)
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    right = 4 * max([result.kernel.intensity for result in results], default=100.0)
    axes.set(xscale="log", yscale="log", xlim=(LEFT, right))
    _draw_roofs(axes, machine, right)
    _draw_kernels(axes, results)
    begins = [FIRST * min(level.triad, level.update) / 1e9 for level in machine.levels]
    lowest = min([result.flops / 1e9 for result in results] + begins + _name_heights(machine))
    axes.set_ylim(lowest / 2, machine.peak / 1e9 * 2.2)
    axes.set(
        title=f"autodan {doctor.version()}, {machine.isa}, threads: {machine.threads}",
        xlabel="arithmetic intensity: operations for each byte of the operands",
        ylabel="GFLOP/s",
    )
    axes.grid(alpha=0.25, which="major")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _draw_roofs(axes: Axes, machine: Machine, right: float) -> None:
    peak, alone = machine.peak / 1e9, machine.peak_one / 1e9
    threads = "one thread" if machine.threads == 1 else f"{machine.threads} threads"
    axes.plot([FIRST, right], [peak, peak], color="black", linewidth=1.5)
    axes.text(right / 1.1, peak * 1.1, f"peak of {threads}: {peak:.0f} GFLOP/s", ha="right")
    if machine.threads > 1:
        axes.plot([FIRST, right], [alone, alone], color="0.5", linewidth=1, linestyle=":")
        text = f"one thread: {alone:.0f}"
        axes.text(FIRST / 1.1, alone, text, ha="right", va="center", color="0.4", fontsize="small")
    for level, height in zip(machine.levels, _name_heights(machine), strict=True):
        colour = COLOURS[level.name]
        for rate, line in zip((level.read, level.triad, level.update), LINES.values(), strict=True):
            ridge = machine.peak / rate
            axes.plot([FIRST, ridge], [FIRST * rate / 1e9, peak], color=colour, **line)
        text = f"{level.name}: read {_short(level.read)} GB/s\n"
        text += f"triad {_short(level.triad)}, update {_short(level.update)}"
        axes.text(
            FIRST / 1.1, height, text, ha="right", va="center", color=colour, fontsize="small"
        )


def _draw_kernels(axes: Axes, results: list[Result]) -> None:
    families = list(dict.fromkeys(result.kernel.family for result in results))
    for family, marker in zip(families, itertools.cycle(MARKERS), strict=False):
        for result in results:
            if result.kernel.family == family:
                axes.plot(
                    result.kernel.intensity,
                    result.flops / 1e9,
                    marker=marker,
                    color=COLOURS[result.level],
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    markersize=7,
                )
        axes.plot([], [], linestyle="", marker=marker, color="0.4", markersize=7, label=family)
    for level in dict.fromkeys(result.level for result in results):
        axes.plot([], [], linewidth=6, color=COLOURS[level], label=f"operands in {level}")
    for name, line in LINES.items():
        axes.plot([], [], color="0.4", label=name, **line)


def _name_heights(machine: Machine) -> list[float]:
    """Where the names of levels stand: where the roof begins, or lower where that is taken."""
    placed: list[float] = []
    for level in machine.levels:
        height = FIRST * level.read / 1e9
        placed.append(min(height, placed[-1] / APART) if placed else height)
    return placed


def _short(rate: float) -> str:
    """A rate in GB/s with two digits or more.

    >>> _short(8.148e11), _short(9.4e9)
    ('815', '9.4')
    """
    return f"{rate / 1e9:.{max(0, 1 - math.floor(math.log10(rate / 1e9)))}f}"
