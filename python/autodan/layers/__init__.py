"""Layers under the names, arguments and defaults of `keras.layers`."""

from __future__ import annotations

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
from autodan.utils.naming import lookup, missing_attribute

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

# The closed set of classes that a config may name.
_REGISTRY: dict[str, type[Layer]] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
}


def serialize(layer: Layer) -> dict[str, Any]:
    """Return the class name and config of a layer (Keras `layers.serialize`).

    >>> serialize(Flatten(name="f"))["class_name"]
    'Flatten'
    """
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Make a layer from `serialize()`'s result (Keras `layers.deserialize`).

    Args:
        config: Class name and config.
        custom_objects: Classes of your own, by name.

    Raises:
        ValueError: the class is unknown; the message gives the nearest name.

    >>> deserialize(serialize(Dense(3, name="d"))).units
    3
    """
    table = {**_REGISTRY, **(custom_objects or {})}
    return lookup("layer", config["class_name"], table).from_config(dict(config["config"]))
