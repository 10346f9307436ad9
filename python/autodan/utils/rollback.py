"""All or nothing: what a failed step changed is taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from autodan._core import Variable


@contextmanager
def kept_on_error(variables: Iterable[Variable]) -> Iterator[None]:
    """Give the variables their values back when the block raises anything, an interrupt included.

    Nothing is copied, and giving back takes no memory. But whoever writes in place copies a value
    that is held here: leave out what is changed all or nothing anyway.

    >>> import autodan as ad
    >>> w = ad.Variable([1.0])
    >>> with kept_on_error([w]):
    ...     _ = w.assign([2.0])
    ...     raise MemoryError
    Traceback (most recent call last):
        ...
    MemoryError
    >>> w.tolist()
    [1.0]
    """
    before = [(variable, variable.value) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise
