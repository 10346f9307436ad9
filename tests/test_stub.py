"""The stub of the compiled module is what its generator prints."""

from __future__ import annotations

import runpy
from pathlib import Path

import autodan

GENERATOR = Path(__file__).parents[1] / "tools" / "generate_stub.py"


def test_the_installed_stub_is_what_the_generator_prints() -> None:
    installed = Path(autodan.__file__).with_name("_core.pyi").read_text(encoding="utf-8")
    generated: str = runpy.run_path(str(GENERATOR))["stub"]()
    hint = "run `python tools/generate_stub.py > stub && mv stub python/autodan/_core.pyi`"
    assert installed == generated, hint
