"""Objects that count how often they are changed."""

from __future__ import annotations

from typing import Any, ClassVar

from autodan import _core


class Versioned:
    """Counts how often an attribute was set or deleted: what was compiled for it is old then.

    >>> class Point(Versioned):
    ...     pass
    >>> point = Point()
    >>> point.x = 1; point.x = 2
    >>> point._version
    2
    """

    # Attributes that no step depends on, or whose value it reads each time.
    _UNVERSIONED: ClassVar[frozenset[str]] = frozenset()
    _version = 0

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name not in self._UNVERSIONED:
            object.__setattr__(self, "_version", self._version + 1)
            _core._note_change()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name not in self._UNVERSIONED:
            object.__setattr__(self, "_version", self._version + 1)
            _core._note_change()
