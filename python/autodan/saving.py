"""Saving, loading and the names of the user's own objects, as in `keras.saving`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autodan.models.saving import load_model, save_model
from autodan.utils.custom_objects import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from autodan.utils.naming import missing_attribute

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "register_keras_serializable",
    "save_model",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)
