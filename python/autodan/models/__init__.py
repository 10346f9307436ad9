"""Models under the names of `keras.models`."""

from __future__ import annotations

from autodan.models.model import Model
from autodan.models.sequential import Sequential

__all__ = ["Model", "Sequential"]
