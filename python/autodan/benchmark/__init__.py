"""`autodan bench`: what this machine can do at most, and how much of it this build's kernels do.

The machine is measured first (`machine`): the peak of float32 arithmetic, and how fast memory of
several sizes is read and written. From these follows, for each kernel (`kernels`), a roof that no
implementation can go above: its operations at the peak, or its operands moved once at the rate of
where they fit, whichever takes longer (`roofline`). This is the roofline model of Williams,
Waterman and Patterson, 2009.
"""

from __future__ import annotations

from autodan.benchmark.kernels import FAMILIES, Kernel, all_kernels, matching
from autodan.benchmark.machine import Level, Machine, measure_machine
from autodan.benchmark.picture import draw
from autodan.benchmark.report import as_json, header, notes, row
from autodan.benchmark.roofline import Result, measure

__all__ = [
    "FAMILIES",
    "Kernel",
    "Level",
    "Machine",
    "Result",
    "all_kernels",
    "as_json",
    "draw",
    "header",
    "matching",
    "measure",
    "measure_machine",
    "notes",
    "row",
]
