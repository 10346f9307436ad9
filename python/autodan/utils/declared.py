"""Variables whose values a file will give: made without values, and only as the file declares."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.errors import FormatError


class _Context(threading.local):
    left: Counter[tuple[str, tuple[int, ...]]] | None = None


_context = _Context()


@contextmanager
def only_declared(tensors: Iterable[tuple[str, Sequence[int]]]) -> Iterator[None]:
    """Let new weights and slots of this thread be zeros that take no memory, inside the block.

    Each must be one of the tensors declared. So a config can make nothing that is larger than
    what its file holds, or more of it.

    Args:
        tensors: Dtype and shape of each tensor.

    >>> with only_declared([("float32", (1000, 1000))]):
    ...     initial_value(print, (1000, 1000), "float32").shape
    (1000, 1000)
    """
    outer = _context.left
    _context.left = Counter((dtype, tuple(shape)) for dtype, shape in tensors)
    try:
        yield
    finally:
        _context.left = outer


def initial_value(initializer: Callable[..., Tensor], shape: Sequence[Any], dtype: str) -> Tensor:
    """Return the first value of a variable: the initializer's, or zeros inside `only_declared`.

    Args:
        initializer: Called with shape and dtype.
        shape: The variable's shape.
        dtype: The variable's dtype.

    Raises:
        FormatError: inside `only_declared`, when no such tensor is left.

    >>> import autodan as ad
    >>> initial_value(ad.initializers.Ones(), (2,), "float32").tolist()
    [1.0, 1.0]
    """
    if _context.left is not None:
        key = (dtype, tuple(shape))
        if not _context.left[key]:
            raise FormatError(f"the file holds no {dtype} weights of shape {key[1]} for its model")
        _context.left[key] -= 1
        return _core.broadcast_to(_core.zeros((), dtype), key[1])
    return initializer(shape, dtype=dtype)
