"""Nested lists, tuples and dicts of leaves: flatten, map, and pack again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# Deeper than any model's inputs; what is deeper is a mistake, or holds itself.
_DEEPEST = 100


def leaves(structure: Any) -> Iterator[Any]:
    """Yield the leaves of nested lists, tuples and dicts, in order.

    Raises:
        ValueError: the structure is nested more than 100 deep, as one is that holds itself.

    >>> list(leaves({"a": [1, 2], "b": (3,)}))
    [1, 2, 3]
    """
    return _leaves(structure, 0)


def _leaves(structure: Any, depth: int) -> Iterator[Any]:
    if isinstance(structure, dict):
        structure = structure.values()
    elif not isinstance(structure, (list, tuple)):
        yield structure
        return
    _check_depth(depth)
    for item in structure:
        yield from _leaves(item, depth + 1)


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(
            f"Lists, tuples or dicts are nested more than {_DEEPEST} deep: does one hold itself?"
        )


def flatten(structure: Any) -> list[Any]:
    """Return the leaves as a list.

    >>> flatten([1, (2, {"a": 3})])
    [1, 2, 3]
    """
    return list(leaves(structure))


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply `function` to every leaf and keep the structure.

    Raises:
        ValueError: the structure is nested more than 100 deep, as one is that holds itself.

    >>> map_structure(lambda x: x + 1, {"a": [1, 2], "b": (3,)})
    {'a': [2, 3], 'b': (4,)}
    """
    return _map(function, structure, 0)


def _map(function: Callable[[Any], Any], structure: Any, depth: int) -> Any:
    if isinstance(structure, dict):
        _check_depth(depth)
        return {key: _map(function, value, depth + 1) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        _check_depth(depth)
        items = [_map(function, item, depth + 1) for item in structure]
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
