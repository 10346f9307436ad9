"""Nested lists, tuples and dicts of leaves: flatten, map, and pack again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(structure: Any) -> Iterator[Any]:
    """Yield the leaves of nested lists, tuples and dicts, in order.

    >>> list(leaves({"a": [1, 2], "b": (3,)}))
    [1, 2, 3]
    """
    if isinstance(structure, dict):
        structure = structure.values()
    elif not isinstance(structure, (list, tuple)):
        yield structure
        return
    for item in structure:
        yield from leaves(item)


def flatten(structure: Any) -> list[Any]:
    """Return the leaves as a list.

    >>> flatten([1, (2, {"a": 3})])
    [1, 2, 3]
    """
    return list(leaves(structure))


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply `function` to every leaf and keep the structure.

    >>> map_structure(lambda x: x + 1, {"a": [1, 2], "b": (3,)})
    {'a': [2, 3], 'b': (4,)}
    """
    if isinstance(structure, dict):
        return {key: map_structure(function, value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        items = [map_structure(function, item) for item in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*items)
        return items if isinstance(structure, list) else tuple(items)
    return function(structure)


def pack_like(structure: Any, flat: list[Any]) -> Any:
    """Arrange the values of `flat` as the leaves of `structure` are arranged.

    >>> pack_like({"a": [0, 0], "b": 0}, [1, 2, 3])
    {'a': [1, 2], 'b': 3}
    """
    values = iter(flat)
    return map_structure(lambda _: next(values), structure)
