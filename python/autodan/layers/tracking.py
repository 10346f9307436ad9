"""Noticing which layers, variables and metrics are assigned to an object's attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from autodan._core import Variable
from autodan.metrics import Metric


class Trackable:
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
        if _may_hold(value) and name not in self._UNTRACKED:
            tracked[name] = None
        elif name in tracked:
            del tracked[name]
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._tracked.pop(name, None)
        object.__delattr__(self, name)

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
    return isinstance(value, (Variable, Trackable, Metric, list, dict))
