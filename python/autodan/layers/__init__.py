"""Layers under the names, arguments and defaults of `keras.layers`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autodan.layers.activation import Activation, LeakyReLU, ReLU, Softmax
from autodan.layers.conv import Conv2D, Convolution2D
from autodan.layers.dense import Dense
from autodan.layers.input_layer import Input, InputLayer
from autodan.layers.input_spec import InputSpec
from autodan.layers.layer import Layer
from autodan.layers.normalization import BatchNormalization
from autodan.layers.pooling import AveragePooling2D, AvgPool2D, MaxPool2D, MaxPooling2D
from autodan.layers.regularization import Dropout
from autodan.layers.reshaping import Flatten
from autodan.utils.custom_objects import CustomObjectScope, file_name, find
from autodan.utils.naming import missing_attribute
from autodan.utils.resolve import read_config, require_config

__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "InputLayer",
    "InputSpec",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Softmax",
    "deserialize",
    "serialize",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)

# The closed set of classes that a config may name; models add theirs.
CLASSES: dict[str, type[Layer]] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
}


def serialize(layer: Layer) -> dict[str, Any]:
    """Return the class name and config of a layer (Keras `layers.serialize`).

    Raises:
        TypeError: it is no layer.
        NotImplementedError: a layer of your own does not say with which arguments it was made.

    >>> serialize(Flatten(name="f"))["class_name"]
    'Flatten'
    """
    require_config("layer", layer)
    config = layer.get_config()
    name = file_name(type(layer), CLASSES)
    if name not in CLASSES:
        _require_arguments(type(layer), config)
    return {"class_name": name, "config": config}


def _require_arguments(layer: type[Layer], config: Mapping[str, Any]) -> None:
    """Refuse a class whose constructor takes what its `get_config` does not return."""
    makers = [base for base in layer.__mro__ if "__init__" in vars(base)]
    describers = [base for base in layer.__mro__ if "get_config" in vars(base)]
    if issubclass(describers[0], makers[0]):
        return
    parameters = inspect.signature(vars(makers[0])["__init__"]).parameters
    named = [n for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    missing = [name for name in named[1:] if name not in config]
    if missing:
        raise NotImplementedError(
            f"{layer.__name__} takes {', '.join(map(repr, missing))} in its constructor, which its "
            "get_config() does not return: override get_config(), and return "
            "{**super().get_config(), ...} with these arguments."
        )


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Make a layer from `serialize()`'s result (Keras `layers.deserialize`).

    Args:
        config: Class name and config.
        custom_objects: Classes of your own, by name.

    Raises:
        ValueError: the class is unknown; the message gives the nearest name.
        TypeError: the config is no dict.

    >>> deserialize(serialize(Dense(3, name="d"))).units
    3
    """
    with CustomObjectScope(custom_objects):
        name, arguments = read_config("layer", config)
        return find("layer", name, CLASSES).from_config(dict(arguments))
