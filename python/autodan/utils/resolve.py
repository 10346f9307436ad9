"""The `get(identifier)` that initializers, regularizers and activations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autodan.utils.custom_objects import file_name, find


def resolve(kind: str, identifier: Any, table: Mapping[str, Any]) -> Any:
    """Turn what a user may write for an object into that object.

    Args:
        kind: What is looked for, for messages, such as "initializer".
        identifier: A name of `table`, a config dict (`{"class_name": ..., "config": ...}`), a
            class, an instance, a callable, or None.
        table: The names and the classes or functions that they stand for.

    Returns:
        The function or the instance; None for None.

    Raises:
        ValueError: the name is unknown (the message gives the nearest one).
        TypeError: `identifier` is none of these.

    >>> resolve("function", "length", {"length": len})
    <built-in function len>
    """
    if identifier is None:
        return None
    if isinstance(identifier, Mapping):
        if "class_name" not in identifier:
            raise ValueError(
                f"A config dict for {kind} needs the key 'class_name'. "
                f"Received keys: {sorted(map(str, identifier))}."
            )
        found: Any = find(kind, identifier["class_name"], table)
        config = identifier.get("config") or {}
        is_class = isinstance(found, type)
        return found.from_config(config) if is_class else found
    found = find(kind, identifier, table) if isinstance(identifier, str) else identifier
    if isinstance(found, type):
        found = found()
    if callable(found):
        return found
    raise TypeError(
        f"Cannot interpret {identifier!r} as {kind}: expected a name, a config dict, a class, "
        f"an instance, a callable or None. Received type {type(identifier).__name__}."
    )


def serialize(thing: Any, table: Mapping[str, Any]) -> Any:
    """Return what `resolve` makes the same thing of: a config, a function's name, or None.

    Args:
        thing: An instance, a function, or None.
        table: The names and the classes or functions that they stand for.

    Raises:
        ValueError: there is no such name, as for a lambda.

    >>> serialize(len, {"len": len})
    'len'
    """
    if thing is None:
        return None
    if hasattr(thing, "get_config"):
        return {"class_name": file_name(type(thing), table), "config": thing.get_config()}
    return file_name(thing, table)


def read_config(kind: str, config: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the class name and the arguments that a config dict holds.

    Args:
        kind: What it describes, for messages, such as "layer".
        config: `{"class_name": ..., "config": ...}`.

    Raises:
        TypeError: it is no mapping.
        ValueError: it lacks one of them.

    >>> read_config("layer", {"class_name": "Flatten", "config": {}})
    ('Flatten', {})
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"A config dict for {kind} is a dict. Received: {type(config).__name__}.")
    name, arguments = config.get("class_name"), config.get("config")
    if name is None or not isinstance(arguments, Mapping):
        raise ValueError(
            f"A config dict for {kind} needs the keys 'class_name' and 'config', a dict. "
            f"Received keys: {sorted(map(str, config))}."
        )
    return name, arguments


def require_config(kind: str, thing: Any) -> None:
    """Refuse what cannot say how it was made.

    Args:
        kind: What it should be, for the message, such as "layer".
        thing: What was passed.

    Raises:
        TypeError: it has no `get_config`.

    >>> require_config("layer", 3)
    Traceback (most recent call last):
        ...
    TypeError: Cannot serialize this int as layer: it has no get_config().
    """
    if isinstance(thing, type) or not hasattr(thing, "get_config"):
        described = type(thing).__name__
        raise TypeError(f"Cannot serialize this {described} as {kind}: it has no get_config().")
