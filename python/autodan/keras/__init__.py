"""`autodan.keras` is the package `autodan` itself.

Importing this module loads every public module of the package and enters each a second time in
`sys.modules`, under `autodan.keras`. So `from autodan.keras.models import Sequential` finds the
very class of `autodan.models`, never a second copy of it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import autodan

_SKIPPED = ("autodan.keras", "autodan.cli", "autodan.__main__")


def _alias_modules() -> None:
    for found in pkgutil.walk_packages(autodan.__path__, "autodan."):
        if not found.name.startswith((*_SKIPPED, "autodan._")):
            importlib.import_module(found.name)
    for name, module in list(sys.modules.items()):
        if name.startswith("autodan.") and not name.startswith("autodan.keras"):
            sys.modules[f"autodan.keras.{name.removeprefix('autodan.')}"] = module
    sys.modules["autodan.keras"] = autodan


_alias_modules()
