"""The picture of `Model.explain_step`. Needs matplotlib: `pip install 'autodan[plot]'`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodan.models.explain_table import operands, split
from autodan.models.explanation import StepExplanation, StepKernel
from autodan.models.kernel_names import FAMILIES, OTHER
from autodan.utils.plotting import new_figure, require_matplotlib, require_plot_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

# Kernels below this share of the time are one bar together.
SMALL = 0.01
OUTSIDE = "outside of kernels"
# After Paul Tol's "bright" and "muted" schemes, which the colour-blind can tell apart.
COLOURS = dict(
    zip(
        FAMILIES,
        (
            "#4477aa",
            "#66ccee",
            "#228833",
            "#ccbb44",
            "#999933",
            "#ee6677",
            "#882255",
            "#ddcc77",
            "#44aa99",
            "#cc6677",
            "#aa3377",
            "#aaaaaa",
        ),
        strict=True,
    )
) | {OUTSIDE: "#dddddd"}
SHAPES, FLOOR = "0.45", "black"
# Inches: of a bar with its gap, and of everything around the bars.
BAR, AROUND, WIDTH = 0.42, 1.9, 10.0


@dataclass(frozen=True)
class _Bar:
    """A bar: what it is called, in black and below in grey, and how long it is in microseconds."""

    name: str
    detail: str
    family: str
    length: float
    floor: float


def draw(step: StepExplanation, target: str | os.PathLike[str] | Axes | None) -> Figure:
    """Draw a step's kernels; the arguments of `StepExplanation.plot`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the step runs eagerly; or the file cannot be written.
    """
    require_matplotlib()
    if step.reason or not step.kernels:
        why = f"it runs eagerly, since {step.reason}" if step.reason else "it is empty"
        raise ValueError(f"plot: the {step.kind} step has no kernels to draw: {why}.")
    bars = _bars(step)
    if target is not None and not isinstance(target, (str, os.PathLike)):
        _draw(target, step, bars)
        return target.figure.figure  # of axes in a subfigure: the figure around it
    if target is not None:
        require_plot_file(target)
    size = (WIDTH, AROUND + BAR * len(bars))
    figure = new_figure(size, on_screen=target is None)
    _draw(figure.add_subplot(), step, bars)
    if target is not None:
        figure.savefig(Path(target), dpi=150)
    return figure


def _bars(step: StepExplanation) -> list[_Bar]:
    shown, small = split(step.kernels, SMALL)
    bars = [
        _bar(f"{number}  {kernel.name}", operands(kernel), kernel.meaning.family, [kernel])
        for number, kernel in shown
    ]
    if small:
        families = {kernel.meaning.family for kernel in small}
        family = families.pop() if len(families) == 1 else OTHER
        bars.append(_bar(f"{len(small)} small kernels", "", family, small))
    outside = step.outside_seconds
    if outside:
        bars.append(_Bar(OUTSIDE, "", OUTSIDE, outside * 1e6, 0.0))
    return bars


def _bar(name: str, detail: str, family: str, kernels: list[StepKernel]) -> _Bar:
    length = sum(kernel.cost for kernel in kernels) * 1e6
    return _Bar(name, detail, family, length, sum(kernel.floor for kernel in kernels) * 1e6)


def _draw(axes: Axes, step: StepExplanation, bars: list[_Bar]) -> None:
    measured = step.kernel_seconds is not None
    longest = max([bar.length for bar in bars] + [bar.floor for bar in bars])
    total = sum(bar.length for bar in bars)
    for row, bar in enumerate(bars):
        axes.barh(row, bar.length, height=0.62, color=COLOURS[bar.family], zorder=2)
        if measured and bar.floor:
            x, y = [bar.floor] * 2, [row - 0.4, row + 0.4]
            axes.plot(x, y, color=FLOOR, linewidth=2, zorder=3, solid_capstyle="butt")
        text = f"{_number(bar.length)} us"
        if measured:
            text += f"   {bar.length / total:.0%}"
        axes.text(max(bar.length, bar.floor) + longest / 90, row, text, va="center", fontsize=9)
        _name(axes, row, bar)
    axes.set(
        xlim=(0, longest * 1.2),
        ylim=(len(bars) - 0.45, -0.55),
        xlabel="microseconds",
        yticks=[],
    )
    axes.grid(axis="x", alpha=0.25, zorder=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(_title(step), loc="left", fontsize=12, fontweight="bold", pad=24)
    axes.text(0, 1, _subtitle(step), transform=_above(axes), color=SHAPES, fontsize=9, va="bottom")
    _legend(axes, bars, measured)


def _name(axes: Axes, row: int, bar: _Bar) -> None:
    """Write a bar's name to its left, and its shapes below."""
    place: dict[str, Any] = {
        "xy": (0, row),
        "xycoords": axes.get_yaxis_transform(),
        "textcoords": "offset points",
        "ha": "right",
    }
    above = "bottom" if bar.detail else "center"
    axes.annotate(bar.name, xytext=(-6, 0), va=above, fontsize=9.5, **place)
    if bar.detail:
        shapes = bar.detail.replace("->", "→")
        axes.annotate(shapes, xytext=(-6, -1), va="top", fontsize=7, color=SHAPES, **place)


def _above(axes: Axes) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return axes.transAxes + ScaledTranslation(0, 7 / 72, axes.figure.dpi_scale_trans)


def _legend(axes: Axes, bars: list[_Bar], measured: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {bar.family for bar in bars}
    handles: list[Any] = [
        Patch(color=colour, label=family)
        for family, colour in COLOURS.items()
        if family in used and family != OUTSIDE
    ]
    if measured:
        handles.append(Line2D([], [], color=FLOOR, linewidth=2, label="floor of the machine"))
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.4, 0),
        bbox_transform=_below(axes),
        ncols=min(4, len(handles)),
        frameon=False,
        fontsize=9,
    )


def _below(axes: Axes) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return axes.transAxes + ScaledTranslation(0, -36 / 72, axes.figure.dpi_scale_trans)


def _title(step: StepExplanation) -> str:
    what = f"{step.title} of “{step.model}”, {step.batch_size} samples"
    if step.seconds:
        return f"{what}: {_number(step.seconds * 1e6)} us"
    return f"{what}: at least {_number(step.floor * 1e6)} us"


def _subtitle(step: StepExplanation) -> str:
    parts = []
    if step.machine is not None:
        threads = step.machine.threads
        parts.append(f"{step.machine.isa}, {threads} thread{'s' if threads > 1 else ''}")
    if step.seconds:
        parts.append(f"{step.batch_size / step.seconds:,.0f} samples/s")
        parts.append(f"floor of all kernels {_number(step.floor * 1e6)} us")
    else:
        parts.append("the least times to expect; nothing was measured")
    return "   ·   ".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
