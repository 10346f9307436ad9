"""Profiles, seeds, poisoned memory and the directory of data sets."""

from __future__ import annotations

import faulthandler
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from autodan import _core
from autodan import random as ad_random

settings.register_profile(
    "quick",
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=bool(os.environ.get("CI")),
    database=None,
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile(os.environ.get("AUTODAN_TEST_PROFILE", "quick"))

faulthandler.enable()
# New memory is full of NaN: an element that a kernel forgets to write shows.
_core.set_poison(True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--op-report", metavar="FILE", help="figures of the table of ops, as JSON")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if path := session.config.getoption("--op-report"):
        import opreport
        from opspecs import SPECS, unlisted

        opreport.write(Path(path), SPECS, unlisted())


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start every test from the same random state."""
    np.random.seed(0)
    ad_random.set_seed(0)


@pytest.fixture(autouse=True)
def engine() -> Iterator[None]:
    """Fail a test that leaves threads, instruction set or recording changed, after restoring."""
    before = _core.num_threads(), _core.isa(), _core.is_grad_enabled()
    yield
    after = _core.num_threads(), _core.isa(), _core.is_grad_enabled()
    _core.set_num_threads(before[0])
    _core.set_isa(before[1])
    _core.set_grad_enabled(before[2])
    assert after == before, "the test left the engine's state changed"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The directory of the real data sets, for the tests that need them."""
    path = os.environ.get("AUTODAN_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("AUTODAN_DATA names no directory of data sets")
    return Path(path)


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Collect no garbage: hypothesis is told of that, and what a handler raises there is lost."""
    gc.disable()
    yield
    gc.enable()
