"""Ctrl-C between steps, not in the middle of one."""

from __future__ import annotations

# The functions behind `signal`, which itself spends microseconds on turning numbers into enums.
import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

# Those whose handlers raise: Ctrl-C, what `kill` and schedulers send, and timeouts.
_SIGNALS = tuple(
    int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)
)

Handler = Callable[[int, FrameType | None], Any]


class Undisturbed:
    """Holds signals back while a block runs; their handlers run right after it.

    Without it the exception of a handler, such as KeyboardInterrupt, may come between any two
    instructions of the block and leave its work half done. Only Python's main thread runs handlers,
    so in other threads, and inside another such block, this does nothing. Handlers that are not
    Python's (the system's default, "ignore", another library's) stay as they are.

    Example:
        >>> import signal
        >>> before = signal.signal(signal.SIGINT, signal.default_int_handler)
        >>> try:
        ...     with Undisturbed():
        ...         signal.raise_signal(signal.SIGINT)
        ...         print("whole")
        ... except KeyboardInterrupt:
        ...     print("then interrupted")
        whole
        then interrupted
        >>> _ = signal.signal(signal.SIGINT, before)
    """

    __slots__ = ("_arrived", "_handlers")

    def __init__(self) -> None:
        self._handlers: list[tuple[int, Handler]] = []
        self._arrived: list[tuple[Handler, int, FrameType | None]] = []

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        # A handler may raise after any call here, and then `__exit__` is not called.
        try:
            for number in _SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler) and not _is_ours(handler):
                    self._handlers.append((number, handler))
                    _signal.signal(number, self._note)
        except BaseException:
            self._restore()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handlers:
            self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        for ours, handler in self._handlers:
            if ours == number:
                self._arrived.append((handler, number, frame))

    def _restore(self) -> None:
        # One that comes while the handlers are put back is noted or handled at once, never lost:
        # `signal` runs what is due before it changes a handler.
        try:
            while self._handlers:
                number, handler = self._handlers[-1]
                # Unless the block has set a handler of its own.
                if _is_ours(_signal.getsignal(number)):
                    _signal.signal(number, handler)
                self._handlers.pop()
        finally:
            if self._handlers:
                self._restore()
            else:
                self._deliver()

    def _deliver(self) -> None:
        try:
            while self._arrived:
                handler, number, frame = self._arrived.pop(0)
                handler(number, frame)
        finally:
            if self._arrived:
                self._deliver()


def _is_ours(handler: Any) -> bool:
    return isinstance(getattr(handler, "__self__", None), Undisturbed)
