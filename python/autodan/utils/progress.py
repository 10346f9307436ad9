"""The progress bar of `fit`, `evaluate` and `predict`, for terminal, notebook and log file."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np

__all__ = ["Progbar"]

REFRESH_SECONDS = 0.1
GREEN, GREY, PLAIN = "\x1b[32m", "\x1b[37m", "\x1b[0m"


class Progbar:
    """Shows how far a loop has come, how long it takes and how its metrics stand.

    On a terminal and in a notebook one line is redrawn, at most ten times per second, and cut
    to the terminal's width. Anywhere else (a pipe, a log file) one line is written when the
    loop ends, without control characters. As Keras `utils.Progbar`.

    Args:
        target: number of steps, or None where it is not known.
        verbose: 0 shows nothing, 1 (default) the bar, 2 one line at the end.
        unit_name: what a step is called. Default: "step".
        width: length of the bar in characters. Default: 20.
        stateful_metrics: names of the values that are shown as given; the others are averaged
            over the steps. Default: none.

    Raises:
        ValueError: `target` is negative.

    Example:
        >>> bar = Progbar(2, verbose=1)
        >>> bar.update(1, [("loss", 0.5)])
        >>> bar.update(2, [("loss", 0.25)])  # doctest: +ELLIPSIS
        2/2 - 0s - ...s/step - loss: 0.2500
    """

    def __init__(
        self,
        target: int | None,
        *,
        verbose: int = 1,
        unit_name: str = "step",
        width: int = 20,
        stateful_metrics: Iterable[str] | None = None,
    ) -> None:
        if target is not None and target < 0:
            raise ValueError(f"Progbar: target must not be negative, got {target}")
        self.target = target
        self.unit_name = unit_name
        self.width = width
        self.stateful_metrics = frozenset(stateful_metrics or ())
        self._stream: TextIO | None = sys.stdout if verbose else None  # None in pythonw
        self._live = verbose == 1 and self._stream is not None and _can_redraw(self._stream)
        self._drawn_width = 0
        self._seen = 0
        # Steps whose values (perhaps Tensors) were not yet converted to numbers.
        self._pending: list[tuple[int, Sequence[tuple[str, Any]]]] = []
        self._values: dict[str, tuple[float, float]] = {}  # name to weighted sum and weight
        self._start = time.perf_counter()
        self._first: tuple[float, int] | None = None
        self._next_refresh = 0.0

    def update(
        self,
        current: int,
        values: Sequence[tuple[str, Any]] | None = None,
        finalize: bool | None = None,
    ) -> None:
        """Says that `current` steps are done.

        Args:
            current: number of steps done so far.
            values: pairs of a name and its value in the latest step: a number, or anything
                that `float` accepts. Conversion waits until the bar is drawn.
            finalize: whether this is the last call; then the values are shown as given. None
                (default) tells it by `current >= target`.

        Example:
            >>> Progbar(10, verbose=0).update(3, [("loss", 0.5)])
        """
        if self._stream is None:
            return
        now = time.perf_counter()
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        if self._first is None:
            self._first = (now, current)
        if values:
            self._pending.append((max(current - self._seen, 1), values))
        self._seen = current
        if not finalize and now < self._next_refresh:
            return
        self._next_refresh = now + REFRESH_SECONDS
        self._fold(finalize)
        if self._live:
            self._redraw(self._stream, now, finalize)
        elif finalize:
            count = f"{current}/{current if self.target is None else self.target}"
            parts = [count, f"{now - self._start:.0f}s", self._pace(now), *self._metrics()]
            self._stream.write(" - ".join(parts) + "\n")
            self._stream.flush()

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Says that `n` more steps are done; `values` as for `update`.

        Example:
            >>> Progbar(10, verbose=0).add(1)
        """
        self.update(self._seen + n, values)

    def close(self) -> None:
        """Ends the line, where there is one: nothing more will come.

        Example:
            >>> Progbar(10, verbose=0).close()
        """
        if self._stream is not None and self._drawn_width:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn_width = 0

    def _fold(self, finalize: bool) -> None:
        """Averages the pending values; of those shown as given only the latest is converted."""
        as_given: dict[str, Any] = {}
        last = len(self._pending) - 1
        for position, (steps, values) in enumerate(self._pending):
            for name, value in values:
                total, weight = self._values.setdefault(name, (0.0, 0))
                if name in self.stateful_metrics or (finalize and position == last):
                    as_given[name] = value
                else:
                    self._values[name] = (total + _to_float(value) * steps, weight + steps)
        self._values.update((name, (_to_float(value), 1)) for name, value in as_given.items())
        self._pending.clear()

    def _redraw(self, stream: TextIO, now: float, finalize: bool) -> None:
        if self.target is None:
            count, bar = f"{self._seen:>7}/Unknown", None
        else:
            count = f"{self._seen:>{len(str(self.target))}}/{self.target}"
            bar = min(1.0, self._seen / self.target) if self.target else 1.0
        if self.target is None or finalize:
            clock = f"{now - self._start:.0f}s"
        else:
            clock = _countdown(self._seconds_per_step(now) * (self.target - self._seen))
        info = " - ".join([f"{clock} {self._pace(now)}", *self._metrics()])

        room = shutil.get_terminal_size().columns - 1 - len(count) - 2
        width = max(0, min(self.width, room - len(info))) if bar is not None else 0
        if not finalize:  # the final line is kept, and wraps if it must
            info = info[: max(0, room - width)]
        drawn = len(count) + 1 + (width + 1 if width else 0) + len(info)
        strip = _bar(bar, width, stream) + " " if bar is not None and width else ""
        padding = " " * max(0, self._drawn_width - drawn)
        stream.write(f"\r{count} {strip}{info}{padding}" + ("\n" if finalize else ""))
        stream.flush()
        self._drawn_width = 0 if finalize else drawn

    def _metrics(self) -> list[str]:
        parts = []
        for name, (total, weight) in self._values.items():
            mean = total / weight
            parts.append(f"{name}: {mean:.4f}" if abs(mean) > 1e-3 else f"{name}: {mean:.4e}")
        return parts

    def _seconds_per_step(self, now: float) -> float:
        """The mean so far, without the first step where there are others: it also warms up."""
        if self._first is not None and self._seen > self._first[1]:
            return (now - self._first[0]) / (self._seen - self._first[1])
        return (now - self._start) / max(self._seen, 1)

    def _pace(self, now: float) -> str:
        seconds = self._seconds_per_step(now)
        if seconds >= 1:
            return f"{seconds:.0f}s/{self.unit_name}"
        if seconds >= 1e-3:
            return f"{seconds * 1e3:.0f}ms/{self.unit_name}"
        return f"{seconds * 1e6:.0f}us/{self.unit_name}"


def _can_redraw(stream: TextIO) -> bool:
    """Whether a carriage return goes back to the start of the line."""
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        return True
    if stream.isatty():
        return os.environ.get("TERM") != "dumb"
    return "PYCHARM_HOSTED" in os.environ


def _has_colour() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return os.name != "nt" or any(name in os.environ for name in ("WT_SESSION", "ANSICON", "TERM"))


def _bar(fraction: float, width: int, stream: TextIO) -> str:
    done = int(width * fraction)
    try:
        "━╌".encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "=" * done + "." * (width - done)
    if _has_colour():
        return f"{GREEN}{'━' * done}{GREY}{'━' * (width - done)}{PLAIN}"
    return "━" * done + "╌" * (width - done)


def _countdown(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole >= 60 else f"{whole}s"


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):  # several numbers
        return float(np.mean(np.asarray(value)))
