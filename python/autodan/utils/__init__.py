"""Utilities under the names of `keras.utils`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autodan.models.data import unpack_x_y_sample_weight as unpack_x_y_sample_weight
    from autodan.utils.custom_objects import CustomObjectScope as CustomObjectScope
    from autodan.utils.custom_objects import custom_object_scope as custom_object_scope
    from autodan.utils.custom_objects import get_custom_objects as get_custom_objects
    from autodan.utils.custom_objects import get_registered_name as get_registered_name
    from autodan.utils.custom_objects import get_registered_object as get_registered_object
    from autodan.utils.custom_objects import (
        register_keras_serializable as register_keras_serializable,
    )
    from autodan.utils.numerical import normalize as normalize
    from autodan.utils.numerical import to_categorical as to_categorical
    from autodan.utils.plotting import plot_history as plot_history
    from autodan.utils.progress import Progbar as Progbar

_LAZY = {
    "CustomObjectScope": "autodan.utils.custom_objects",
    "Progbar": "autodan.utils.progress",
    "custom_object_scope": "autodan.utils.custom_objects",
    "get_custom_objects": "autodan.utils.custom_objects",
    "get_registered_name": "autodan.utils.custom_objects",
    "get_registered_object": "autodan.utils.custom_objects",
    "normalize": "autodan.utils.numerical",
    "plot_history": "autodan.utils.plotting",
    "register_keras_serializable": "autodan.utils.custom_objects",
    "to_categorical": "autodan.utils.numerical",
    "unpack_x_y_sample_weight": "autodan.models.data",
}

__all__ = ["clear_session", "set_random_seed", *_LAZY]


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and autodan's random numbers (Keras `utils.set_random_seed`).

    Args:
        seed: An integer of 0 or more.

    Raises:
        ValueError: the seed is negative.

    >>> import autodan as ad
    >>> set_random_seed(1); a = ad.random.uniform((2,)).tolist()
    >>> set_random_seed(1); a == ad.random.uniform((2,)).tolist()
    True
    """
    import random as python_random

    import numpy as np

    from autodan import random

    random.set_seed(seed)
    python_random.seed(int(seed))
    np.random.seed(int(seed) % 2**32)


def clear_session() -> None:
    """Start the automatic names of layers and models anew (Keras `utils.clear_session`).

    >>> import autodan as ad
    >>> clear_session()
    >>> ad.layers.Dense(1).name
    'dense'
    """
    from autodan.utils.naming import reset_names

    reset_names()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'autodan.utils' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
