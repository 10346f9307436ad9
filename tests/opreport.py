"""Figures that the tests of the table of ops collect while they run, and the report of them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RTOL = 1e-5  # Of gradients against differences: a share of the tolerance, times this, is relative.


@dataclass
class Worst:
    """The largest share of a bound, and the call that had it."""

    share: float = -1.0
    where: str = ""


@dataclass
class Figures:
    """What was measured of one op.

    Args:
        examples: Cases drawn, over all tests.
        gradient: Of gradients against central differences in float64.
        float32: Of results in float32 against the reference in float64.
        slope: Of gradients in float32 against those in float64.
    """

    examples: int = 0
    gradient: Worst = field(default_factory=Worst)
    float32: Worst = field(default_factory=Worst)
    slope: Worst = field(default_factory=Worst)

    def note(self, kind: str, share: float, case: Any) -> None:
        """Keep a share if it is the largest of its kind."""
        worst = getattr(self, kind)
        if share > worst.share:
            shapes = ", ".join(str(view(base).shape) for base, view in case.pairs())
            arguments = "".join(f", {name}={value!r}" for name, value in case.kwargs.items())
            worst.share, worst.where = share, f"({shapes}{arguments})"


FIGURES: dict[str, Figures] = defaultdict(Figures)


def summary(specs: Any, outside: list[str]) -> dict[str, Any]:
    """Return the table as what JSON can hold.

    Args:
        specs: The rows.
        outside: Public functions without a row and without a test elsewhere.
    """
    ops = {spec.name: asdict(FIGURES[spec.name]) for spec in specs}
    totals: dict[str, Any] = {
        "ops in the table": len(ops),
        "ops outside": len(outside),
        "examples": sum(figures["examples"] for figures in ops.values()),
        "special values compared": sum(spec.special is True for spec in specs),
        "special values exempt": sum(spec.special is not True for spec in specs),
        "error cases": sum(len(spec.errors) for spec in specs),
    }
    for kind in ("gradient", "float32", "slope"):
        name = max(ops, key=lambda op: ops[op][kind]["share"])
        totals[f"worst {kind}"] = {"op": name, **ops[name][kind]}
    totals["worst gradient"]["relative error"] = totals["worst gradient"]["share"] * RTOL
    return {"totals": totals, "ops": ops}


def write(path: Path, specs: Any, outside: list[str]) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(summary(specs, outside), indent=1) + "\n", encoding="utf-8")
