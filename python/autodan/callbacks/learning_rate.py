"""Callbacks that change the learning rate."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from autodan.callbacks.callback import Callback, Logs
from autodan.callbacks.monitor import Monitor


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of every epoch, by a function of epoch and rate.

    The logs get a `learning_rate`. Keras `callbacks.LearningRateScheduler`.

    Args:
        schedule: a function `schedule(epoch, lr)`, or `schedule(epoch)`, that returns the rate.
        verbose: 1 prints each rate, 0 is silent (default 0).

    Raises:
        ValueError: during training, when the function does not return a finite number.
        TypeError: during training, when the optimizer has a schedule of its own.

    Example:
        >>> import numpy as np
        >>> import autodan as ad
        >>> model = ad.Sequential([ad.layers.Dense(1)])
        >>> model.compile(ad.optimizers.SGD(0.5), "mse")
        >>> halve = ad.callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
        >>> x = np.zeros((8, 2), "float32")
        >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0, callbacks=[halve])
        >>> history.history["learning_rate"]
        [0.5, 0.25, 0.125]
    """

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _accepts_two_arguments(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        optimizer = self.model.optimizer
        if self._takes_rate:
            rate = self.schedule(epoch, float(optimizer.learning_rate))
        else:
            rate = self.schedule(epoch)
        try:
            value = float(rate)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(
                "LearningRateScheduler: the schedule must return a finite number. It returned "
                f"{rate!r} for epoch {epoch}."
            )
        optimizer.learning_rate = value
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {value}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the rate to the logs."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class ReduceLROnPlateau(Callback):
    """Lowers the learning rate when a value has stopped improving.

    The logs get a `learning_rate`. Keras `callbacks.ReduceLROnPlateau`.

    Args:
        monitor: the value to watch (default "val_loss").
        factor: what the rate is multiplied by, below 1 (default 0.1).
        patience: how many epochs without improvement to endure (default 10).
        verbose: 1 prints each change, 0 is silent (default 0).
        mode: "min", "max", or "auto" to tell by the value's name and the model's metrics
            (default "auto").
        min_delta: the least change that counts as an improvement (default 1e-4).
        cooldown: epochs to wait after a change before watching again (default 0).
        min_lr: the lowest rate (default 0.0).

    Raises:
        ValueError: for a factor of 1 or more, an unknown mode, or when "auto" cannot tell.

    Example:
        >>> import numpy as np
        >>> import autodan as ad
        >>> model = ad.Sequential([ad.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile(ad.optimizers.SGD(0.5), "mse")
        >>> x = np.zeros((8, 2), "float32")  # nothing to learn: the loss stays 0
        >>> reduce = ad.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1)
        >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0, callbacks=[reduce])
        >>> float(model.optimizer.learning_rate)
        0.125
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__()
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau needs factor < 1. Received: factor={factor}.")
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.cooldown_counter = 0
        self.wait = 0
        self._monitor = Monitor("ReduceLROnPlateau", monitor, mode, min_delta)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start anew."""
        self.cooldown_counter = 0
        self.wait = 0
        self._monitor.reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare with the best value, and lower the rate when patience is at its end."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        current = self._monitor.value(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._monitor.improves(current, self._monitor.best, self.model):
            self._monitor.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def in_cooldown(self) -> bool:
        """Return whether a change is too recent to watch again."""
        return self.cooldown_counter > 0

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        old_rate = float(optimizer.learning_rate)
        if old_rate <= self.min_lr:
            return
        rate = max(old_rate * self.factor, self.min_lr)
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")
        self.cooldown_counter = self.cooldown
        self.wait = 0


def _accepts_two_arguments(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True
