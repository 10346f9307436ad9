"""Optimizers, under Keras's names: `keras.optimizers`.

Example:
    >>> from autodan import optimizers
    >>> optimizers.get("adam").name
    'adam'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autodan.optimizers import schedules
from autodan.optimizers.adam import Adam
from autodan.optimizers.optimizer import Optimizer
from autodan.optimizers.rmsprop import RMSprop
from autodan.optimizers.sgd import SGD
from autodan.utils.custom_objects import CustomObjectScope, file_name, find
from autodan.utils.naming import lookup, missing_attribute
from autodan.utils.resolve import read_config, require_config

__all__ = [
    "SGD",
    "Adam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)

_CLASSES: dict[str, Any] = {optimizer.__name__: optimizer for optimizer in (Adam, RMSprop, SGD)}
_OPTIMIZERS: dict[str, Any] = {name.lower(): optimizer for name, optimizer in _CLASSES.items()}


def get(identifier: Any) -> Any:
    """Find an optimizer by name (in any case), config, class or instance; None stays None.

    Raises:
        ValueError: for an unknown name, with the nearest valid one.
        TypeError: for another kind of object.

    Example:
        >>> from autodan import optimizers
        >>> optimizers.get("Adam")
        <Adam name=adam>
        >>> optimizers.get("adm")
        Traceback (most recent call last):
        ...
        ValueError: Unknown optimizer 'adm'. Did you mean 'adam'? Valid: adam, rmsprop, sgd.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return lookup("optimizer", identifier.lower(), _OPTIMIZERS)()
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        optimizer_class: Any = identifier  # whose learning rate has a default
        return optimizer_class()
    raise TypeError(
        f"Cannot interpret {identifier!r} as optimizer: expected a name such as 'adam', a config "
        "dict, an Optimizer class or an Optimizer."
    )


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Describe an optimizer as `{"class_name": ..., "config": ...}`.

    Example:
        >>> from autodan import optimizers
        >>> optimizers.serialize(optimizers.SGD(0.5))["config"]["learning_rate"]
        0.5
    """
    require_config("optimizer", optimizer)
    return {"class_name": file_name(type(optimizer), _CLASSES), "config": optimizer.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, type[Optimizer]] | None = None
) -> Optimizer:
    """Build an optimizer from what `serialize` returned.

    Args:
        config: a mapping with `class_name` and `config`.
        custom_objects: further classes by name (default None).

    Raises:
        ValueError: for an unknown class, naming the nearest valid one.

    Example:
        >>> from autodan import optimizers
        >>> config = optimizers.serialize(optimizers.SGD(momentum=0.9))
        >>> optimizers.deserialize(config).momentum
        0.9
    """
    with CustomObjectScope(custom_objects):
        name, arguments = read_config("optimizer", config)
        return find("optimizer", name, {**_OPTIMIZERS, **_CLASSES}).from_config(arguments)
