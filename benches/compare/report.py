"""Tables, JSON and a picture of a contest's results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benches.compare.cases import TIMED, Case
from benches.compare.contest import CONTROL, OURS, Results


@dataclass(frozen=True)
class Row:
    """autodan beside the best of its peers in one case; ratios above 1 mean autodan is faster."""

    case: Case
    ours: float
    best: str
    theirs: float
    ratio: float
    low: float
    high: float
    control: float


def rows(results: Results) -> list[Row]:
    """Return a row for each case that autodan and at least one peer ran."""
    found = []
    for case, times in results.times.items():
        if OURS not in times:
            continue
        peers = [name for name in times if name not in (OURS, CONTROL)]
        if not peers:
            continue
        by_round = {name: _ratios(times[name], times[OURS]) for name in peers}
        best = min(peers, key=lambda name: statistics.median(by_round[name]))
        ratios = sorted(by_round[best])
        control = _ratios(times.get(CONTROL, times[OURS]), times[OURS])
        found.append(
            Row(
                case,
                case.figure(statistics.median(times[OURS])),
                best,
                case.figure(statistics.median(times[best])),
                statistics.median(ratios),
                ratios[len(ratios) // 4],
                ratios[-1 - len(ratios) // 4],
                statistics.median(control),
            )
        )
    return found


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [t / o for t, o in zip(theirs, ours, strict=True)]


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))


def table(results: Results) -> str:
    """Return the tables of all groups as text."""
    lines = [f"{name} {text}" for name, text in results.descriptions.items()]
    lines += [f"not here: {name} ({why})" for name, why in results.missing.items()]
    every = rows(results)
    for group in TIMED:
        of_group = [row for row in every if row.case.group == group]
        if of_group:
            lines += ["", *_group(group, of_group)]
    controls = [row.control for row in every]
    if controls:
        lines += [
            "",
            "ratio: time of the best peer, in whichever form, over autodan's; above 1 autodan is "
            "faster; in brackets the middle half of the rounds",
            f"autodan against itself: {min(controls):.2f} to {max(controls):.2f}, geometric mean "
            f"{geometric_mean(controls):.3f}",
        ]
    return "\n".join(lines + [f"failed: {failure}" for failure in results.failures])


def _group(group: str, of_group: list[Row]) -> Iterator[str]:
    width = max(len(row.case.name) for row in of_group)
    yield f"{group:{width}}  {'unit':>9} {'autodan':>10} {'best peer':>10}   ratio"
    for row in of_group:
        yield (
            f"{row.case.name:{width}}  {row.case.unit:>9} {row.ours:10.4g} {row.theirs:10.4g}"
            f"   {row.ratio:5.2f} [{row.low:.2f}, {row.high:.2f}] {row.best}"
        )
    ratios = [row.ratio for row in of_group]
    yield (
        f"{'geometric mean':{width}}  {'':>9} {'':>10} {'':>10}   {geometric_mean(ratios):5.2f}"
        f" (lowest {min(ratios):.2f})"
    )


def as_json(results: Results) -> dict[str, Any]:
    """Return everything measured, all forms included, as what JSON can hold."""
    return {
        "libraries": results.descriptions,
        "missing": results.missing,
        "failures": results.failures,
        "cases": [
            {
                "group": case.group,
                "name": case.name,
                "unit": case.unit,
                "seconds": times,
                "figures": {
                    name: case.figure(statistics.median(rounds)) for name, rounds in times.items()
                },
            }
            for case, times in results.times.items()
        ],
    }


def plot(results: Results, path: str) -> None:
    """Draw the ratios, a bar for each case, into a picture file."""
    from matplotlib import pyplot as plt

    every = rows(results)
    figure, axes = plt.subplots(figsize=(9, 0.24 * len(every) + 1.5), layout="constrained")
    colours = {group: f"C{i}" for i, group in enumerate(TIMED)}
    places = range(len(every))
    axes.barh(
        places,
        [row.ratio - 1 for row in every],
        left=1,
        color=[colours[row.case.group] for row in every],
        xerr=[
            [row.ratio - row.low for row in every],
            [row.high - row.ratio for row in every],
        ],
        error_kw={"linewidth": 0.8, "ecolor": "0.3"},
    )
    axes.set_yticks(places, [f"{row.case.group}: {row.case.name}" for row in every], fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.set_ylim(len(every) - 0.4, -0.6)
    axes.set_xlabel("time of the best peer / time of autodan (right: autodan is faster)")
    figure.savefig(path, dpi=150)
    plt.close(figure)
