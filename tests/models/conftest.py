"""What several files about models use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import autodan as ad


@pytest.fixture(params=["float32", "float64"])
def floatx(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let everything in the test compute in one dtype."""
    before = ad.config.floatx()
    ad.config.set_floatx(request.param)
    yield request.param
    ad.config.set_floatx(before)
