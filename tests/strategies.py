"""Cases for the rows of the table of ops: operands of every shape, layout and kind of value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from opspecs import Spec

import autodan as ad
from autodan.testing import View, views

MARGIN = 1e-2


@dataclass(frozen=True)
class Case:
    """Operands as views of base arrays, and the other arguments of one call."""

    bases: tuple[np.ndarray, ...]
    views: tuple[View, ...]
    kwargs: dict[str, Any]

    def arrays(self, dtype: str) -> list[np.ndarray]:
        """Return the operands as contiguous NumPy arrays."""
        pairs = zip(self.bases, self.views, strict=True)
        return [
            np.ascontiguousarray(view(base.astype(dtype))).reshape(view(base).shape)
            for base, view in pairs
        ]

    def tensors(self, dtype: str) -> list[ad.Tensor]:
        """Return the operands as views of tensors."""
        pairs = zip(self.bases, self.views, strict=True)
        return [view(ad.tensor(base.astype(dtype))) for base, view in pairs]


@st.composite
def cases(
    draw: st.DrawFn,
    spec: Spec,
    wide: bool = False,
    whole: bool = False,
    smooth: bool = False,
    strided: bool = True,
    max_size: int = 2000,
) -> Case:
    """Draw a call of an op.

    Args:
        draw: hypothesis's.
        spec: The op.
        wide: Values from the wide range of the op.
        whole: Whole numbers only.
        smooth: No whole numbers, and away from kinks.
        strided: Operands as views rather than contiguous arrays.
        max_size: Largest number of elements of all operands.
    """
    call = draw(spec.calls.filter(lambda call: sum(map(math.prod, call.shapes)) <= max_size))
    domains = spec.wide if wide and spec.wide else spec.domain
    views_ = [draw(views(shape)) if strided else View(shape) for shape in call.shapes]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = whole or (not smooth and draw(st.booleans()))
    sizes = [math.prod(view.base) for view in views_]
    # For maxima: places on a grid, in random order, so that no two elements are near each other.
    grid = (rng.permutation(sum(sizes)) + rng.uniform(0.3, 0.7)) / max(sum(sizes), 1)
    bases = []
    for i, view in enumerate(views_):
        low, high = domains[min(i, len(domains) - 1)]
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
        bases.append(values.reshape(view.base))
    return Case(tuple(bases), tuple(views_), call.kwargs)
