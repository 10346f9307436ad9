"""Losses, under Keras's names: `keras.losses`.

Example:
    >>> from autodan import losses
    >>> loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> round(float(loss([1, 0], [[0.0, 2.0], [0.0, 2.0]])), 4)
    1.1269
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autodan.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    kl_divergence,
    sparse_categorical_crossentropy,
)
from autodan.losses.loss import Loss, LossFunctionWrapper
from autodan.losses.regression import (
    Hinge,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanSquaredError,
    hinge,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
)
from autodan.utils import resolve as identifiers
from autodan.utils.custom_objects import CustomObjectScope
from autodan.utils.naming import missing_attribute

__all__ = [
    "BCE",
    "KLD",
    "MAE",
    "MSE",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "bce",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "log_cosh",
    "logcosh",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "serialize",
    "sparse_categorical_crossentropy",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)

bce = BCE = binary_crossentropy
kld = KLD = kl_divergence
logcosh = log_cosh
mae = MAE = mean_absolute_error
mse = MSE = mean_squared_error

_LOSSES: dict[str, Any] = {
    name: globals()[name]
    for name in __all__
    if name not in ("Loss", "deserialize", "get", "serialize")
}


def get(identifier: Any) -> Any:
    """Find a loss by name, config, class, function or instance; None stays None.

    The name of a function gives the function, that of a class an instance, as in Keras.

    Raises:
        ValueError: for an unknown name, with the nearest valid one.
        TypeError: for another kind of object.

    Example:
        >>> from autodan import losses
        >>> losses.get("MeanSquaredError")
        <MeanSquaredError name=mean_squared_error>
        >>> losses.get("mse") is losses.mean_squared_error
        True
    """
    return identifiers.resolve("loss", identifier, _LOSSES)


def serialize(loss: Any) -> Any:
    """Return the config of a loss, the name of a function, or None.

    Raises:
        ValueError: it is a function without a name, as a lambda.

    Example:
        >>> from autodan import losses
        >>> losses.serialize(losses.Huber(delta=0.5))["config"]["delta"]
        0.5
    """
    return identifiers.serialize(loss, _LOSSES)


def deserialize(
    config: str | Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """Build a loss from what `serialize` returned: a config, or a function's name.

    Args:
        config: a dict with `class_name` and `config`, or a name.
        custom_objects: further losses by name (default None).

    Raises:
        ValueError: for an unknown name, with the nearest valid one.

    Example:
        >>> from autodan import losses
        >>> config = losses.serialize(losses.Huber(delta=0.5))
        >>> losses.deserialize(config).get_config()["delta"]
        0.5
    """
    with CustomObjectScope(custom_objects):
        return identifiers.resolve("loss", config, _LOSSES)
