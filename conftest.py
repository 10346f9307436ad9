"""What the examples of the whole package may use; the suite's own settings are in `tests/`."""

from __future__ import annotations

from typing import Any

import pytest

import autodan


@pytest.fixture(autouse=True)
def _names_in_examples(doctest_namespace: dict[str, Any]) -> None:
    """Let the examples of compiled functions write `ad` for the package."""
    doctest_namespace["ad"] = autodan
