"""One file for each library, in each of its forms."""

from __future__ import annotations

import importlib

# Name of the library -> its forms; all are measured and the best one counts.
FORMS: dict[str, tuple[str, ...]] = {
    "autodan": ("fit",),
    "numpy": ("plain",),
    "torch": ("contiguous", "channels_last", "compiled"),
    "jax": ("jit",),
    "tensorflow": ("graph", "xla"),
}


def load(library: str, form: str, threads: int) -> object:
    """Import a library in the process that will measure it."""
    module = importlib.import_module(f"benches.compare.libraries.{library}_library")
    return module.Library(form, threads)
