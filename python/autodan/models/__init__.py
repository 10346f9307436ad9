"""Models under the names of `keras.models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autodan.models.model import Model
from autodan.models.saving import clone_model, load_model, model_from_json, save_model
from autodan.models.sequential import Sequential
from autodan.utils.naming import missing_attribute

__all__ = [
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)
