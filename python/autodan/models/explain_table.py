"""The table of `Model.explain_step`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from autodan.models.explanation import Operands, StepExplanation, StepKernel
from autodan.models.kernel_names import OPTIMIZER

__all__ = ["operands", "split", "table"]

# Characters of the longest column of shapes.
WIDEST = 54
BAR = 20
# A floor below this says nothing: calling a kernel takes longer.
TINY = 0.5e-6
# A kernel that is faster than its floor by so much shows that the floor is wrong.
BEYOND = 1.15


def table(step: StepExplanation, least_share: float = 0.0) -> str:
    """Return what a step runs, as text.

    Args:
        step: The step.
        least_share: Kernels below this share are joined.
    """
    lines = [*_header(step), ""]
    if step.reason:
        return "\n".join([*lines[:-1], *_totals(step)])
    shown, joined = split(step.kernels, least_share)
    measured = step.kernel_seconds is not None
    titles = ["#", "kernel", "operands -> results", "MFLOP", "MB", "floor us"]
    rows = [_cells(step, str(number), [kernel]) for number, kernel in shown]
    if joined:
        rows.append(_cells(step, "", joined, f"{len(joined)} small kernels"))
    rows.append(_cells(step, "", step.kernels, "all kernels"))
    if measured:
        titles += ["us", "share", "x floor", ""]
    lines += _columns([titles, *rows], total=len(rows))
    legend = _legend([kernel for _, kernel in shown])
    return "\n".join([*lines, *_totals(step), "", *legend, "", *_notes(step)])


def split(
    kernels: Sequence[StepKernel], least_share: float
) -> tuple[list[tuple[int, StepKernel]], list[StepKernel]]:
    """Return the kernels with at least this share of the time, numbered, and the small ones.

    A single small one is not set apart.
    """
    least = least_share * sum(kernel.cost for kernel in kernels)
    numbered = list(enumerate(kernels, 1))
    small = [kernel for kernel in kernels if kernel.cost < least]
    if len(small) < 2:
        return numbered, []
    return [(i, kernel) for i, kernel in numbered if kernel.cost >= least], small


def operands(kernel: StepKernel) -> str:
    """Return the shapes that a kernel reads and makes, in few characters.

    >>> from autodan.models.kernel_names import meaning
    >>> tensor = ("float32", (32, 10))
    >>> operands(StepKernel(meaning("Reduce"), (tensor,), (("float32", ()),), 0, 0, 0, 0.0, "L1"))
    '32x10 -> scalar'
    """
    if kernel.meaning.family == OPTIMIZER:
        count = sum(math.prod(shape) for _, shape in kernel.inputs)
        return f"{len(kernel.inputs)} weights with {count:,} numbers"
    text = f"{_shapes(kernel.inputs)} -> {_shapes(kernel.outputs)}"
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _shapes(items: Operands) -> str:
    return ", ".join("x".join(map(str, shape)) or "scalar" for _, shape in items)


def _header(step: StepExplanation) -> list[str]:
    inputs = ", ".join(f"{_shapes((item,))} {item[0]}" for item in step.inputs)
    title = f'{step.title} of model "{step.model}": '
    if step.reason:
        return [f"{title}runs eagerly, since {step.reason}", f"  inputs   {inputs}"]
    fused = sum(kernel.meaning.fused for kernel in step.kernels)
    lines = [
        f"{title}a program of {len(step.kernels)} kernels, {fused} of them fused",
        f"  inputs   {inputs}",
    ]
    if step.machine is not None:
        machine = step.machine
        threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
        rates = ", ".join(f"{level.name} {level.read / 1e9:.0f}" for level in machine.levels)
        lines.append(
            f"  machine  {machine.isa}, {threads}: {machine.peak / 1e9:.0f} GFLOP/s; reads {rates} "
            "GB/s"
        )
    if step.memory is not None:
        memory = step.memory
        lines.append(
            f"  memory   {memory.buffers} shared buffers {_mb(memory.planned)} (a buffer for each "
            f"value: {_mb(memory.unshared)}), weights {_mb(memory.weights)}, optimizer "
            f"{_mb(memory.optimizer)}, constants {_mb(memory.constants)}"
        )
    if step.after:
        lines.append(f"  after    {', '.join(step.after)} in Python, on the program's gradients")
    return lines


def _cells(
    step: StepExplanation, number: str, kernels: Sequence[StepKernel], name: str = ""
) -> list[str]:
    floor = sum(kernel.floor for kernel in kernels)
    cells = [
        number,
        name or kernels[0].name,
        "" if name else operands(kernels[0]),
        f"{sum(kernel.operations for kernel in kernels) / 1e6:.2f}",
        f"{sum(kernel.bytes for kernel in kernels) / 1e6:.2f}",
        f"{floor * 1e6:.1f}",
    ]
    if step.seconds and step.kernel_seconds is not None:
        seconds = sum(kernel.cost for kernel in kernels)
        whole = max(step.seconds, step.kernel_seconds)
        bar = "" if len(kernels) == len(step.kernels) else "█" * round(BAR * seconds / whole)
        ratio = f"{seconds / floor:.1f}" if floor >= TINY else "-"
        cells += [f"{seconds * 1e6:.1f}", f"{seconds / whole:.1%}", ratio, bar]
    return cells


def _columns(rows: list[list[str]], total: int) -> list[str]:
    """Align names to the left and numbers to the right; a rule above row number `total`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {1, 2, 9}
    align: list[Callable[[str, int], str]] = [
        str.ljust if i in left else str.rjust for i in range(len(widths))
    ]
    lines = [
        "  ".join(put(cell, width) for put, cell, width in zip(align, row, widths, strict=True))
        for row in rows
    ]
    rule = "-" * len(lines[0].rstrip())
    lines[total:total] = [rule]
    lines[1:1] = [rule]
    return [line.rstrip() for line in lines]


def _totals(step: StepExplanation) -> list[str]:
    if not step.seconds:
        return []
    outside = step.outside_seconds
    parts = "" if outside is None else f", {outside * 1e6:.1f} us of it outside of kernels"
    rates = f"{1 / step.seconds:,.0f} steps/s, {step.batch_size / step.seconds:,.0f} samples/s"
    return [f"A step as called from Python: {step.seconds * 1e6:.1f} us{parts}; {rates}"]


def _legend(kernels: Sequence[StepKernel]) -> list[str]:
    meanings = {kernel.name: kernel.meaning for kernel in kernels}
    width = max(map(len, meanings), default=0)
    lines = ["What the kernels do (* fused: several ops in one pass over memory)"]
    for name, what in meanings.items():
        lines.append(f" {'*' if what.fused else ' '} {name:{width}}  {what.text or '?'}")
    return lines


def _notes(step: StepExplanation) -> list[str]:
    lines = [
        "floor: the operations at the machine's peak, or the operands moved once at the fastest "
        "rate of the nearest",
        "memory that holds all of the kernel's, whichever takes longer.",
    ]
    if step.seconds:
        lines[-1] += " us: tenth percentile of real steps;"
        lines.append("the model is as before.")
    if any(kernel.seconds and kernel.seconds * BEYOND < kernel.floor for kernel in step.kernels):
        lines.append(
            "warning: the machine was busy when its figures were measured, so the floors are too "
            "high"
        )
    return lines


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size:,} bytes"
