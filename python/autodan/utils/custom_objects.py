"""The user's own classes and functions by name, for configs that mention them.

A config holds names, never code. A name stands for one of autodan's own classes or functions, or
for one that the user has made known: by `register_keras_serializable`, in a `CustomObjectScope`,
or as `custom_objects` of a function that loads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from autodan.utils.naming import lookup

T = TypeVar("T")

_registered: dict[str, Any] = {}
_names: dict[Any, str] = {}


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.tables: list[Mapping[str, Any]] = []


_scopes = _Scopes()


class CustomObjectScope:
    """Makes objects known by name inside a `with` block (Keras `CustomObjectScope`).

    Args:
        custom_objects: The objects by name.

    >>> import autodan as ad
    >>> class Twice(ad.layers.Layer):
    ...     def call(self, inputs):
    ...         return 2 * inputs
    >>> config = ad.layers.serialize(Twice(name="t"))
    >>> with CustomObjectScope({"Twice": Twice}):
    ...     ad.layers.deserialize(config).name
    't'
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None) -> None:
        self.custom_objects = dict(custom_objects or {})

    def __enter__(self) -> Self:
        _scopes.tables.append(self.custom_objects)
        return self

    def __exit__(self, *error: object) -> None:
        _scopes.tables.pop()


custom_object_scope = CustomObjectScope


def get_custom_objects() -> dict[str, Any]:
    """Return the table of the registered objects by name (Keras `get_custom_objects`).

    >>> "Mine>Missing" in get_custom_objects()
    False
    """
    return _registered


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[T], T]:
    """Make a class or function known to all loading, as a decorator (Keras).

    Args:
        package: The first part of its name in files. Default "Custom".
        name: The second part. Default: its own name.

    Raises:
        ValueError: (when applied) a class has no `get_config`, or the object has another name.

    >>> @register_keras_serializable("docs")
    ... def doubled(x):
    ...     return 2 * x
    >>> get_registered_name(doubled), get_registered_object("docs>doubled") is doubled
    ('docs>doubled', True)
    """

    def register(thing: T) -> T:
        own = name if name is not None else thing.__name__  # type: ignore[attr-defined]
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(
                f"Cannot register the class {own}: it needs a method get_config() that returns "
                "its constructor's arguments."
            )
        full = f"{package}>{own}"
        previous = _registered.get(full)
        if previous is not None and (previous.__module__, previous.__qualname__) != (
            getattr(thing, "__module__", None),
            getattr(thing, "__qualname__", None),
        ):
            raise ValueError(
                f"The name '{full}' is registered already, for {previous!r}. Choose another "
                "`package` or `name`."
            )
        _registered[full] = thing
        _names[thing] = full
        return thing

    return register


def get_registered_name(obj: Any) -> str:
    """Return the name that a class or function is registered under, else its own (Keras).

    Raises:
        TypeError: it is neither.

    >>> get_registered_name(int)
    'int'
    """
    name = _names.get(obj, getattr(obj, "__name__", None))
    if name is None:
        raise TypeError(f"Only classes and functions have names. Received: {type(obj).__name__}.")
    return name


def get_registered_object(
    name: str,
    custom_objects: Mapping[str, Any] | None = None,
    module_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Return the object of a name, or None (Keras `get_registered_object`).

    Args:
        name: A registered name, or one of the scopes around.
        custom_objects: Further objects by name.
        module_objects: Objects to look in last.

    Raises:
        TypeError: the name is no str.

    >>> get_registered_object("length", {"length": len})
    <built-in function len>
    """
    if not isinstance(name, str):
        raise TypeError(f"A name is a str. Received: {type(name).__name__}.")
    # "Custom>Mine" of a file is also the "Mine" that a user passes.
    short = name.rpartition(">")[2]
    for table in (custom_objects or {}, *reversed(_scopes.tables), _registered):
        for key in (name, short):
            if key in table:
                return table[key]
    return dict(module_objects or {}).get(name)


def find(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return what a name in a config stands for: the user's own objects go before autodan's.

    Args:
        kind: What is looked for, for messages, such as "layer".
        name: The name.
        table: autodan's own of this kind, by name.

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.

    >>> find("layer", "Custom>Mine", {})
    Traceback (most recent call last):
        ...
    ValueError: Unknown layer 'Mine', which is not one of autodan's: pass \
custom_objects={'Mine': Mine}, or register it with saving.register_keras_serializable.
    """
    if isinstance(name, str):
        found = get_registered_object(name)
        if found is not None:
            return found
        short = name.rpartition(">")[2]
        if short != name:
            raise ValueError(
                f"Unknown {kind} '{short}', which is not one of autodan's: pass "
                f"custom_objects={{'{short}': {short}}}, or register it with "
                "saving.register_keras_serializable."
            )
    return lookup(kind, name, table)


def file_name(thing: Any, table: Mapping[str, Any]) -> str:
    """Return the name of a class or function in configs: what tells it from autodan's own.

    Args:
        thing: A class or a function.
        table: autodan's own of this kind, by name.

    Raises:
        ValueError: it has no name that it could be found by, as a lambda.

    >>> file_name(len, {"len": len}), file_name(len, {})
    ('len', 'Custom>len')
    """
    own = getattr(thing, "__name__", None)
    if own is not None and table.get(own) is thing:
        return own
    if thing in _names:
        return _names[thing]
    if own is None or not own.isidentifier():
        raise ValueError(
            f"{thing!r} has no name that a config could keep. Use a function made by `def`, or a "
            "class with get_config()."
        )
    return f"Custom>{own}"
