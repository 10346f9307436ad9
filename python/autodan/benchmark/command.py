"""What `autodan bench` does with its arguments."""

from __future__ import annotations

import json
from pathlib import Path

from autodan.benchmark import report
from autodan.benchmark.kernels import FAMILIES, matching
from autodan.benchmark.machine import MOST_MEMORY, measure_machine, threads_set
from autodan.benchmark.picture import draw
from autodan.benchmark.roofline import measure
from autodan.utils.files import check_writable, whole_file
from autodan.utils.plotting import require_plot_file

__all__ = ["run"]

SECONDS, QUICK_SECONDS = 0.2, 0.01
# A quick run takes less memory, and leaves out kernels of more operations than this.
QUICK_MEMORY, QUICK_OPERATIONS = 128 << 20, 1e9


def run(
    *,
    match: str = "",
    threads: int | None = None,
    seconds: float | None = None,
    quick: bool = False,
    json_file: Path | None = None,
    plot_file: Path | None = None,
) -> None:
    """Measures the machine, then kernels against it, and prints a row for each as it is measured.

    Args:
        match: only kernels whose family or name contain this.
        threads: how many threads kernels use meanwhile; None for as many as before.
        seconds: how long each thing is measured. Default 0.2, or 0.01 for a quick run.
        quick: leaves the largest kernels out and takes less time for the others.
        json_file: a file to write everything measured to.
        plot_file: a file for the roofline as a picture, whose ending tells the format.

    Raises:
        ImportError: a picture is asked for, and matplotlib is not installed.
        ValueError: no kernel matches, a number of threads that is out of range, or an ending that
            matplotlib does not know.
        OSError: a file that cannot be written.

    Example:
        >>> run(match="matmul 64x", threads=1, quick=True)  # doctest: +ELLIPSIS
        autodan ..., 1 thread
        peak ...
        matmul 64x64x64 ...
    """
    if plot_file:
        require_plot_file(plot_file)
    for file in filter(None, (json_file, plot_file)):
        check_writable(file)
    kernels = [
        kernel for kernel in matching(match) if not quick or kernel.operations <= QUICK_OPERATIONS
    ]
    if not kernels:
        which = f"no {'quick ' if quick else ''}kernel matches '{match}'"
        raise ValueError(f"{which}; there are {', '.join(FAMILIES)}, each with several shapes")
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    with threads_set(threads):
        machine = measure_machine(seconds, QUICK_MEMORY if quick else MOST_MEMORY)
        print(report.header(machine), flush=True)
        results = []
        for kernel in kernels:
            results.append(measure(kernel, machine, seconds))
            print(report.row(results[-1]), flush=True)
    print(f"\n{report.notes(machine, results)}")
    if json_file:
        with whole_file(json_file) as partial:
            partial.write_text(json.dumps(report.as_json(machine, results), indent=1) + "\n")
    if plot_file:
        picture = draw(machine, results)
        with whole_file(plot_file) as partial:
            picture.savefig(partial, dpi=150, format=plot_file.suffix[1:].lower())
