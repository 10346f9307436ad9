"""Running sums."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import shapes
from opspecs.reduce import one_or_none, terms
from opspecs.spec import SUMS, Call, Error, Spec


@st.composite
def scans(draw: st.DrawFn) -> Call:
    """Draw a running sum along an axis or over all elements."""
    shape = draw(shapes(max_size=400))
    return Call((shape,), {"axis": draw(one_or_none(shape))})


def of_cumsum(expected, x, axis=None):
    return terms(x, axis) * np.cumsum(np.abs(x), axis)


SPECS = (
    Spec(
        name="cumsum",
        op=ad.cumsum,
        reference=lambda x, axis=None: np.cumsum(x, axis),
        calls=scans(),
        dtypes=SUMS,
        bound=of_cumsum,
        gradients=(0,),
        special=True,
        errors=(
            Error(
                lambda: ad.cumsum(ad.ones((2, 3)), axis=2),
                IndexError,
                "cumsum: axis 2 is out of bounds for a tensor of 2 dimensions",
            ),
            Error(lambda: ad.cumsum(ad.ones((2, 3)), axis="rows"), TypeError, "'str' object"),
        ),
    ),
)
