"""The `get(identifier)` that initializers, regularizers and activations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autodan.utils.naming import lookup


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
    if isinstance(identifier, dict):
        if "class_name" not in identifier:
            raise ValueError(
                f"A config dict for {kind} needs the key 'class_name'. "
                f"Received keys: {sorted(map(str, identifier))}."
            )
        found: Any = lookup(kind, identifier["class_name"], table)
        config = identifier.get("config") or {}
        is_class = isinstance(found, type)
        return found.from_config(config) if is_class else found
    found = lookup(kind, identifier, table) if isinstance(identifier, str) else identifier
    if isinstance(found, type):
        found = found()
    if callable(found):
        return found
    raise TypeError(
        f"Cannot interpret {identifier!r} as {kind}: expected a name, a config dict, a class, "
        f"an instance, a callable or None. Received type {type(identifier).__name__}."
    )


def serialize(thing: Any) -> Any:
    """Return the config of an instance, the name of a function, or None.

    >>> serialize(len)
    'len'
    """
    if thing is None:
        return None
    if hasattr(thing, "get_config"):
        return {"class_name": type(thing).__name__, "config": thing.get_config()}
    return getattr(thing, "__name__", type(thing).__name__)
