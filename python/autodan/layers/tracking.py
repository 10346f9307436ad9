"""Noticing which layers, variables, metrics and seed generators an object's attributes hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from autodan._core import Variable
from autodan.metrics import Metric
from autodan.random import SeedGenerator
from autodan.utils.versioned import Versioned


class Trackable(Versioned):
    """Remembers the attributes that hold trackable objects, alone or in lists, tuples and dicts.

    Containers are looked into when asked, so that what is appended later is found too.

    >>> class Holder(Trackable):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.blocks = []
    >>> holder = Holder()
    >>> holder.blocks.append(Holder())
    >>> len(list(holder._children(Trackable)))
    1
    """

    # Attributes of the base classes that hold containers of something else.
    _UNTRACKED: ClassVar[frozenset[str]] = frozenset()
    # What attributes are called in paths, where it is not their name.
    _PATHS: ClassVar[dict[str, str]] = {"_weights": "weights"}
    _tracked: dict[str, None]

    def __init__(self) -> None:
        object.__setattr__(self, "_tracked", {})

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            tracked: dict[str, None] = self.__dict__["_tracked"]
        except KeyError:
            raise RuntimeError(
                f"{type(self).__name__}.__init__ must call super().__init__() before it sets "
                f"the attribute '{name}'."
            ) from None
        super().__setattr__(name, value)
        # A property has no attribute of its own name.
        if name in self.__dict__ and name not in self._UNTRACKED and _may_hold(value):
            tracked[name] = None
        elif name in tracked:
            del tracked[name]

    def __delattr__(self, name: str) -> None:
        self._tracked.pop(name, None)
        super().__delattr__(name)

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Yield what the attributes hold, alone or in containers, each with its path.

        The paths are made of the names of attributes, places in lists and keys of dicts, joined
        by slashes, so they depend on nothing but the object's structure.
        """
        # `_weights` holds again what `add_weight` made and an attribute mostly names better.
        names = sorted(self._tracked, key="_weights".__eq__)
        pending = [(self._PATHS.get(name, name), self.__dict__[name]) for name in names[::-1]]
        while pending:
            path, value = pending.pop()
            if isinstance(value, dict):
                items = [(f"{path}/{key}", item) for key, item in value.items()]
            elif isinstance(value, (list, tuple)):
                items = [(f"{path}/{index}", item) for index, item in enumerate(value)]
            else:
                yield path, value
                continue
            pending.extend(reversed(items))

    def _children(self, kind: type | tuple[type, ...]) -> Iterator[Any]:
        """Yield this object's own objects of some class, each once, in order of assignment."""
        seen = set()
        attributes = self.__dict__
        pending = [attributes[name] for name in reversed(self._tracked)]
        while pending:
            value = pending.pop()
            if isinstance(value, kind):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield value
            elif isinstance(value, dict):
                pending.extend(reversed(value.values()))
            elif isinstance(value, (list, tuple)):
                pending.extend(reversed(value))


def _may_hold(value: Any) -> bool:
    """Return whether a value is trackable or may contain something trackable, now or later."""
    if isinstance(value, tuple):
        return any(_may_hold(item) for item in value)
    return isinstance(value, (Variable, Trackable, Metric, SeedGenerator, list, dict))
