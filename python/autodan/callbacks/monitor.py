"""Watching one value of the logs: what several callbacks decide by."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from autodan.callbacks.callback import Logs

_MODES = ("auto", "min", "max")


class Monitor:
    """Says whether a value of the logs has become better.

    Args:
        callback: whose monitor it is, for messages.
        name: the value's name in the logs, such as "val_loss".
        mode: "min" where smaller is better, "max" where larger is, "auto" to tell by the name
            and the model's metrics.
        min_delta: the least change that counts.

    Raises:
        ValueError: for an unknown mode.
    """

    def __init__(self, callback: str, name: str, mode: str, min_delta: float) -> None:
        if mode not in _MODES:
            raise ValueError(f"{callback} needs mode in {_MODES}. Received: mode={mode!r}.")
        self.callback = callback
        self.name = name
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best: float | None = None
        self._larger_is_better: bool | None = None

    def reset(self) -> None:
        """Forget the best value, and for whose model it was."""
        self.best = None
        self._larger_is_better = None

    def value(self, logs: Logs | None) -> float | None:
        """Return the value; None with a warning where the logs lack it."""
        logs = logs or {}
        if self.name not in logs:
            available = ", ".join(logs)
            warnings.warn(
                f"{self.callback} watches '{self.name}', which is not available. Available: "
                f"{available}.",
                stacklevel=4,
            )
            return None
        return float(logs[self.name])

    def improves(self, value: float, reference: float | None, model: Any) -> bool:
        """Return whether `value` is better than `reference` by more than `min_delta`.

        Raises:
            ValueError: when mode is "auto" and the direction cannot be told.
        """
        if self._larger_is_better is None:
            self._larger_is_better = self._direction(model)
        if reference is None:
            return value == value  # anything but NaN
        if self._larger_is_better:
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def _direction(self, model: Any) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.name.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return False
        for metric in _all_metrics(getattr(model, "metrics", None) or ()):
            direction = getattr(metric, "_direction", None)
            if metric.name == name and direction is not None:
                return bool(direction == "up")
        if name == "acc" or name.endswith(("accuracy", "_acc")):
            return True
        raise ValueError(
            f"{self.callback} watches '{self.name}' and cannot tell whether that should grow or "
            "fall: pass mode='max' or mode='min'."
        )


def _all_metrics(metrics: Iterable[Any]) -> Iterable[Any]:
    """Yield metrics, and those that containers of metrics hold."""
    for metric in metrics:
        yield metric
        yield from _all_metrics(getattr(metric, "metrics", None) or ())
