"""Cases for the rows of the table of ops: operands of every shape, layout and kind of value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from opreport import FIGURES
from opspecs import Spec

import autodan as ad
from autodan.testing import View, overlapping_views, views

MARGIN = 1e-2


@dataclass(frozen=True)
class Case:
    """Operands as views of base arrays, and the other arguments of one call.

    Bases that are one object are one tensor: the operands may overlap.
    """

    bases: tuple[np.ndarray, ...]
    views: tuple[View, ...]
    kwargs: dict[str, Any]

    def pairs(self) -> Iterator[tuple[np.ndarray, View]]:
        """Return each operand's base and view."""
        return zip(self.bases, self.views, strict=True)

    def arrays(self, dtype: str) -> list[np.ndarray]:
        """Return the operands as contiguous NumPy arrays."""
        return [np.array(view(base.astype(dtype))) for base, view in self.pairs()]

    def tensors(self, dtype: str) -> list[ad.Tensor]:
        """Return the operands as views of tensors."""
        return [view(ad.tensor(base.astype(dtype))) for base, view in self.pairs()]

    def of_dtype(self, dtype: str) -> Case:
        """Return the case with bases of this dtype."""
        cast = {id(base): base.astype(dtype) for base in self.bases}
        return Case(tuple(cast[id(base)] for base in self.bases), self.views, self.kwargs)


def domains(spec: Spec, count: int, wide: bool) -> list[tuple[float, float]]:
    """Return the range of each of so many operands."""
    given = spec.wide if wide and spec.wide else spec.domain
    return [given[min(i, len(given) - 1)] for i in range(count)]


@st.composite
def cases(
    draw: st.DrawFn,
    spec: Spec,
    calls: Any = None,
    wide: bool = False,
    whole: bool = False,
    smooth: bool = False,
    strided: bool = True,
    overlap: bool = False,
    max_size: int = 2000,
) -> Case:
    """Draw a call of an op.

    Args:
        draw: hypothesis's.
        spec: The op.
        calls: The strategy of calls. Default: the op's.
        wide: Values from the wide range of the op.
        whole: Whole numbers only.
        smooth: No whole numbers, and away from kinks.
        strided: Operands as views rather than contiguous arrays.
        overlap: All operands as views of one base.
        max_size: Largest number of elements of all operands.
    """
    strategy = spec.calls if calls is None else calls
    call = draw(strategy.filter(lambda call: sum(map(math.prod, call.shapes)) <= max_size))
    ranges = domains(spec, len(call.shapes), wide)
    if overlap:
        ways = draw(overlapping_views(call.shapes))
        ranges = [(max(low for low, _ in ranges), min(high for _, high in ranges))]
    else:
        ways = tuple(draw(views(shape)) if strided else View(shape) for shape in call.shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = whole or (not smooth and draw(st.booleans()))
    sides = [view.base for view in (ways[:1] if overlap else ways)]
    sizes = [math.prod(side) for side in sides]
    # For maxima: places on a grid, in random order, so that no two elements are near each other.
    grid = (rng.permutation(sum(sizes)) + rng.uniform(0.3, 0.7)) / max(sum(sizes), 1)
    bases = []
    for i, (low, high) in enumerate(ranges):
        if whole and math.ceil(low) <= math.floor(high):
            values = rng.integers(math.ceil(low), math.floor(high), sizes[i], endpoint=True)
        elif spec.distinct:
            values = low + (high - low) * grid[sum(sizes[:i]) :][: sizes[i]]
        elif wide and high - low > 10:
            # Of every magnitude, not only of the largest.
            values = rng.uniform(low, high, sizes[i]) * 10.0 ** rng.integers(-4, 1, sizes[i])
            values = np.clip(values, low, high)
        else:
            values = rng.uniform(low, high, sizes[i])
        values = values.astype("float64")
        for kink in spec.kinks if smooth else ():
            near = np.abs(values - kink) < MARGIN
            values = np.where(near, kink + 2 * MARGIN, values)
        bases.append(values.reshape(sides[i]))
    FIGURES[spec.name].examples += 1
    return Case(tuple(bases) * (len(ways) if overlap else 1), ways, call.kwargs)
