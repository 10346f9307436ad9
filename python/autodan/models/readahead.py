"""Batches made in a thread of their own, while the one before is trained on."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from collections.abc import Iterator
from typing import Any

from autodan import _core, random

# One that waits and one that is being made. More would take memory and gain nothing.
AHEAD = 2

# How many seconds a loop that ends early waits for what is being made.
_PATIENCE = 1.0


def read_ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items, which a thread takes from the iterator up to two before they are asked for.

    One thread takes them all, in order. It has the context variables and the recording of
    gradients of the thread that asks, and a stream of random numbers seeded from that thread's:
    what both draw depends on no timing. What the iterator raises is raised when all before it has
    been yielded. The thread ends with the iterator, or when this generator is closed or dropped:
    it may then have taken two items that nobody gets.

    Raises:
        RuntimeError: this process was forked meanwhile: the thread is not here.

    >>> list(read_ahead(iter([1, 2, 3])))
    [1, 2, 3]
    """
    reader = _Reader(items)
    try:
        reader.start()
        while True:
            try:
                item = reader.take()
            except StopIteration:
                return
            yield item
            # Not kept while the next one is waited for.
            del item
    finally:
        reader.stop()


class _Reader:
    """The thread, and what it has read."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        # Taken before an item is made and given back when it is asked for.
        self._room = threading.Semaphore(AHEAD)
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._stopped = False
        self._process = os.getpid()
        self._records = _core.is_grad_enabled()
        self._seed = random.make_default_seed()
        # A daemon: one that waits for data for ever must not keep the process alive.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._read,),
            name="autodan-read-ahead",
            daemon=True,
        )

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self) -> Any:
        """Return the next item, or raise what the iterator raised: `StopIteration` at its end."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "The data is read ahead in a thread, which a fork does not copy: a child that was "
                "forked by a callback cannot go on with the parent's fit."
            )
        item, error = self._results.get()
        self._room.release()
        if error is None:
            return item
        try:
            raise error
        finally:
            # The traceback holds this frame, which must not hold the error in turn.
            del error

    def stop(self) -> None:
        """End the thread, at once or, if that takes long, after the item that it is making."""
        if os.getpid() != self._process:
            # There is no thread, and a lock may be held by it for ever.
            return
        self._stopped = True
        self._room.release()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)

    def _read(self) -> None:
        _core.set_grad_enabled(self._records)
        error = None
        with random.separate_stream(self._seed):
            while error is None:
                self._room.acquire()
                if self._stopped:
                    return
                item = None
                try:
                    item = next(self._items)
                except BaseException as raised:  # what is no Exception ends the loop that asks, too
                    error = raised
                self._results.put((item, error))
        del error
